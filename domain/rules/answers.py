"""Automatic answers to a patient's own message: fixed texts without marketing, in the patient's language."""

from __future__ import annotations

from domain.rules.templates import Template

#: Keys are the `answer` of a touch. Each names the organisation and stays within one SMS segment where possible.
_TEXTS = {
    "opt_out_confirmation": {
        "en": "{organisation}: you are unsubscribed and will get no more messages from us. Reply START to undo.",
        "es": "{organisation}: su baja está hecha; no recibirá más mensajes. Responda START para volver.",
        "fr": "{organisation} : vous êtes désabonné et ne recevrez plus de messages. Répondez START pour revenir.",
    },
    "opt_in_confirmation": {
        "en": "{organisation}: you will get our messages again. Reply STOP to end, HELP for help.",
        "es": "{organisation}: volverá a recibir nuestros mensajes. Responda STOP para terminar, AYUDA para ayuda.",
        "fr": "{organisation} : vous recevrez à nouveau nos messages. ARRET pour arrêter, AIDE pour de l'aide.",
    },
    "help": {
        "en": "{organisation}: for help call {phone}. Reply STOP to end messages. Msg and data rates may apply.",
        "es": "{organisation}: para ayuda llame al {phone}. Responda STOP para no recibir más mensajes.",
        "fr": "{organisation} : pour de l'aide, appelez le {phone}. Répondez ARRET pour ne plus recevoir de messages.",
    },
    "booking_link": {
        "en": "{organisation}: thank you! Choose a time here: {link} or call {phone}. Reply STOP to end.",
        "es": "{organisation}: ¡gracias! Elija una hora aquí: {link} o llame al {phone}. Responda STOP para terminar.",
        "fr": "{organisation} : merci ! Choisissez une heure ici : {link} ou appelez le {phone}. ARRET pour arrêter.",
    },
}

ANSWERS = frozenset(_TEXTS)


def answer_template(answer: str, language: str, channel: str) -> Template:
    """The text of an answer, in English where the language has none.

    Raises:
        KeyError: there is no such answer.
    """
    texts = _TEXTS[answer]
    subject = "{organisation}" if channel == "email" else None
    return Template(channel=channel, language=language, body=texts.get(language, texts["en"]), subject=subject)
