"""Provider webhooks: verify, store, answer. Keywords take effect in the storing transaction, the rest waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from channels.kit.contract import Channel, InboundReceipt, InboundReply, WebhookError, WebhookRequest
from domain.jobs import apply_receipts, read_replies, send_answers
from domain.ledger import receipts, replies
from domain.ledger.receipts import ReceiptNews
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault
from domain.rules.vocabulary import Intent
from ops.runtime import metrics
from ops.runtime.clock import Clock
from producers.webhooks.edge import Threads, problem, read_body
from producers.webhooks.handover import Handover
from producers.webhooks.receipt_store import ReceiptStore

#: "Nothing to say": our answers go out as messages of their own, guarded and recorded like any other.
_EMPTY_TWIML: Final = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
_LONGEST_ID: Final = 128


class ProviderWebhooks:
    """`POST /webhooks/{channel}/{kind}` for every channel that is configured."""

    def __init__(
        self,
        *,
        engine: Engine,
        vault: Vault,
        clock: Clock,
        channels: Mapping[str, tuple[Channel, Any]],
        public_url: str,
        threads: Threads,
        handover: Handover,
        observe_opt_out: Callable[[float], None],
    ) -> None:
        self._engine = engine
        self._vault = vault
        self._clock = clock
        self._channels = channels
        self._public_url = public_url.rstrip("/")
        self._threads = threads
        self._handover = handover
        self._observe_opt_out = observe_opt_out
        self._receipts = ReceiptStore(self._write_receipts)

    async def take(self, request: Request) -> Response:
        """One webhook call. 2xx means committed; 403 an unproven sender; 503 that nothing was stored."""
        name, kind = request.path_params["channel"], request.path_params["kind"]
        channel, config = self._channels.get(name, (None, None))
        if channel is None or kind not in channel.webhook_kinds:
            return problem(404, "Not Found", "there is no such webhook")
        with metrics.webhook_seconds.labels(name, kind).time():
            call = await self._call(request)
            if not channel.verify(config, call):
                metrics.webhook_rejected_total.labels(name, "signature").inc()
                return problem(403, "Forbidden", "the signature does not match")
            try:
                inbound = [_checked(each) for each in channel.parse(config, kind, call)]
                news = [_news(name, each) for each in inbound if isinstance(each, InboundReceipt)]
            except (WebhookError, ValueError) as error:
                metrics.webhook_rejected_total.labels(name, "unreadable").inc()
                return problem(400, "Bad Request", f"cannot be read: {error}")
            return await self._store(channel, inbound, news, request.state.received)

    async def close(self) -> None:
        """Finish what is being stored."""
        await self._receipts.close()

    async def _call(self, request: Request) -> WebhookRequest:
        path = (request.scope.get("raw_path") or request.url.path.encode()).decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        return WebhookRequest(
            method=request.method,
            url=self._public_url + path + ("?" + query if query else ""),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await read_body(request),
        )

    async def _store(
        self,
        channel: Channel,
        inbound: Sequence[InboundReply | InboundReceipt],
        news: Sequence[ReceiptNews],
        received: float,
    ) -> Response:
        if news:
            await self._receipts.add(news)
        written = [each for each in inbound if isinstance(each, InboundReply)]
        for each in written:
            await self._threads.run(lambda each=each: self._take_reply(channel, each, received))  # type: ignore[misc]
        return Response(_EMPTY_TWIML, media_type="text/xml") if written else Response(status_code=204)

    def _take_reply(self, channel: Channel, reply: InboundReply, received: float) -> None:
        taken = transact(
            self._engine,
            lambda conn: replies.take(
                conn,
                self._vault,
                channel=channel.name,
                system=channel.contact_system,
                provider_id=reply.provider_id,
                sender=reply.sender,
                text=reply.text,
                now=self._clock.now(),
            ),
        )
        if taken.reply_id is None:
            return
        if taken.intent is None:
            self._handover.add(read_replies((taken.reply_id,)))
            return
        metrics.replies_total.labels(channel.name, taken.intent.value).inc()
        if taken.intent is Intent.OPT_OUT:
            self._observe_opt_out(time.perf_counter() - received)
        if taken.answer_id is not None:
            self._handover.add(send_answers(channel.name, (taken.answer_id,)))

    async def _write_receipts(self, news: Sequence[ReceiptNews]) -> None:
        await self._threads.run(lambda: self._take_receipts(news))

    def _take_receipts(self, news: Sequence[ReceiptNews]) -> None:
        ids = transact(self._engine, lambda conn: receipts.take(conn, news, self._clock.now()))
        if ids:
            self._handover.add(apply_receipts(tuple(ids)))


def _checked(each: InboundReply | InboundReceipt) -> InboundReply | InboundReceipt:
    provider_id = each.provider_id if isinstance(each, InboundReply) else each.provider_ref
    if not 0 < len(provider_id) <= _LONGEST_ID or not provider_id.isprintable():
        raise WebhookError("the provider's message id is empty, too long or not printable")
    return each


def _news(channel: str, receipt: InboundReceipt) -> ReceiptNews:
    return ReceiptNews(
        channel=channel,
        provider_ref=receipt.provider_ref,
        status=receipt.status,
        reference=receipt.reference,
        error_code=receipt.code,
        effect=None if receipt.effect is None else receipt.effect.value,
    )
