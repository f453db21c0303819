"""Pages: the few words a patient sees in a browser. No script, no cookie, no image, nothing about the patient."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Final

from starlette.responses import HTMLResponse

_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:1.125rem/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;"
    "padding:0 1.25rem}h1{font-size:1.5rem;line-height:1.25}button{font:inherit;font-weight:600;padding:.75rem 1.25rem;"
    "border:0;border-radius:.5rem;background:#0b5cad;color:#fff;cursor:pointer}"
    "button:focus-visible{outline:3px solid #ffbf47;outline-offset:2px}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_WORDS: Final = {
    "en": {
        "ask": "Stop messages from {organisation}?",
        "ask_us": "Stop messages from us?",
        "ask_more": "You will get no more reminders from us, by email or text.",
        "button": "Unsubscribe",
        "done": "You are unsubscribed",
        "done_more": "{organisation} will send you no more messages. You can close this page.",
        "done_us": "We will send you no more messages. You can close this page.",
        "later": "Please try again in a few minutes",
        "later_more": "We cannot open the booking page just now. You can also call the clinic that wrote.",
        "call": "Call us to make an appointment",
        "call_more": "{organisation} is glad to find a time for you: {phone}.",
        "lost": "This link does not work",
        "lost_more": "It may be cut short. Please open it from the message again, or call the clinic that wrote.",
        "unclear": "Nothing was changed",
        "unclear_more": "Please use the button on the page behind the link in our message.",
    },
    "es": {
        "ask": "¿Dejar de recibir mensajes de {organisation}?",
        "ask_us": "¿Dejar de recibir nuestros mensajes?",
        "ask_more": "No le enviaremos más recordatorios, ni por correo ni por mensaje de texto.",
        "button": "Darme de baja",
        "done": "Su baja está hecha",
        "done_more": "{organisation} no le enviará más mensajes. Puede cerrar esta página.",
        "done_us": "No le enviaremos más mensajes. Puede cerrar esta página.",
        "later": "Inténtelo de nuevo en unos minutos",
        "later_more": "Ahora no podemos abrir la página de citas. También puede llamar a la clínica que le escribió.",
        "call": "Llámenos para hacer una cita",
        "call_more": "{organisation} le buscará una hora con gusto: {phone}.",
        "lost": "Este enlace no funciona",
        "lost_more": "Puede estar incompleto. Ábralo otra vez desde el mensaje o llame a la clínica que le escribió.",
        "unclear": "No se cambió nada",
        "unclear_more": "Use el botón de la página del enlace de nuestro mensaje.",
    },
    "fr": {
        "ask": "Ne plus recevoir de messages de {organisation} ?",
        "ask_us": "Ne plus recevoir nos messages ?",
        "ask_more": "Vous ne recevrez plus de rappels de notre part, ni par courriel ni par texto.",
        "button": "Me désabonner",
        "done": "Vous êtes désabonné",
        "done_more": "{organisation} ne vous enverra plus de messages. Vous pouvez fermer cette page.",
        "done_us": "Nous ne vous enverrons plus de messages. Vous pouvez fermer cette page.",
        "later": "Réessayez dans quelques minutes",
        "later_more": "La page de rendez-vous ne s'ouvre pas pour le moment. Vous pouvez aussi appeler votre clinique.",
        "call": "Appelez-nous pour prendre rendez-vous",
        "call_more": "{organisation} vous trouvera volontiers une heure : {phone}.",
        "lost": "Ce lien ne fonctionne pas",
        "lost_more": "Il est peut-être incomplet. Rouvrez-le depuis le message ou appelez votre clinique.",
        "unclear": "Rien n'a été changé",
        "unclear_more": "Utilisez le bouton de la page du lien dans notre message.",
    },
}


def page(
    what: str,
    language: str,
    *,
    status: int = 200,
    organisation: str = "",
    phone: str = "",
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """One page: `ask` (with the button), `done`, `call`, `later`, `lost` or `unclear`.

    In English where we lack the language. Without an `organisation` (the ledger is away) it says "us".
    """
    tongue = language if language in _WORDS else "en"
    texts = _WORDS[tongue]
    if not organisation:
        texts = {**texts, "ask": texts["ask_us"], "done_more": texts["done_us"]}
    words = {key: escape(text.format(organisation=organisation, phone=phone)) for key, text in texts.items()}
    button = (
        f'<form method="post"><button name="List-Unsubscribe" value="One-Click">{words["button"]}</button></form>'
        if what == "ask"
        else ""
    )
    html = (
        f'<!doctype html><html lang="{tongue}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{words[what]}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{words[what]}</h1>"
        f"<p>{words[what + '_more']}</p>{button}</main></body></html>"
    )
    return HTMLResponse(
        html, status, headers={"content-security-policy": _POLICY, "content-language": tongue, **(headers or {})}
    )
