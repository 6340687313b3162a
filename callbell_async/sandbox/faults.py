"""Faults that `Sandbox.inject` applies to requests. Each function returns one.

A fault receives an `Exchange`: one request and its connection. With `accept=True` a fault executes the request first, so that the
message is accepted and only the response is lost. A request with a wrong token, or beyond the limit, is refused and gets no fault,
except those that apply before the request is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from callbell_async.sandbox.exchange import (
    NOT_AUTHORIZED,
    Exchange,
    SandboxRequest,
    SandboxResponse,
    response_head,
)
from callbell_async.sandbox.message_lifecycle import DeliveryFailure

__all__ = [
    "Fault",
    "accept_then_close",
    "close_after_reading",
    "close_before_reading",
    "delay",
    "depleted_credit",
    "drop_idle_connection",
    "failed_delivery",
    "html",
    "no_fault",
    "no_response",
    "oversized_response",
    "raw",
    "reset_after_reading",
    "reset_before_reading",
    "respond",
    "slow_response",
    "token_revoked",
    "truncated_response",
]


@attrs.frozen
class Fault:
    """What happens to a request in place of a response.

    Attributes:
        name: The name; `SandboxRequest.fault` has it afterwards.
        act: A coroutine function of an `Exchange`.
        before_reading: Whether it applies as soon as the head of the request has arrived. Such a request is not among the
            sandbox's `requests`, and its token and the limit are not checked.
        applies_to: Whether it applies to a request at all; `None` for every request.
        valid_messages_only: Whether it applies only to messages that would be accepted.
    """

    name: str
    act: Callable[[Exchange], Awaitable[None]]
    before_reading: bool = False
    applies_to: Callable[[SandboxRequest], bool] | None = None
    valid_messages_only: bool = False


def _has_template(request: SandboxRequest) -> bool:
    return isinstance(request.document, dict) and "template_uuid" in request.document


# --- responses ------------------------------------------------------------------------------------------------------------


def no_fault() -> Fault:
    """Return a fault that does nothing, for the places in a sequence where the usual response is sent.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        await exchange.send(exchange.execute())

    return Fault("no_fault", act)


def _response(status: int, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None) -> SandboxResponse:
    if isinstance(body, bytes):
        return SandboxResponse(status, None, headers or {}, body)
    return SandboxResponse(status, dict(body), headers or {})


def respond(
    status: int,
    body: bytes | Mapping[str, Any] = b"",
    headers: Mapping[str, str] | None = None,
    *,
    accept: bool = False,
) -> Fault:
    """Return a fault that sends this response, with its true length; 1xx, 204 and 304 have no body.

    Args:
        status: The HTTP status.
        body: The body; a mapping is sent as JSON.
        headers: The headers.
        accept: Whether the request is executed first.

    Returns:
        The fault.
    """
    response = _response(status, body, headers)

    async def act(exchange: Exchange) -> None:
        if accept:
            exchange.execute()
        await exchange.send(response)

    return Fault(f"respond {status}", act)


def html(
    status: int = 502, page: bytes = b"<html><body><h1>Bad Gateway</h1></body></html>", *, accept: bool = False
) -> Fault:
    """Return a fault that sends an HTML page, as a proxy does.

    Args:
        status: The HTTP status.
        page: The body.
        accept: Whether the request is executed first.

    Returns:
        The fault.
    """
    return attrs.evolve(respond(status, page, {"Content-Type": "text/html"}, accept=accept), name=f"HTML {status}")


def token_revoked() -> Fault:
    """Return a fault that sends Callbell's 401, as after the token was revoked.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        await exchange.send(NOT_AUTHORIZED)

    return Fault("token_revoked", act)


def depleted_credit() -> Fault:
    """Return a fault that sends 402 with `whatsapp_wallet_depleted_credit`, to valid template messages only, as Callbell does.

    Returns:
        The fault.
    """
    body = {"error": "the WhatsApp wallet has no credit left", "code": "whatsapp_wallet_depleted_credit"}
    return attrs.evolve(respond(402, body), name="depleted_credit", applies_to=_has_template, valid_messages_only=True)


def failed_delivery(failure: DeliveryFailure) -> Fault:
    """Return a fault for valid messages: the message is accepted, and its status becomes `failed` in place of `delivered`.

    Args:
        failure: Why the message is not delivered.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        await exchange.send(exchange.execute(failure))

    return Fault("failed_delivery", act, valid_messages_only=True)


# --- time ---------------------------------------------------------------------------------------------------------------


def delay(seconds: float) -> Fault:
    """Return a fault that executes the request and sends the response later, after `seconds` of the event loop's clock.

    Args:
        seconds: The delay in seconds of the event loop's clock, 0 or more.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        response = exchange.execute()
        await asyncio.sleep(seconds)
        await exchange.send(response)

    return Fault(f"delay of {seconds:g} s", act)


def no_response(
    on_read: Callable[[], object] = lambda: None,
    *,
    after: bytes = b"",
    until: asyncio.Event | None = None,
    then: Fault | None = None,
    accept: bool = False,
) -> Fault:
    """Return a fault that sends no response until the client closes the connection.

    Args:
        on_read: Called when the request has been read and `after` has been sent.
        after: The first bytes of a response, which are sent at once.
        until: An event; if it is set before the client leaves, the fault `then` is applied.
        then: The fault after `until`; `None` for the usual response.
        accept: Whether the request is executed first.

    Returns:
        The fault.
    """
    late = then or no_fault()

    async def act(exchange: Exchange) -> None:
        if accept:
            exchange.execute()
        if after:
            await exchange.write(after)
        on_read()
        if await _released(until, exchange):
            await late.act(exchange)

    return attrs.evolve(
        late, name=f"no_response, then {late.name}" if then else "no_response", act=act, before_reading=False
    )


async def _released(until: asyncio.Event | None, exchange: Exchange) -> bool:
    """Return whether `until` was set before the client left."""
    if until is None:
        await exchange.client_gone()
        return False
    waiting = [asyncio.ensure_future(until.wait()), asyncio.ensure_future(exchange.client_gone())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return not waiting[1].done()
    finally:
        for task in waiting:
            task.cancel()


def slow_response(response: SandboxResponse | None = None, *, every: float = 0.0) -> Fault:
    """Return a fault that sends a response byte by byte.

    Args:
        response: The response; `None` executes the request and sends the usual one.
        every: The seconds between two bytes, by the event loop's clock.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        sent = response or exchange.execute()
        exchange.request.status = sent.status
        for byte in response_head(sent) + sent.content:
            await exchange.write(bytes([byte]))
            await asyncio.sleep(every)

    return Fault("slow_response", act)


def oversized_response(size: int, status: int = 200, *, piece: bytes = b"x" * 65536) -> Fault:
    """Return a fault that sends a large response, as fast as the client reads.

    Args:
        size: The bytes of the body.
        status: The HTTP status.
        piece: The bytes that are repeated.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        await exchange.write(response_head(SandboxResponse(status, None, {"Content-Type": "text/html"}), size))
        for start in range(0, size, len(piece)):
            await exchange.write(piece[: size - start])
        exchange.request.status = status

    return Fault("oversized_response", act)


# --- connections ----------------------------------------------------------------------------------------------------------


def close_before_reading() -> Fault:
    """Return a fault that closes the connection when the head of the request has arrived.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        exchange.close()

    return Fault("close_before_reading", act, before_reading=True)


def reset_before_reading() -> Fault:
    """Return a fault that resets the connection when the head of the request has arrived.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        exchange.reset()

    return Fault("reset_before_reading", act, before_reading=True)


def close_after_reading(*, accept: bool = False) -> Fault:
    """Return a fault that closes the connection without a response.

    Args:
        accept: Whether the request is executed first.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        if accept:
            exchange.execute()
        exchange.close()

    return Fault("accept_then_close" if accept else "close_after_reading", act)


def accept_then_close() -> Fault:
    """Return a fault that executes the request and closes the connection: a second attempt would send the message twice.

    Returns:
        The fault.
    """
    return close_after_reading(accept=True)


def reset_after_reading(*, accept: bool = False) -> Fault:
    """Return a fault that resets the connection without a response.

    Args:
        accept: Whether the request is executed first.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        if accept:
            exchange.execute()
        exchange.reset()

    return Fault("accept_then_reset" if accept else "reset_after_reading", act)


def truncated_response(response: SandboxResponse | None = None, *, reset: bool = False) -> Fault:
    """Return a fault that ends a response after half of its body.

    Args:
        response: The response; `None` executes the request and sends half of the usual one.
        reset: Whether the connection is reset, and not closed.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        sent = response or exchange.execute()
        content = sent.content
        await exchange.write(response_head(sent) + content[: len(content) // 2])
        (exchange.reset if reset else exchange.close)()

    return Fault("truncated_response", act)


def raw(data: bytes, *, read: bool = True) -> Fault:
    """Return a fault that sends any bytes and closes the connection.

    Args:
        data: The bytes.
        read: Whether the request is read first.

    Returns:
        The fault.
    """

    async def act(exchange: Exchange) -> None:
        await exchange.write(data)
        exchange.close()

    return Fault("raw", act, before_reading=not read)


def drop_idle_connection(first: Fault | None = None) -> Fault:
    """Return a fault that closes the idle connection after `first`, or after the usual response, although it was to be kept alive.

    Args:
        first: The fault before the connection is closed; `None` for the usual response.

    Returns:
        The fault.
    """
    before = first or no_fault()

    async def act(exchange: Exchange) -> None:
        await before.act(exchange)
        exchange.end_writing()
        await exchange.client_gone()

    return attrs.evolve(before, name=f"{before.name}, then drop_idle_connection", act=act)
