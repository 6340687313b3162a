"""What can go wrong on demand. Each function gives a fault for `Sandbox.inject`.

A fault is a function of an `Exchange`: one request and the connection it came on. Faults that take `accept` carry the request out when it
is true: the message is accepted, and only the answer is lost. But for those before reading, a request with a wrong token or beyond the limit
is refused, and meets none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from callbell_async.sandbox.exchange import NOT_AUTHORIZED, SandboxRequest, SandboxResponse
from callbell_async.sandbox.fault import Exchange, Fault, head
from callbell_async.sandbox.message_lifecycle import DeliveryFailure

__all__ = [
    "Exchange",
    "Fault",
    "accept_then_close",
    "answer",
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
    "slow_response",
    "token_revoked",
    "truncated_response",
]


def _has_a_template(request: SandboxRequest) -> bool:
    return isinstance(request.document, dict) and "template_uuid" in request.document


# --- answers ------------------------------------------------------------------------------------------------------------


def no_fault() -> Fault:
    """No fault: for the places in a sequence where nothing goes wrong."""

    async def act(exchange: Exchange) -> None:
        await exchange.send(exchange.carry_out())

    return Fault("as usual", act)


def _reply(status: int, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None) -> SandboxResponse:
    if isinstance(body, bytes):
        return SandboxResponse(status, None, headers or {}, body)
    return SandboxResponse(status, dict(body), headers or {})


def answer(
    status: int,
    body: bytes | Mapping[str, Any] = b"",
    headers: Mapping[str, str] | None = None,
    *,
    accept: bool = False,
) -> Fault:
    """Whatever answer; a mapping is sent as JSON. Its length is told as it is, and with 1xx, 204 and 304 there is no body."""
    reply = _reply(status, body, headers)

    async def act(exchange: Exchange) -> None:
        if accept:
            exchange.carry_out()
        await exchange.send(reply)

    return Fault(f"answer {status}", act)


def html(
    status: int = 502, page: bytes = b"<html><body><h1>Bad Gateway</h1></body></html>", *, accept: bool = False
) -> Fault:
    """A proxy's page."""
    return attrs.evolve(answer(status, page, {"Content-Type": "text/html"}, accept=accept), name=f"HTML {status}")


def token_revoked() -> Fault:
    """401, as for a token that is no longer good."""

    async def act(exchange: Exchange) -> None:
        await exchange.send(NOT_AUTHORIZED)

    return Fault("token revoked", act)


def depleted_credit() -> Fault:
    """402 with `whatsapp_wallet_depleted_credit`; only templates meet it, as it is with Callbell, and only those with nothing wrong."""
    body = {"error": "the WhatsApp wallet has no credit left", "code": "whatsapp_wallet_depleted_credit"}
    return attrs.evolve(answer(402, body), name="depleted credit", concerns=_has_a_template, valid_messages_only=True)


def failed_delivery(failure: DeliveryFailure) -> Fault:
    """The message is accepted, and its status becomes `failed` in place of `delivered`, for this reason.

    Only messages that are accepted meet it.
    """

    async def act(exchange: Exchange) -> None:
        await exchange.send(exchange.carry_out(failure))

    return Fault("failed delivery", act, valid_messages_only=True)


# --- time ---------------------------------------------------------------------------------------------------------------


def delay(seconds: float) -> Fault:
    """The request is carried out at once and answered so many seconds later, by the event loop's clock."""

    async def act(exchange: Exchange) -> None:
        reply = exchange.carry_out()
        await asyncio.sleep(seconds)
        await exchange.send(reply)

    return Fault(f"delay of {seconds:g} s", act)


def no_response(
    on_read: Callable[[], object] = lambda: None,
    *,
    after: bytes = b"",
    until: asyncio.Event | None = None,
    then: Fault | None = None,
    accept: bool = False,
) -> Fault:
    """No answer, or nothing `after` its beginning, until the client leaves.

    `on_read` is called when the request was read and `after` was written. If `until` is set first, the request meets `then`, or
    else is carried out (unless it was by `accept`) and answered.
    """
    late = then or no_fault()

    async def act(exchange: Exchange) -> None:
        if accept:
            exchange.carry_out()
        if after:
            await exchange.write(after)
        on_read()
        if await _released(until, exchange):
            await late.act(exchange)

    return attrs.evolve(
        late, name=f"silence, then {late.name}" if then else "no_response", act=act, before_reading=False
    )


async def _released(until: asyncio.Event | None, exchange: Exchange) -> bool:
    """Whether `until` was set before the client left."""
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


def slow_response(reply: SandboxResponse | None = None, *, every: float = 0.0) -> Fault:
    """The usual answer, or this `reply`, in pieces of one byte, so many seconds apart; each goes its own way through the event loop."""

    async def act(exchange: Exchange) -> None:
        answered = reply or exchange.carry_out()
        exchange.request.status = answered.status
        for byte in head(answered) + answered.content:
            await exchange.write(bytes([byte]))
            await asyncio.sleep(every)

    return Fault("slow_response", act)


def oversized_response(size: int, status: int = 200, *, piece: bytes = b"x" * 65536) -> Fault:
    """An answer of `size` bytes, written as fast as the client takes them."""

    async def act(exchange: Exchange) -> None:
        await exchange.write(head(SandboxResponse(status, None, {"Content-Type": "text/html"}), size))
        for start in range(0, size, len(piece)):
            await exchange.write(piece[: size - start])
        exchange.request.status = status

    return Fault("oversized_response", act)


# --- connections ----------------------------------------------------------------------------------------------------------


def close_before_reading() -> Fault:
    """The connection ends when the head of the request is there; the request isn't counted."""

    async def act(exchange: Exchange) -> None:
        exchange.close()

    return Fault("close before reading", act, before_reading=True)


def reset_before_reading() -> Fault:
    """A reset when the head of the request is there; the request isn't counted."""

    async def act(exchange: Exchange) -> None:
        exchange.reset()

    return Fault("reset before reading", act, before_reading=True)


def close_after_reading(*, accept: bool = False) -> Fault:
    """An orderly end in place of an answer."""

    async def act(exchange: Exchange) -> None:
        if accept:
            exchange.carry_out()
        exchange.close()

    return Fault("accept, then close" if accept else "close after reading", act)


def accept_then_close() -> Fault:
    """The message is accepted, and the connection ends without an answer: what a second attempt would send twice."""
    return close_after_reading(accept=True)


def reset_after_reading(*, accept: bool = False) -> Fault:
    """A reset in place of an answer."""

    async def act(exchange: Exchange) -> None:
        if accept:
            exchange.carry_out()
        exchange.reset()

    return Fault("accept, then reset" if accept else "reset after reading", act)


def truncated_response(reply: SandboxResponse | None = None, *, reset: bool = False) -> Fault:
    """The usual answer (the message is accepted), or this `reply`, ends after half of the promised body, in order or by a reset."""

    async def act(exchange: Exchange) -> None:
        answered = reply or exchange.carry_out()
        content = answered.content
        await exchange.write(head(answered) + content[: len(content) // 2])
        (exchange.reset if reset else exchange.close)()

    return Fault("half an answer", act)


def raw(data: bytes, *, read: bool = True) -> Fault:
    """Any bytes, HTTP or not, and the end of the connection; `read` the request before, or don't."""

    async def act(exchange: Exchange) -> None:
        await exchange.write(data)
        exchange.close()

    return Fault("raw bytes", act, before_reading=not read)


def drop_idle_connection(first: Fault | None = None) -> Fault:
    """`first` or the usual answer, and the connection, promised to be kept alive, is dropped while it is idle."""
    before = first or no_fault()

    async def act(exchange: Exchange) -> None:
        await before.act(exchange)
        exchange.end_writing()
        await exchange.client_gone()

    return attrs.evolve(before, name=f"{before.name}, then dropped", act=act)
