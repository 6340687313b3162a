"""A webhook in an aiohttp application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from aiohttp import web

from callbell_async.arguments import Secret
from callbell_async.webhooks.options import Handler, ReceiverOptions
from callbell_async.webhooks.receiver import WebhookReceiver
from callbell_async.webhooks.request import ENCODED, INCOMPLETE, TIMED_OUT, ReceiverResponse
from callbell_async.webhooks.signature import SIGNATURE_HEADER

__all__ = ["add_webhook_route"]

_NOT_READ_TO_THE_END = (ENCODED, INCOMPLETE, TIMED_OUT)
"""Not a body that is too large: its client must be able to send the rest, and then read the response."""


def add_webhook_route(
    app: web.Application,
    path: str,
    handler: Handler | None = None,
    *,
    secret: str | Sequence[str] | None = None,
    url_secret: str | Sequence[str] | None = None,
    header_secret: tuple[str, str | Sequence[str]] | None = None,
    **options: Unpack[ReceiverOptions],
) -> WebhookReceiver:
    """Add routes to an aiohttp application that receive Callbell's events at `path`.

    Args:
        app: the application. Its shutdown closes the receiver.
        path: the path; POST, GET and HEAD are added for it.
        handler: as for `WebhookReceiver`.
        secret: as for `WebhookReceiver`.
        url_secret: as for `WebhookReceiver`.
        header_secret: as for `WebhookReceiver`.
        options: `unsigned`, `respond_after` and the other options of `WebhookReceiver`.

    Returns:
        The receiver.

    Raises:
        ConfigurationError: an argument is wrong.
    """
    given = Secret(secret), Secret(url_secret), Secret(header_secret)
    del secret, url_secret, header_secret
    receiver = WebhookReceiver(
        handler, secret=given[0].value, url_secret=given[1].value, header_secret=given[2].value, **options
    )

    async def receive(request: web.Request) -> web.Response:
        headers = request.headers
        found: bytes | ReceiverResponse | None = receiver.check_request(
            request.method,
            content_length=request.content_length,
            content_encoding=",".join(headers.getall("Content-Encoding", ())) or None,
        )
        if found is None:
            found = await _read(request, receiver)
        if isinstance(found, ReceiverResponse):
            if found in _NOT_READ_TO_THE_END and request.body_exists:
                # The server would read the rest for 10 seconds, and log an error in a body that can't be decoded.
                request.content.feed_eof()
            # The rest of a body may still arrive, and is not the next request.
            return _to_aiohttp(found, close=request.body_exists)
        signature = ",".join(headers.getall(SIGNATURE_HEADER, ())) or None
        return _to_aiohttp(await receiver.receive(found, signature, url=request.raw_path, headers=headers))

    async def close(app: web.Application) -> None:
        await receiver.close()

    app.router.add_post(path, receive)
    app.router.add_get(path, receive)
    # At the shutdown, requests that wait for their event can still be responded to, and the application has not cleaned up yet.
    app.on_shutdown.append(close)
    return receiver


def _to_aiohttp(response: ReceiverResponse, *, close: bool = False) -> web.Response:
    result = web.Response(status=response.status, body=response.body, headers=response.headers)
    if close:
        result.force_close()
    return result


async def _read(request: web.Request, receiver: WebhookReceiver) -> bytes | ReceiverResponse:
    content = request.content
    try:
        if content.is_eof():
            # All of it has arrived, as small bodies do: it needs no limit of time, and `receive` checks its size.
            return content.read_nowait()
        return await receiver.read_body(content.iter_any())
    except (web.RequestPayloadError, ConnectionError):
        # Anybody can cause this error, so it must not get into the log of the server.
        return receiver.refuse(INCOMPLETE)
