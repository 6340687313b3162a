"""Every exception this library raises, and what each says about the fate of a request.

```
CallbellError
├── InvalidMessageError (ValueError)    a message that can't be built; nothing was sent
├── ConfigurationError (ValueError)     the client was set up or used wrongly; nothing was sent
├── ClientClosedError (RuntimeError)    the client was closed before this call; nothing was sent
├── BulkSendError                       raised by SendReport.raise_for_failures()
├── DuplicateMessageError               a journal has the message already, or it was given twice
├── JournalError                        a journal that can't be used; nothing is sent that it has not recorded
├── PaginationError                     a list that goes round in a circle
├── StatusTimeoutError (TimeoutError)   a message did not reach a status in time
├── SignatureError                      a webhook's request that Callbell did not sign, or not lately
├── EventDecodeError (ValueError)       a webhook's request that holds no event
├── EventNotHandledError                a webhook's event that was taken and not handled before the end
├── TransportError                      no answer that can be read
│   ├── ConnectError                    no connection: refused, name not found, TLS
│   ├── RequestTimeoutError             no connection, or no answer, in time
│   ├── ConnectionLostError             the connection broke under the request
│   └── ResponseDecodeError             a 2xx answer that can't be read
└── APIError                            Callbell answered, and refused
    ├── BadRequestError                 400
    ├── AuthenticationError             401
    ├── PaymentRequiredError            402
    ├── PermissionDeniedError           403
    ├── NotFoundError                   404
    ├── UnprocessableEntityError        422
    ├── RateLimitError                  429
    └── ServerError                     5xx
```

No exception holds the token, and the text of none holds a recipient's number or a message's text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

__all__ = [
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "BulkSendError",
    "CallbellError",
    "ClientClosedError",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLostError",
    "DuplicateMessageError",
    "EventDecodeError",
    "EventNotHandledError",
    "InvalidMessageError",
    "JournalError",
    "NotFoundError",
    "Outcome",
    "PaginationError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseDecodeError",
    "ServerError",
    "SignatureError",
    "StatusTimeoutError",
    "TransportError",
    "UnprocessableEntityError",
]


class Outcome(StrEnum):
    """What became of a message, as far as it can be known."""

    ACCEPTED = "accepted"
    """Callbell enqueued it (not: it was delivered)."""
    REJECTED = "rejected"
    """Callbell refused it, or a gateway that never reached Callbell did."""
    NEVER_SENT = "never_sent"
    """It provably never left: sending it again can't make a second copy."""
    UNKNOWN = "unknown"
    """It may have been accepted: it was written, and no readable response came back, or a gateway responded
    without knowing whether Callbell accepted it (502, 504, 520, 522, 524)."""
    SKIPPED = "skipped"
    """It was not tried: a journal has it already, or the run was stopped before it."""


def _rebuild(cls: type[CallbellError], args: tuple[Any, ...], state: dict[str, Any]) -> CallbellError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class CallbellError(Exception):
    """The base of everything this library raises.

    `outcome` is what the failure says of the message, over all attempts together: a message whose first attempt may have
    arrived stays `UNKNOWN` whatever the second one met. `attempts` is how many requests were tried.
    """

    outcome: Outcome = Outcome.NEVER_SENT
    attempts: int = 0

    def __reduce__(self) -> tuple[Callable[..., CallbellError], tuple[Any, ...]]:
        # Exception's own __reduce__ calls the class with `args`, which fails for classes with keyword arguments.
        return _rebuild, (type(self), self.args, self.__dict__)


class InvalidMessageError(CallbellError, ValueError):
    """A message that must not be sent as it is: `field` is wrong, for `reason`. Nothing was sent."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class ConfigurationError(CallbellError, ValueError):
    """The client was set up or used wrongly. Nothing was sent."""


class ClientClosedError(CallbellError, RuntimeError):
    """The client had been closed before this call. Nothing was sent; a closed client can't be opened again."""


class BulkSendError(CallbellError):
    """Some messages of a run were not accepted; `report` (a `SendReport`) says which, and what became of each.

    `outcome` is the gravest among them: `UNKNOWN`, then `REJECTED`, `NEVER_SENT` and `SKIPPED`.
    """

    def __init__(self, message: str, *, report: Any, outcome: Outcome) -> None:
        super().__init__(message)
        self.report = report
        self.outcome = outcome


class DuplicateMessageError(CallbellError):
    """A message that a journal has already, or that was given twice: it was not tried again.

    `key` names it, and `entry` (a `JournalEntry`) says what is known of the first; `first_index` is the place of the first, if that
    was in the same run.
    """

    outcome: Outcome = Outcome.SKIPPED

    def __init__(self, message: str, *, key: str, entry: Any, first_index: int | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.entry = entry
        self.first_index = first_index


class JournalError(CallbellError):
    """A journal that can't be used: in use by another process, damaged, no journal at all, or on a full disk.

    Nothing was sent that it has not recorded. What it has recorded stays as it is.
    """


class PaginationError(CallbellError):
    """A list's page or cursor came a second time: following it would never end. Its outcome says nothing of a message."""


class StatusTimeoutError(CallbellError, TimeoutError):
    """A message had not reached the status waited for in time; `receipt` (a `MessageReceipt`) is the last that was read, `None` if none was.

    Its outcome is `ACCEPTED`: Callbell knows the message.
    """

    outcome: Outcome = Outcome.ACCEPTED

    def __init__(self, message: str, *, receipt: Any) -> None:
        super().__init__(message)
        self.receipt = receipt


class SignatureError(CallbellError):
    """A webhook's request that can't be shown to come from Callbell; `reason` says why, and quotes nothing of it.

    Its outcome says nothing of a message.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EventDecodeError(CallbellError, ValueError):
    """A webhook's request that holds no event: no JSON object, or one that names none. Its outcome says nothing of a message."""


class EventNotHandledError(CallbellError):
    """A webhook's event that was taken, and not handled before its receiver, its consumer or the event loop ended.

    Its outcome says nothing of a message.
    """


class TransportError(CallbellError):
    """No answer that can be read; `outcome` is `NEVER_SENT` or `UNKNOWN`.

    `method` and `path` name the request; telephone numbers in `path` are masked in the error's text.
    """

    def __init__(self, reason: str, *, method: str, path: str, outcome: Outcome) -> None:
        super().__init__(reason)
        self.reason = reason
        self.method = method
        self.path = path
        self.outcome = outcome

    def __str__(self) -> str:
        return (
            f"{self.method} {mask_path(self.path)}: {self.reason} ({_describe(self.outcome)}{_attempts(self.attempts)})"
        )


class ConnectError(TransportError):
    """No connection could be made: refused, name not found, unreachable, or TLS failed."""


class RequestTimeoutError(TransportError):
    """No connection, no free connection, or no answer within the time allowed; `outcome` says which side of the line."""


class ConnectionLostError(TransportError):
    """The connection broke before a whole answer was read."""


class ResponseDecodeError(TransportError):
    """Callbell answered with success, but the answer can't be read.

    `status`, `headers` and `body` (bytes, cut at 64 KiB) are what came. `from_callbell` is False if it is HTML: the
    base URL leads elsewhere, or a proxy responded.
    """

    def __init__(
        self,
        reason: str,
        *,
        method: str,
        path: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        outcome: Outcome = Outcome.UNKNOWN,
        from_callbell: bool = True,
    ) -> None:
        super().__init__(reason, method=method, path=path, outcome=outcome)
        self.status = status
        self.headers = dict(headers)
        self.body = body
        self.from_callbell = from_callbell


class APIError(CallbellError):
    """Callbell answered, and refused the request.

    `status` is the HTTP status; `code` Callbell's stable error code, when there is one (branch on this); `message` its
    words, and `errors` its complaints by field, both as they came; `body` the bytes of the answer, cut at 64 KiB; `headers` the
    answer's headers with lower-case names; `retry_after` the seconds Callbell asks to wait, or `None`; `summary` is what of its code
    and words may be said aloud, in the error's text. `hint` names a likely cause or a remedy. `from_callbell` is False if the
    response shows that requests do not reach Callbell's API, which no retry changes: a redirect, HTML from a proxy or firewall, a
    base URL without `/v1`. A 429 or a 5xx passes, and counts as Callbell's. Source: Callbell's pages on errors and on rate limits.
    """

    outcome: Outcome = Outcome.REJECTED
    hint: str = ""

    def __init__(
        self,
        *,
        status: int,
        method: str,
        path: str,
        code: str | None = None,
        message: str | None = None,
        errors: Mapping[str, Sequence[str]] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        summary: str = "",
        hint: str = "",
        from_callbell: bool = True,
    ) -> None:
        super().__init__(summary)
        self.status = status
        self.method = method
        self.path = path
        self.code = code
        self.message = message
        self.errors = {field: tuple(complaints) for field, complaints in (errors or {}).items()}
        self.body = body
        self.headers = dict(headers or {})
        self.retry_after = retry_after
        self.summary = summary
        if hint:
            self.hint = hint
        self.from_callbell = from_callbell

    def __str__(self) -> str:
        parts = [f"{self.method} {mask_path(self.path)}: {self.status}"]
        if self.summary:
            parts.append(f" {self.summary}")
        if self.hint:
            parts.append(f"; {self.hint}")
        if self.retry_after is not None:
            parts.append(f"; Callbell asks to wait {self.retry_after:g} s")
        return f"{''.join(parts)} ({_describe(self.outcome)}{_attempts(self.attempts)})"


class BadRequestError(APIError):
    """400: wrong parameters; `errors` says which."""


class AuthenticationError(APIError):
    """401: the token was refused."""

    hint = "check the token (CALLBELL_TOKEN)"


class PaymentRequiredError(APIError):
    """402: the WhatsApp wallet is empty (`code` is `whatsapp_wallet_depleted_credit`); template messages need credit."""

    hint = "add credit to the account's wallet"


class PermissionDeniedError(APIError):
    """403: the token may not do this."""


class NotFoundError(APIError):
    """404: there is no such thing, or no such path."""


class UnprocessableEntityError(APIError):
    """422: understood, and refused; `errors` says why."""


class RateLimitError(APIError):
    """429: more requests than the account may make; `retry_after` says how long to wait, when Callbell does."""


class ServerError(APIError):
    """5xx: Callbell's own failure."""


def mask_path(path: str) -> str:
    """Hide what looks like a telephone number in a request's path, for texts that people paste and logs keep; the query goes, too."""
    return "/".join(
        "…" if _looks_like_phone_number(unquote(part)) else part for part in path.partition("?")[0].split("/")
    )


def _looks_like_phone_number(part: str) -> bool:
    # Identifiers are digits and letters.
    return sum(map(str.isdigit, part)) >= 6 and not any(map(str.isalpha, part))


_OUTCOME_TEXT = {
    Outcome.ACCEPTED: "accepted",
    Outcome.REJECTED: "refused",
    Outcome.NEVER_SENT: "never sent",
    Outcome.UNKNOWN: "may have been accepted",
    Outcome.SKIPPED: "not tried",
}


def _describe(outcome: Outcome) -> str:
    return _OUTCOME_TEXT[outcome]


def _attempts(attempts: int) -> str:
    return f"; {attempts} attempts" if attempts > 1 else ""
