"""Every exception of this library, and the outcome of a message.

```
CallbellError
├── InvalidMessageError (ValueError)    a message, or a field of it, is not valid; nothing was sent
├── ConfigurationError (ValueError)     an argument, a setting or a call is not valid; nothing was sent
├── ClientClosedError (RuntimeError)    the client was closed before this call; nothing was sent
├── BulkSendError                       raised by SendReport.raise_for_failures()
├── DuplicateMessageError               a message that the journal has already, or that was given twice
├── OptedOutError                       a recipient that the run excludes
├── OutageError                         a run stopped because Callbell could not be reached
├── JournalError                        a journal that can't be used; nothing is sent that it has not recorded
├── RateLimiterError                    the engine of a shared rate limiter can't be used; nothing was sent
├── PaginationError                     a list that does not end
├── ContactConflictError                a change of a contact that another program undoes
├── HandOffError                        a conversation that was handed off in part
├── DownloadError                       a file that can't be downloaded
├── StatusTimeoutError (TimeoutError)   a message did not reach a status in time
├── SignatureError                      a webhook request without a valid signature
├── EventDecodeError (ValueError)       a webhook request without an event
├── EventNotHandledError                a webhook event that was received, but not handled
├── TransportError                      no readable response
│   ├── ConnectError                    no connection: refused, name not found, TLS
│   ├── RequestTimeoutError             no slot, no connection or no response in time
│   ├── ConnectionLostError             the connection broke during the request
│   └── ResponseDecodeError             a 2xx response that can't be read
└── APIError                            Callbell refused the request
    ├── BadRequestError                 400
    ├── AuthenticationError             401
    ├── PaymentRequiredError            402
    ├── PermissionDeniedError           403
    ├── NotFoundError                   404
    ├── UnprocessableEntityError        422
    ├── RateLimitError                  429
    └── ServerError                     5xx
```

No exception holds the token. The text of an exception never contains a recipient's number or a message's text, so that it may be
logged; the attributes of `APIError` and `ResponseDecodeError` hold the response as it came, which may repeat them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callbell_async.base_error import CallbellError, ConfigurationError, InvalidMessageError, Outcome
from callbell_async.redaction import mask_path

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
    "ContactConflictError",
    "DownloadError",
    "DuplicateMessageError",
    "EventDecodeError",
    "EventNotHandledError",
    "HandOffError",
    "InvalidMessageError",
    "JournalError",
    "NotFoundError",
    "OptedOutError",
    "OutageError",
    "Outcome",
    "PaginationError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "RateLimiterError",
    "RequestTimeoutError",
    "ResponseDecodeError",
    "ServerError",
    "SignatureError",
    "StatusTimeoutError",
    "TransportError",
    "UnprocessableEntityError",
]


class ClientClosedError(CallbellError, RuntimeError):
    """The client or its session was closed before the request was sent. Remedy: build a new client, and close it last."""


class BulkSendError(CallbellError):
    """Some messages of a run were not accepted: raised by `SendReport.raise_for_failures()`.

    Remedy: look at the results in `report`. Messages that are `REJECTED` or `NEVER_SENT` can be sent again.

    Attributes:
        report: The `SendReport` of the run.
        outcome: The worst outcome in it: `UNKNOWN`, then `REJECTED`, `NEVER_SENT` and `SKIPPED`.
    """

    def __init__(self, message: str, *, report: Any, outcome: Outcome) -> None:
        super().__init__(message)
        self.report = report
        self.outcome = outcome


class DuplicateMessageError(CallbellError):
    """The journal has the message already, or the run had it before; it was not sent again.

    Remedy: none is needed. To send the message once more, give it another `key`; if its outcome is `UNKNOWN`, call
    `Journal.allow_resend(key)`.

    Attributes:
        key: The key of the message.
        entry: The `JournalEntry` of the message that came first.
        first_index: The index of that message in this run, from 0; `None` if it is from an earlier run.
    """

    outcome: Outcome = Outcome.SKIPPED

    def __init__(self, message: str, *, key: str, entry: Any, first_index: int | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.entry = entry
        self.first_index = first_index


class OptedOutError(CallbellError):
    """The recipient is in the run's `exclude`, so nothing was sent. Remedy: none; to send later, remove it there and run again."""

    outcome: Outcome = Outcome.SKIPPED

    def __init__(self, message: str = "the recipient has opted out") -> None:
        super().__init__(message)


class OutageError(CallbellError):
    """The run stopped because Callbell could not be reached for its `outage_timeout`; the message was not attempted.

    Its `__cause__` is the error of the last attempt. Remedy: when Callbell can be reached again, start the run again.
    """

    outcome: Outcome = Outcome.SKIPPED


class JournalError(CallbellError):
    """The journal can't be used: another process uses it, it is damaged, it is not a journal, or the disk is full.

    Nothing was sent that the journal has not recorded, and its records are unchanged. Remedy: the text names the cause; correct it and
    start the run again with the same journal and the same input.
    """


class RateLimiterError(CallbellError):
    """The engine of a shared rate limiter, Redis or PostgreSQL, can't be used at the first call of a client. Nothing was sent.

    Remedy: the text names the cause; correct it and send again.
    """


class PaginationError(CallbellError):
    """A list does not end: a page or a cursor was received twice, or too many empty pages followed each other.

    Remedy: read the list again; if that does not help, report it to Callbell with the filters. The items received before remain valid.
    """


class ContactConflictError(CallbellError):
    """A contact did not have its change when it was read again, several times: another program changes it, or Callbell ignores the change.

    Remedy: call again later. If there is a `__cause__`, the last change may not have been made.

    Attributes:
        contact: The `Contact` as it was read last.
    """

    def __init__(self, message: str, *, contact: Any) -> None:
        super().__init__(message)
        self.contact = contact


class HandOffError(CallbellError):
    """A step of `contacts.hand_off` failed; the `__cause__` is its error. Remedy: do the other steps with `update`, `add_note` and `set_bot`.

    Attributes:
        steps: The outcome of each step in its order: `assign`, `note`, `end_bot`. One that is `UNKNOWN` may have been done.
    """

    def __init__(self, steps: Mapping[str, Outcome]) -> None:
        super().__init__(", ".join(f"{step}: {outcome.description}" for step, outcome in steps.items()))
        self.steps = dict(steps)
        self.outcome = next(outcome for outcome in self.steps.values() if outcome is not Outcome.ACCEPTED)


EXPIRED = frozenset({403, 404, 410})
"""The statuses of a link that has expired, or of a file that was removed."""


class DownloadError(CallbellError):
    """A file can't be downloaded; nothing of it was saved. Remedy: the text names the cause. If `expired`, no further attempt helps.

    Attributes:
        reason: The cause, in plain text, without the URL, which anyone could use.
        status: The HTTP status of the response, if one came.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status

    @property
    def expired(self) -> bool:
        """Whether the link has expired, or the file was removed (status 403, 404 or 410)."""
        return self.status in EXPIRED


class StatusTimeoutError(CallbellError, TimeoutError):
    """A message did not reach a status in time. Its outcome is `ACCEPTED`: Callbell knows the message.

    Remedy: wait again, or use a longer timeout. A status may never come, for example if the recipient's telephone is switched off.

    Attributes:
        receipt: The last `MessageReceipt` that was received; `None` if there was none.
    """

    outcome: Outcome = Outcome.ACCEPTED

    def __init__(self, message: str, *, receipt: Any) -> None:
        super().__init__(message)
        self.receipt = receipt


class SignatureError(CallbellError):
    """A webhook request does not have a valid signature, so it may not come from Callbell; it has to be refused.

    Remedy: compare the secret with the one in Callbell's dashboard, and pass the raw body as it was received. If the text names the time,
    check the clock of this machine.

    Attributes:
        reason: Why the signature is not valid; quotes nothing of the request.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EventDecodeError(CallbellError, ValueError):
    """The body of a webhook request is not a JSON object that names an event. Remedy: check which program posts to this address."""


class EventNotHandledError(CallbellError):
    """A webhook event was received but not handled: the receiver, its consumer or the event loop ended first.

    Remedy: give `drain_timeout` enough time for the handler, or respond after the handler (`respond_after="handler"`), so that Callbell
    sends the event again.
    """


class TransportError(CallbellError):
    """No readable response was received. The outcome is `NEVER_SENT` or `UNKNOWN`.

    Remedy: a message that is `NEVER_SENT` can be sent again. For one that is `UNKNOWN`, look for it in the contact's history, or use
    a journal and `CallbellClient.reconcile`.

    Attributes:
        reason: The cause, in plain text.
        method: The HTTP method of the request.
        path: The path of the request; in the exception's text, telephone numbers in it are masked.
        outcome: `NEVER_SENT`, or `UNKNOWN` if the request had begun to leave.
    """

    def __init__(self, reason: str, *, method: str, path: str, outcome: Outcome) -> None:
        super().__init__(reason)
        self.reason = reason
        self.method = method
        self.path = path
        self.outcome = outcome

    def __str__(self) -> str:
        return f"{self.method} {mask_path(self.path)}: {self.reason} {_ending(self)}"


class ConnectError(TransportError):
    """No connection could be made: it was refused, the name was not found, or TLS failed.

    Remedy: check `base_url`, the network, the proxy and the system's certificates.
    """


class RequestTimeoutError(TransportError):
    """No slot of the rate limiter, no connection or no response was available in time.

    If it is `NEVER_SENT`, raise `max_connections` or `RetryPolicy.timeout`, or send less at once. If it is `UNKNOWN`, the server was too
    slow: raise `timeout`.
    """


class ConnectionLostError(TransportError):
    """The connection broke before the whole response was received. Remedy: as for any `TransportError`."""


class ResponseDecodeError(TransportError):
    """The response has a 2xx status but can't be read. The outcome of a message is `UNKNOWN`.

    Remedy: if `from_callbell` is False, correct `base_url` or the proxy. Otherwise look for the message as for any `TransportError`.

    Attributes:
        status: The HTTP status of the response.
        headers: The headers of the response, with names in lower case.
        body: The first 64 KiB of the response's body.
        from_callbell: False if the response is HTML: it comes from a proxy, or the base URL is wrong.
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
    """Callbell, or a gateway in front of it, refused the request. Its subclasses name the status.

    Remedy: `hint` names the likely cause, where it is known. Branch on `code` or on the class, not on the text.
    Source: Callbell's pages on errors and on rate limits.

    Attributes:
        status: The HTTP status of the response.
        method: The HTTP method of the request.
        path: The path of the request; telephone numbers in it are masked in the exception's text.
        code: Callbell's stable error code; `None` if the response has none.
        message: Callbell's text as it came; `None` if the response has none.
        errors: Callbell's texts by field, as they came.
        body: The first 64 KiB of the response's body.
        headers: The headers of the response, with names in lower case.
        retry_after: The seconds that the response asks to wait; `None` if it names no time.
        summary: `code` and `message` without values of the request, as in the exception's text.
        hint: The likely cause or the remedy; an empty string if it is not known.
        from_callbell: False if the request did not reach Callbell's API, which a retry does not change: a redirect,
            HTML from a proxy or firewall, or a base URL without `/v1`. A 429 or 5xx counts as Callbell's.
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
        self.errors = {field: tuple(messages) for field, messages in (errors or {}).items()}
        self.body = body
        self.headers = dict(headers or {})
        self.retry_after = retry_after
        self.summary = summary
        self.hint = hint or self.hint
        self.from_callbell = from_callbell

    def __str__(self) -> str:
        summary = f" {self.summary}" if self.summary else ""
        hint = f"; {self.hint}" if self.hint else ""
        wait = "" if self.retry_after is None else f"; Callbell asks to wait {self.retry_after:g} s"
        return f"{self.method} {mask_path(self.path)}: {self.status}{summary}{hint}{wait} {_ending(self)}"


class BadRequestError(APIError):
    """400: a parameter is not valid. Remedy: correct the fields that `errors` names."""


class AuthenticationError(APIError):
    """401: Callbell does not accept the token. Remedy: copy the token again from Callbell's dashboard."""

    hint = "check the token (CALLBELL_TOKEN)"


class PaymentRequiredError(APIError):
    """402: the WhatsApp wallet is empty (`code` is `whatsapp_wallet_depleted_credit`), and template messages need credit.

    Remedy: add credit to the account's wallet, then start the run again.
    """

    hint = "add credit to the account's wallet"


class PermissionDeniedError(APIError):
    """403: the token has no permission for this request. Remedy: use the token of a user who has it."""


class NotFoundError(APIError):
    """404: the identifier or the path does not exist. Remedy: check the identifier, and that `base_url` ends with `/v1`."""


class UnprocessableEntityError(APIError):
    """422: Callbell understood the request and refused it. Remedy: correct the fields that `errors` names."""


class RateLimitError(APIError):
    """429: the account sent more requests than its limit. The client pauses for `retry_after` seconds, if Callbell names them.

    Remedy: lower `rate_limit` if other programs use the same account, so that the sum stays below 300 requests a second.
    """


class ServerError(APIError):
    """5xx: Callbell, or a gateway in front of it, failed.

    After 502, 504, 520, 522 and 524 a message is `UNKNOWN`, because Callbell may have accepted it; otherwise it is `REJECTED`.
    Remedy: try again later.
    """


def _ending(error: CallbellError) -> str:
    attempts = f"; {error.attempts} attempts" if error.attempts > 1 else ""
    return f"({error.outcome.description}{attempts})"
