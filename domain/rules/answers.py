"""Automatic answers to a patient's own message: fixed texts, without marketing, in the patient's language."""

from __future__ import annotations

from domain.rules.templates import Template

#: Keys are the `answer` of a touch. Each names the organisation. Written with letters of the GSM alphabet only (é, è,
#: à, ñ and ¡ are in it; á, í, ó, ú and ê are not): with one other letter a text takes two or three SMS segments.
_TEXTS = {
    "opt_out_confirmation": {
        "en": "{organisation}: you are unsubscribed and will get no more messages from us. Reply START to undo.",
        "es": "{organisation}: su baja queda registrada y ya no le enviaremos mensajes. Para deshacerla: START.",
        "fr": "{organisation} : désabonnement effectué, vous ne recevrez plus de messages. START pour revenir.",
        "pt": "{organisation}: cadastro cancelado, sem novas mensagens. Responda START para voltar.",
    },
    "opt_out_confirmation_asking": {
        "en": "{organisation}: you are unsubscribed from everything. Meant only texts: STOP TEXTS. START to undo.",
        "es": "{organisation}: su baja es de todo. Si era solo de textos: STOP TEXTS. Para deshacerla: START.",
        "fr": "{organisation} : désabonnement total. Pour les textos seuls : STOP TEXTS. START pour revenir.",
        "pt": "{organisation}: cancelamos tudo. Se era apenas de textos: STOP TEXTS. START para voltar.",
    },
    "opt_out_confirmation_limited": {
        "en": "{organisation}: you will get no more calls or texts from us. STOP ALL ends mail, too. START to undo.",
        "es": "{organisation}: ya no le llamaremos ni enviaremos textos. STOP ALL: tampoco correo. START para volver.",
        "fr": "{organisation} : plus d'appels ni de textos de notre part. STOP ALL : plus de mail. START pour revenir.",
        "pt": "{organisation}: sem chamadas nem textos. STOP ALL encerra o e-mail. START para voltar.",
    },
    "opt_in_confirmation": {
        "en": "{organisation}: you will get our messages again. Reply STOP to end, HELP for help.",
        "es": "{organisation}: de nuevo le enviaremos mensajes. Responda STOP para terminar, AYUDA para ayuda.",
        "fr": "{organisation} : vous recevrez à nouveau nos messages. ARRET pour terminer, AIDE pour de l'aide.",
        "pt": "{organisation}: nossas mensagens voltam a chegar. Responda PARAR para encerrar, AJUDA para ajuda.",
    },
    "help": {
        "en": "{organisation}: for help call {phone}. Reply STOP to end messages. Msg and data rates may apply.",
        "es": "{organisation}: para ayuda llame al {phone}. Responda STOP para dejar de recibir mensajes.",
        "fr": "{organisation} : pour de l'aide, appelez le {phone}. Répondez ARRET pour ne plus recevoir de messages.",
        "pt": "{organisation}: para ajuda, ligue para {phone}. Responda PARAR para encerrar as mensagens.",
    },
    "booking_link": {
        "en": "{organisation}: thank you! Choose a time here: {link} or call {phone}. Reply STOP to end.",
        "es": "{organisation}: ¡gracias! Elija una hora en {link} o llame al {phone}. Responda STOP para terminar.",
        "fr": "{organisation} : merci ! Choisissez une heure sur {link} ou appelez le {phone}. ARRET pour terminer.",
        "pt": "{organisation}: obrigado! Escolha quando vir em {link} ou ligue para {phone}. PARAR para encerrar.",
    },
    "emergency": {
        "en": "{organisation}: in an emergency call 911 now. In a crisis call or text 988. Do not wait for us here.",
        "es": "{organisation}: en una emergencia llame ya al 911. En una crisis llame o escriba al 988. No nos espere.",
        "fr": "{organisation} : en cas d'urgence appelez le 911, en cas de crise le 988. N'attendez pas notre réponse.",
        "pt": "{organisation}: em perigo, ligue agora para o 911. Em crise, ligue para o 988. Nem espere por resposta.",
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
