"""Automatic answers to a patient's own message: fixed texts without marketing, in the patient's language."""

from __future__ import annotations

from domain.rules.templates import Template

#: Keys are the `answer` of a touch. Each names the organisation. Written with letters of the GSM alphabet only (é, è,
#: à, ñ and ¡ are in it; á, í, ó, ú and ê are not): with one other letter a text takes two or three SMS segments.
_TEXTS = {
    "opt_out_confirmation": {
        "en": "{organisation}: you are unsubscribed and will get no more messages from us. Reply START to undo.",
        "es": "{organisation}: su baja queda registrada y ya no le enviaremos mensajes. Para deshacerla: START.",
        "fr": "{organisation} : désabonnement effectué, vous ne recevrez plus de messages. START pour revenir.",
    },
    "opt_in_confirmation": {
        "en": "{organisation}: you will get our messages again. Reply STOP to end, HELP for help.",
        "es": "{organisation}: de nuevo le enviaremos mensajes. Responda STOP para terminar, AYUDA para ayuda.",
        "fr": "{organisation} : vous recevrez à nouveau nos messages. ARRET pour terminer, AIDE pour de l'aide.",
    },
    "help": {
        "en": "{organisation}: for help call {phone}. Reply STOP to end messages. Msg and data rates may apply.",
        "es": "{organisation}: para ayuda llame al {phone}. Responda STOP para dejar de recibir mensajes.",
        "fr": "{organisation} : pour de l'aide, appelez le {phone}. Répondez ARRET pour ne plus recevoir de messages.",
    },
    "booking_link": {
        "en": "{organisation}: thank you! Choose a time here: {link} or call {phone}. Reply STOP to end.",
        "es": "{organisation}: ¡gracias! Elija una hora en {link} o llame al {phone}. Responda STOP para terminar.",
        "fr": "{organisation} : merci ! Choisissez une heure sur {link} ou appelez le {phone}. ARRET pour terminer.",
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
