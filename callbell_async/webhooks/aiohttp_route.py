"""A webhook in an aiohttp application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from aiohttp import web

from callbell_async.webhooks.options import Handler, ReceiverOptions
from callbell_async.webhooks.receiver import WebhookReceiver
from callbell_async.webhooks.responses import BROKEN, TOO_LARGE, ReceiverResponse
from callbell_async.webhooks.signature import SIGNATURE_HEADER

__all__ = ["add_webhook_route"]


def add_webhook_route(
    app: web.Application,
    path: str,
    handler: Handler | None = None,
    *,
    secret: str | Sequence[str] | None,
    **options: Unpack[ReceiverOptions],
) -> WebhookReceiver:
    """Let `path` of an application take Callbell's events; returns the receiver, which is closed when the application shuts down.

    The handler, the secret and the options are those of `WebhookReceiver`.
    """
    receiver = WebhookReceiver(handler, secret=secret, **options)

    async def receive(request: web.Request) -> web.Response:
        body = await _read(request, receiver.max_body)
        if isinstance(body, ReceiverResponse):
            answer = body
        else:
            answer = await receiver.receive(body, ",".join(request.headers.getall(SIGNATURE_HEADER, ())) or None)
        response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        if answer is body:
            # What was not read is still on its way.
            response.force_close()
        return response

    async def close(app: web.Application) -> None:
        await receiver.close()

    app.router.add_post(path, receive)
    # At the shutdown, when requests that wait for their event can still be answered, and before the application cleans up what handlers use.
    app.on_shutdown.append(close)
    return receiver


async def _read(request: web.Request, limit: int) -> bytes | ReceiverResponse:
    """The body, or what to answer to one of more than `limit` bytes, which is not read to its end, and to one that has no end."""
    if (request.content_length or 0) > limit:
        return TOO_LARGE
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit:
                return TOO_LARGE
    except (web.RequestPayloadError, ConnectionError):
        # Anybody can send one: no matter for the log of the server's errors. Nor is the rest, which the server would go on to read.
        request.content.feed_eof()
        return BROKEN
    return bytes(body)
