"""The exceptions: their tree, their attributes, their text, and what the text never shows."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given

from callbell_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BulkSendError,
    CallbellError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    Contact,
    ContactConflictError,
    DownloadError,
    DuplicateMessageError,
    EventDecodeError,
    EventNotHandledError,
    HandOffError,
    InvalidMessageError,
    JournalEntry,
    JournalError,
    MessageReceipt,
    NotFoundError,
    OptedOutError,
    OutageError,
    Outcome,
    PaginationError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimiterError,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    SendReport,
    SendResult,
    ServerError,
    SignatureError,
    StatusTimeoutError,
    TextMessage,
    TransportError,
    UnprocessableEntityError,
    errors,
)
from callbell_async.redaction import mask_path
from tests.fixtures.strategies import number_spellings, quick

SEND: dict[str, Any] = {"method": "POST", "path": "/messages/send"}
GET_BY_PHONE: dict[str, Any] = {"method": "GET", "path": "/contacts/phone/%2B31612345678?channel_uuid=a6e1"}
REPORT = SendReport(
    results=(SendResult(0, TextMessage(to="+31612345678", text="Hello!"), Outcome.SKIPPED),),
    **{outcome.value: int(outcome is Outcome.SKIPPED) for outcome in Outcome},
    elapsed=0.5,
)

ENTRY = JournalEntry(
    key="k", message_body=b"{}", outcome=Outcome.ACCEPTED, index=3, uuid="u", tried_at=datetime(2026, 9, 1, tzinfo=UTC)
)

TREE: dict[type[CallbellError], tuple[type[BaseException], ...]] = {
    CallbellError: (Exception,),
    InvalidMessageError: (CallbellError, ValueError),
    ConfigurationError: (CallbellError, ValueError),
    ClientClosedError: (CallbellError, RuntimeError),
    BulkSendError: (CallbellError,),
    DuplicateMessageError: (CallbellError,),
    OptedOutError: (CallbellError,),
    OutageError: (CallbellError,),
    JournalError: (CallbellError,),
    RateLimiterError: (CallbellError,),
    PaginationError: (CallbellError,),
    ContactConflictError: (CallbellError,),
    HandOffError: (CallbellError,),
    DownloadError: (CallbellError,),
    StatusTimeoutError: (CallbellError, TimeoutError),
    SignatureError: (CallbellError,),
    EventDecodeError: (CallbellError, ValueError),
    EventNotHandledError: (CallbellError,),
    TransportError: (CallbellError,),
    ConnectError: (TransportError,),
    RequestTimeoutError: (TransportError,),
    ConnectionLostError: (TransportError,),
    ResponseDecodeError: (TransportError,),
    APIError: (CallbellError,),
    BadRequestError: (APIError,),
    AuthenticationError: (APIError,),
    PaymentRequiredError: (APIError,),
    PermissionDeniedError: (APIError,),
    NotFoundError: (APIError,),
    UnprocessableEntityError: (APIError,),
    RateLimitError: (APIError,),
    ServerError: (APIError,),
}

BUILT: dict[type[CallbellError], CallbellError] = {
    CallbellError: CallbellError("failed"),
    InvalidMessageError: InvalidMessageError("text", "must not be blank"),
    ConfigurationError: ConfigurationError("no token"),
    ClientClosedError: ClientClosedError("the client is closed"),
    BulkSendError: BulkSendError("1 of 1", report=REPORT, outcome=Outcome.SKIPPED),
    DuplicateMessageError: DuplicateMessageError("given twice", key="k", entry=ENTRY, first_index=3),
    OptedOutError: OptedOutError(),
    OutageError: OutageError("no response from Callbell for 600 s"),
    JournalError: JournalError("spring.db: is in use"),
    RateLimiterError: RateLimiterError("the rate limiter's Redis at 127.0.0.1: refused"),
    PaginationError: PaginationError("a cursor came a second time"),
    ContactConflictError: ContactConflictError("tags: not kept", contact=Contact(uuid="u")),
    HandOffError: HandOffError({"assign": Outcome.ACCEPTED, "note": Outcome.UNKNOWN, "end_bot": Outcome.SKIPPED}),
    DownloadError: DownloadError("the link has expired", status=403),
    SignatureError: SignatureError("signed too long ago"),
    EventDecodeError: EventDecodeError("no event: not JSON"),
    EventNotHandledError: EventNotHandledError("the receiver ended before it was handled"),
    StatusTimeoutError: StatusTimeoutError("still enqueued", receipt=MessageReceipt(uuid="u")),
    ResponseDecodeError: ResponseDecodeError(
        "not JSON", **SEND, status=200, headers={"server": "nginx"}, body=b"<html>"
    ),
    **{
        kind: kind("it broke", **GET_BY_PHONE, outcome=Outcome.NEVER_SENT)
        for kind in (TransportError, ConnectError, RequestTimeoutError, ConnectionLostError)
    },
    **{
        kind: kind(
            status=400,
            **SEND,
            code="busy",
            message="to is invalid",
            errors={"to": ["is invalid"]},
            body=b'{"to":["is invalid"]}',
            headers={"retry-after": "7"},
            retry_after=7.0,
            summary="[busy] to is invalid",
        )
        for kind in TREE
        if issubclass(kind, APIError)
    },
}


# --- the tree ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TREE)
def test_the_tree_is_as_documented(kind: type[CallbellError]) -> None:
    """Each exception has the bases that the module's page draws, and a docstring of its own."""
    assert kind.__bases__ == TREE[kind]
    assert kind.__doc__
    assert kind.__doc__ != kind.__bases__[0].__doc__


def test_the_tree_is_complete() -> None:
    """Every exception of the module is in the tree, in its docstring and in its `__all__`."""
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert defined == {kind.__name__ for kind in TREE} == set(errors.__all__) - {"Outcome"}
    assert errors.__doc__ is not None
    drawn = {word for line in errors.__doc__.splitlines() for word in line.split()}
    assert defined <= drawn
    assert set(BUILT) == set(TREE)


def test_a_hand_off_that_failed_names_every_step() -> None:
    """The text has the outcome of each step, and the error's own outcome is that of the step that failed."""
    error = BUILT[HandOffError]
    assert str(error) == "assign: accepted, note: may have been accepted, end_bot: not attempted"
    assert error.outcome is Outcome.UNKNOWN


def test_a_wrong_message_is_a_value_error() -> None:
    """Code that does not know this library can catch the exception as a `ValueError`."""
    with pytest.raises(ValueError, match=r"^text: must not be blank$") as caught:
        TextMessage(to="+31612345678", text="")
    assert isinstance(caught.value, InvalidMessageError)
    assert (caught.value.field, caught.value.reason) == ("text", "must not be blank")


# --- their attributes --------------------------------------------------------------------------------------------------


def through_pickle(error: CallbellError) -> CallbellError:
    """Over to another process."""
    return pickle.loads(pickle.dumps(error))  # type: ignore[no-any-return]


@pytest.mark.parametrize("twin_of", [through_pickle, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", BUILT)
def test_a_copy_is_the_same(kind: type[CallbellError], twin_of: Callable[[CallbellError], CallbellError]) -> None:
    """Pickled or copied, an exception keeps its type, its text and every attribute."""
    error = copy.copy(BUILT[kind])
    error.attempts = 3
    error.outcome = Outcome.UNKNOWN
    error.add_note("message 12 of 50")
    twin = twin_of(error)
    assert type(twin) is kind
    assert twin is not error
    assert (twin.args, vars(twin)) == (error.args, vars(error))
    assert (twin.outcome, twin.attempts, twin.__notes__) == (Outcome.UNKNOWN, 3, ["message 12 of 50"])
    assert (str(twin), repr(twin)) == (str(error), repr(error))


def test_a_copy_is_not_the_original() -> None:
    """Setting an attribute of the copy does not change the original."""
    error = BUILT[RateLimitError]
    twin = copy.copy(error)
    twin.attempts = 5
    assert error.attempts == 0


@pytest.mark.parametrize("kind", BUILT)
def test_the_default_outcome_is_never_sent(kind: type[CallbellError]) -> None:
    """An exception is `NEVER_SENT` unless its class means another outcome; a response that refuses is `REJECTED`."""
    expected = {
        BulkSendError: Outcome.SKIPPED,
        DuplicateMessageError: Outcome.SKIPPED,
        OptedOutError: Outcome.SKIPPED,
        OutageError: Outcome.SKIPPED,
        ResponseDecodeError: Outcome.UNKNOWN,
        StatusTimeoutError: Outcome.ACCEPTED,
        HandOffError: Outcome.UNKNOWN,
    }
    default = Outcome.REJECTED if issubclass(kind, APIError) else Outcome.NEVER_SENT
    assert (BUILT[kind].outcome, BUILT[kind].attempts) == (expected.get(kind, default), 0)


def test_an_api_error_has_empty_attributes_rather_than_none() -> None:
    """The mappings and the body are empty where Callbell sent none, so that code can loop over them."""
    error = APIError(status=418, **SEND)
    assert (error.errors, error.headers, error.body) == ({}, {}, b"")
    assert (error.code, error.message, error.retry_after) == (None, None, None)


def test_an_api_error_keeps_its_own_copies() -> None:
    """Texts by field become tuples and headers a plain dictionary, copied from the arguments."""
    texts = {"to": ["is invalid"]}
    error = APIError(status=400, **SEND, errors=texts)
    texts["to"].append("is wrong")
    assert error.errors == {"to": ("is invalid",)}


# --- their text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "attempts", "text"),
    [
        (InvalidMessageError("to", "no recipient"), 0, "to: no recipient"),
        (
            ConnectError("the name 'api.callbell.eu' was not found", **SEND, outcome=Outcome.NEVER_SENT),
            5,
            "POST /messages/send: the name 'api.callbell.eu' was not found (never sent; 5 attempts)",
        ),
        (
            RequestTimeoutError("no response in time", **SEND, outcome=Outcome.UNKNOWN),
            1,
            "POST /messages/send: no response in time (may have been accepted)",
        ),
        (
            ConnectionLostError("the connection broke", **GET_BY_PHONE, outcome=Outcome.UNKNOWN),
            2,
            "GET /contacts/phone/…: the connection broke (may have been accepted; 2 attempts)",
        ),
        (APIError(status=307, **SEND), 1, "POST /messages/send: 307 (refused)"),
        (
            BadRequestError(status=400, **SEND, summary="to is invalid"),
            1,
            "POST /messages/send: 400 to is invalid (refused)",
        ),
        (
            AuthenticationError(status=401, **SEND, summary="not authorized"),
            1,
            "POST /messages/send: 401 not authorized; check the token (CALLBELL_TOKEN) (refused)",
        ),
        (
            PaymentRequiredError(status=402, **SEND, summary="[whatsapp_wallet_depleted_credit]"),
            1,
            "POST /messages/send: 402 [whatsapp_wallet_depleted_credit]; add credit to the account's wallet (refused)",
        ),
        (
            RateLimitError(status=429, **SEND, retry_after=1.5),
            5,
            "POST /messages/send: 429; Callbell asks to wait 1.5 s (refused; 5 attempts)",
        ),
        (
            NotFoundError(status=404, **GET_BY_PHONE, summary="not found"),
            1,
            "GET /contacts/phone/…: 404 not found (refused)",
        ),
    ],
)
def test_the_text_names_request_cause_and_outcome(error: CallbellError, attempts: int, text: str) -> None:
    """Method, path, status, Callbell's text, the remedy, the outcome and the attempts are on one line."""
    error = copy.copy(error)
    error.attempts = attempts
    assert str(error) == text


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.ACCEPTED, "(accepted)"),
        (Outcome.REJECTED, "(refused)"),
        (Outcome.NEVER_SENT, "(never sent)"),
        (Outcome.UNKNOWN, "(may have been accepted)"),
        (Outcome.SKIPPED, "(not attempted)"),
    ],
)
def test_each_outcome_has_its_words(outcome: Outcome, expected: str) -> None:
    """The text names the outcome over all attempts, whatever this attempt's status."""
    error = APIError(status=500, **SEND)
    error.outcome = outcome
    assert str(error).endswith(expected)


def test_the_text_holds_no_raw_code_and_no_raw_text() -> None:
    """`code`, `message`, `errors` and the body may repeat values that were sent; the text has only the summary."""
    error = BadRequestError(
        status=400,
        **SEND,
        code="Hello!",
        message="+31612345678 is invalid",
        errors={"to": ["+31612345678"]},
        body=b"+31612345678",
        headers={"x": "+31612345678"},
    )
    for shown in (str(error), repr(error)):
        assert "31612345678" not in shown
        assert "Hello!" not in shown


@pytest.mark.parametrize(
    ("path", "masked"),
    [
        ("/messages/send", "/messages/send"),
        ("/contacts/phone/%2B31612345678", "/contacts/phone/…"),
        ("/contacts/phone/%2b31612345678", "/contacts/phone/…"),
        ("/contacts/phone/+31612345678", "/contacts/phone/…"),
        ("/contacts/phone/31%206%2012-34%C2%A056.78", "/contacts/phone/…"),
        ("/contacts/phone/(31)612345", "/contacts/phone/…"),
        ("/contacts/31612345678/messages", "/contacts/…/messages"),
        ("/contacts/414a6d692bd645ed803f2e7ce360d4c8", "/contacts/414a6d692bd645ed803f2e7ce360d4c8"),
        ("/contacts/414a6d69-2bd6-45ed-803f-2e7ce360d4c8", "/contacts/414a6d69-2bd6-45ed-803f-2e7ce360d4c8"),
        ("/custom_statuses/131047", "/custom_statuses/131047"),
        ("/contacts?phone=31612345678", "/contacts"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_numbers_in_a_path_are_masked(path: str, masked: str) -> None:
    """A part that looks like a telephone number is masked however it is encoded; identifiers stay, the query is removed."""
    assert mask_path(path) == masked


@given(number_spellings())
@quick
def test_a_number_in_a_path_is_never_shown(spelling: tuple[str, str]) -> None:
    """However a number is written in a path, the text has no digit of it."""
    from_caller = f"/contacts/phone/{spelling[1]}"
    error = TransportError("it broke", method="GET", path=from_caller, outcome=Outcome.UNKNOWN)
    assert not any(map(str.isdigit, str(error)))
