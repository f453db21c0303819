"""How patients word what they write: opt-outs in their many forms, agreed words, questions and nonsense."""

from __future__ import annotations

#: Whole messages that refuse further ones; every one must be honoured at once.
STOP = {
    "en": ("STOP", "STOP", "Stop.", "stop", "Stop!", "UNSUBSCRIBE", "QUIT", "END", "stop please", "Stop. Thank you"),
    "es": ("STOP", "ALTO", "Alto", "PARAR", "BASTA", "alto por favor"),
    "fr": ("ARRET", "Arrêt", "STOP", "stop merci"),
}

#: Refusals in free words, which are no keyword a carrier knows.
REFUSAL = {
    "en": ("I really do not want any more of these", "take my name off your list"),
    "es": ("ya no quiero recibir estos avisos en mi celular",),
    "fr": ("je ne veux plus rien recevoir de vous",),
}

BOOK = {
    "en": ("C", "c", "YES", "Yes", "yes please"),
    "es": ("C", "SÍ", "Sí", "Si"),
    "fr": ("C", "OUI"),
}

RESCHEDULE = ("R", "r")

HELP = {"en": ("HELP", "help", "INFO"), "es": ("AYUDA", "ayuda"), "fr": ("AIDE",)}

START = ("START", "Unstop", "start")

#: Somebody is in danger: to be answered at once, and shown to a person.
DANGER = {
    "en": (
        "I have chest pain and my left arm is numb",
        "I can't breathe, please help",
        "I don't want to live anymore",
    ),
    "es": ("me duele mucho el pecho", "no puedo respirar"),
}

#: A stranger has the number now.
WRONG_NUMBER = {"en": ("wrong number", "You have the wrong number."), "es": ("número equivocado",)}

#: Told by who picked up the phone.
DIED = {"en": ("she passed away last year", "he died in march"), "es": ("él falleció el año pasado",)}

#: Questions and remarks nobody can answer by rule.
OTHER = {
    "en": (
        "what time do you open on saturdays?",
        "Is parking free there",
        "I moved last year, is there a place closer to me?",
        "can my daughter come along?",
        "who is this",
        "ok thx, I'll stop by the pharmacy first",
        "lol wrong chat",
        "k",
        "🙃🙃",
        "call me after 5",
        'Liked "It has been a while. Reply C to book, STOP to opt out."',
    ),
    "es": ("¿a qué hora abren el sábado?", "quién habla", "gracias", "estoy en el trabajo, luego llamo"),
    "fr": ("à quelle heure ouvrez-vous samedi ?", "c'est qui ?"),
}
