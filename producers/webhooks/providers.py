"""Provider webhooks: verify, keep, answer. Keywords take effect in the storing transaction, the rest waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from channels.kit.contract import Channel, InboundReceipt, InboundReply, WebhookError, WebhookRequest
from channels.kit.provider_ids import on_channel
from domain.ledger.receipts import ReceiptNews
from ops.runtime import metrics
from ops.runtime.clock import Clock
from producers.webhooks.arrival_store import ArrivalStore
from producers.webhooks.arrivals import ReceiptsArrival, ReplyArrival
from producers.webhooks.edge import Threads, problem, read_body
from producers.webhooks.keeper import Keeper
from producers.webhooks.receipt_store import ReceiptStore
from producers.webhooks.spool import SpoolError

Inbound = InboundReply | InboundReceipt

#: "Nothing to say": our answers go out as messages of their own, guarded and recorded like any other.
_EMPTY_TWIML: Final = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
_LONGEST_ID: Final = 128


class ProviderWebhooks:
    """`POST /webhooks/{channel}/{kind}` for every channel that is configured."""

    def __init__(
        self,
        *,
        store: ArrivalStore,
        keeper: Keeper,
        clock: Clock,
        channels: Mapping[str, tuple[Channel, Any]],
        public_url: str,
        threads: Threads,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._channels = channels
        self._public_url = public_url.rstrip("/")
        self._threads = threads
        self._receipts = ReceiptStore(self._write_receipts)
        for name in channels:
            # a series that began above 0 would show Prometheus no increase
            metrics.webhook_rejected_total.labels(name, "unkept")

    async def take(self, request: Request) -> Response:
        """One webhook call. 2xx means committed, or on disk; 403 an unproven sender; 503 that nothing was kept."""
        name, kind = request.path_params["channel"], request.path_params["kind"]
        channel, config = self._channels.get(name, (None, None))
        if channel is None or kind not in channel.webhook_kinds:
            return problem(404, "Not Found", "there is no such webhook")
        with metrics.webhook_seconds.labels(name, kind).time():
            at, call = self._clock.now(), await self._call(request)
            if not channel.verify(config, call):
                metrics.webhook_rejected_total.labels(name, "signature").inc()
                return problem(403, "Forbidden", "the signature does not match")
            try:
                inbound = [_checked(channel.name, name, each) for each in channel.parse(config, kind, call)]
            except (WebhookError, ValueError) as error:
                metrics.webhook_rejected_total.labels(name, "unreadable").inc()
                return problem(400, "Bad Request", f"cannot be read: {error}")
            try:
                return await self._keep(channel, name, inbound, at, request.state.received)
            except SpoolError:
                metrics.webhook_rejected_total.labels(name, "unkept").inc()
                raise

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

    async def _keep(
        self, channel: Channel, name: str, inbound: Sequence[Inbound], at: datetime, received: float
    ) -> Response:
        news = tuple(_news(channel.name, each) for each in inbound if isinstance(each, InboundReceipt))
        if news:
            receipts = ReceiptsArrival(news, at)
            await self._keeper.keep(receipts, lambda: self._receipts.add(receipts))
        written = [_reply(channel, name, each, at) for each in inbound if isinstance(each, InboundReply)]
        for each in written:
            store = partial(self._store.take, each, lambda: time.perf_counter() - received)
            await self._keeper.keep(each, partial(self._threads.run, store))
        return Response(_EMPTY_TWIML, media_type="text/xml") if written else Response(status_code=204)

    async def _write_receipts(self, arrivals: Sequence[ReceiptsArrival]) -> None:
        await self._threads.run(lambda: self._store.take_receipts(arrivals))


def _checked(channel: str, provider: str, each: Inbound) -> Inbound:
    """What can be kept, under an id that no other provider's message has: that would be taken for a repeat."""
    given = each.provider_id if isinstance(each, InboundReply) else each.provider_ref
    id_ = on_channel(channel, provider, given)
    if not given or len(id_) > _LONGEST_ID or not id_.isprintable():
        raise WebhookError("the provider's message id is empty, too long or not printable")
    if isinstance(each, InboundReply):
        return replace(each, provider_id=id_)
    told = replace(each, provider_ref=id_)
    # raises what is wrong with it, here, where the provider can still be told
    _news(channel, told)
    return told


def _reply(channel: Channel, provider: str, reply: InboundReply, at: datetime) -> ReplyArrival:
    return ReplyArrival(
        channel=channel.name,
        system=channel.contact_system,
        provider_id=reply.provider_id,
        sender=reply.sender,
        text=reply.text,
        at=at,
        answered_by_network=reply.answered_by_network,
        provider=provider,
    )


def _news(channel: str, receipt: InboundReceipt) -> ReceiptNews:
    return ReceiptNews(
        channel=channel,
        provider_ref=receipt.provider_ref,
        status=receipt.status,
        reference=receipt.reference,
        error_code=receipt.code,
        effect=None if receipt.effect is None else receipt.effect.value,
    )
