"""The faults that the control API offers by name, with their arguments as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from callbell_async.models.validation import is_same_recipient
from callbell_async.sandbox import faults
from callbell_async.sandbox.api.validation import Rule, flag, number, one_of, text, whole_number
from callbell_async.sandbox.exchange import SandboxRequest, refusal
from callbell_async.sandbox.faults import Fault
from callbell_async.sandbox.message_lifecycle import DeliveryFailure

__all__ = ["OFFERED", "Argument", "OfferedFault", "applies_to", "read_fault"]

MOST = 10_000_000
"""The greatest number of bytes of a response, and the greatest code of an error."""


@attrs.frozen
class Argument:
    """An argument of a fault, with the rule for its value."""

    name: str
    rule: Rule
    default: Any


@attrs.frozen
class OfferedFault:
    """A fault that can be chosen by its name.

    Attributes:
        effect: The response, or the end of the connection, that the request gets.
        outcome: The outcome of a message whose request gets it, without a further attempt.
        make: Returns the fault for the values of the `arguments`.
        arguments: The arguments.
    """

    effect: str
    outcome: str
    make: Callable[..., Fault]
    arguments: tuple[Argument, ...] = ()


def _failed_delivery(reason: str, shape: Literal["gupshup", "meta"], code: int) -> Fault:
    return faults.failed_delivery(DeliveryFailure(reason=reason, shape=shape, code=code))


def _respond(status: int, body: Any, headers: Mapping[str, str], accept: bool) -> Fault:
    return faults.respond(status, b"" if body == "" else body, headers, accept=accept)


def _body(value: Any) -> str | None:
    return None if value == "" or isinstance(value, dict) else "must be a JSON object"


def _headers(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "must be a JSON object"
    valid = all(
        isinstance(content, str) and "\r" not in name + content and "\n" not in name + content
        for name, content in value.items()
    )
    return None if valid else "must be an object of strings without line breaks"


_ACCEPT = Argument("accept", flag, default=False)
_STATUS = Argument("status", whole_number(100, 599), 500)

OFFERED: Mapping[str, OfferedFault] = {
    "accept_then_close": OfferedFault(
        "the message is accepted, and the connection ends without a response", "UNKNOWN", faults.accept_then_close
    ),
    "close_after_reading": OfferedFault(
        "the connection ends without a response; the message is not accepted", "UNKNOWN", faults.close_after_reading
    ),
    "reset_after_reading": OfferedFault(
        "the connection is reset after the request was read", "UNKNOWN", faults.reset_after_reading, (_ACCEPT,)
    ),
    "close_before_reading": OfferedFault(
        "the connection ends when the head of the request has arrived", "UNKNOWN", faults.close_before_reading
    ),
    "reset_before_reading": OfferedFault(
        "the connection is reset when the head of the request has arrived", "UNKNOWN", faults.reset_before_reading
    ),
    "truncated_response": OfferedFault(
        "the message is accepted, and half of the response is sent",
        "UNKNOWN",
        faults.truncated_response,
        (Argument("reset", flag, default=False),),
    ),
    "no_response": OfferedFault("no response until the client leaves", "UNKNOWN", faults.no_response, (_ACCEPT,)),
    "respond": OfferedFault(
        "a response with this status",
        "REJECTED for 4xx, UNKNOWN for 5xx",
        _respond,
        (_STATUS, Argument("body", _body, ""), Argument("headers", _headers, {}), _ACCEPT),
    ),
    "html": OfferedFault(
        "a page of HTML, as from a proxy",
        "UNKNOWN",
        faults.html,
        (attrs.evolve(_STATUS, default=502), _ACCEPT),
    ),
    "token_revoked": OfferedFault("Callbell's 401", "REJECTED", faults.token_revoked),
    "depleted_credit": OfferedFault("Callbell's 402, for template messages only", "REJECTED", faults.depleted_credit),
    "failed_delivery": OfferedFault(
        "the message is accepted and fails later",
        "ACCEPTED, then the status failed",
        _failed_delivery,
        (
            Argument("reason", text, "Message undeliverable"),
            Argument("shape", one_of(("gupshup", "meta")), "gupshup"),
            Argument("code", whole_number(0, MOST), 131026),
        ),
    ),
    "delay": OfferedFault(
        "the usual response, later", "ACCEPTED", faults.delay, (Argument("seconds", number(0, 3600), 1.0),)
    ),
    "slow_response": OfferedFault(
        "the usual response, byte by byte",
        "ACCEPTED",
        faults.slow_response,
        (Argument("every", number(0, 60), 0.01),),
    ),
    "oversized_response": OfferedFault(
        "a very long response",
        "UNKNOWN",
        faults.oversized_response,
        (Argument("size", whole_number(0, MOST), 1_000_000), attrs.evolve(_STATUS, default=200)),
    ),
    "drop_idle_connection": OfferedFault(
        "the usual response; then the idle connection is closed", "ACCEPTED", faults.drop_idle_connection
    ),
    "no_fault": OfferedFault("the usual response, for a place in a sequence", "ACCEPTED", faults.no_fault),
}
"""The faults by name."""


def read_fault(document: Any) -> Fault:
    """Return the fault of a JSON object with its `name` and arguments, or refuse the request with 400."""
    # A list can't be looked up.
    name = document.get("name") if isinstance(document, dict) else None
    if not isinstance(name, str) or name not in OFFERED:
        raise refusal(400, {"faults": [f"each must have a name, one of: {', '.join(OFFERED)}"]})
    offered = OFFERED[name]
    known = {argument.name: argument for argument in offered.arguments}
    if unknown := sorted(document.keys() - known.keys() - {"name"}):
        choices = ", ".join(known) or "none"
        raise refusal(400, {unknown[0]: [f"is not an argument of {name}, which has: {choices}"]})
    values = {key: _value(argument, document.get(key, argument.default)) for key, argument in known.items()}
    return offered.make(**values)


def _value(argument: Argument, value: Any) -> Any:
    if error := argument.rule(value):
        raise refusal(400, {argument.name: [error]})
    return value


def applies_to(to: str | None, path: str | None) -> Callable[[SandboxRequest], bool]:
    """Return a function that returns whether a request has this recipient and this path; `None` for any."""

    def when(request: SandboxRequest) -> bool:
        return (path is None or request.path == path) and (
            to is None or (request.to is not None and is_same_recipient(request.to, to))
        )

    return when
