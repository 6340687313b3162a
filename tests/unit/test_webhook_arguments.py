"""The arguments of a receiver: wrong ones are refused when it is built, and secrets are never shown."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
from typing import Any
from unittest.mock import AsyncMock

import pytest

from callbell_async import ConfigurationError
from callbell_async.webhooks import (
    WebhookReceiver,
    verify_signature,
)
from callbell_async.webhooks.options import ReceiverOptions
from tests.support.webhooks import OK, SECRET, Gate, message_body, post

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("handler", "a string"),
        ("handler", lambda: None),
        ("handler", lambda event, contact: None),
        ("handler", lambda *, event: None),
        ("secret", ""),
        ("secret", " "),
        ("secret", []),
        ("secret", None),
        ("secret", 5),
        ("secret", b"whsec_x"),
        ("secret", [SECRET, None]),
        ("respond_after", "later"),
        ("queue_size", 0),
        ("queue_size", math.inf),
        ("concurrency", 0),
        ("concurrency", True),
        ("max_body", 0),
        ("max_queue_bytes", 1024 * 1024 - 1),
        ("max_queue_bytes", "16 MiB"),
        ("read_timeout", 0),
        ("read_timeout", None),
        ("unsigned", True),
        ("unsigned", "no"),
        ("dedupe_size", -1),
        ("dedupe_seconds", -1.0),
        ("dedupe_seconds", math.nan),
        ("tolerance", -1.0),
        ("tolerance", None),
        ("drain_timeout", -1.0),
        ("on_error", "a string"),
        ("on_error", Gate.__call__),
        ("on_error", Gate()),
    ],
)
def test_a_wrong_argument_is_refused_at_once(name: str, value: Any) -> None:
    """A wrong argument is named when the receiver is built, not when an event arrives."""
    arguments: dict[str, Any] = {"handler": print, "secret": SECRET, name: value}
    with pytest.raises(ConfigurationError, match=name):
        WebhookReceiver(**arguments)


@pytest.mark.parametrize(
    "handler",
    [
        print,
        dict,
        asyncio.Queue().put_nowait,
        AsyncMock(),
        functools.partial(print, "event:"),
        lambda event, again=True: None,
    ],
)
def test_a_function_that_can_take_one_event_is_a_handler(handler: Any) -> None:
    """Plain functions, methods, classes, partial functions and mocks are accepted if one argument is enough for them."""
    assert WebhookReceiver(handler, secret=SECRET).stats.received == 0


@pytest.mark.parametrize("arguments", [{}, {"secret": None}, {"secret": None, "unsigned": False}])
def test_a_missing_secret_is_refused(arguments: dict[str, Any]) -> None:
    """A variable that is not set (`os.environ.get`) never opens a webhook to everybody: only `unsigned=True` does."""
    with pytest.raises(ConfigurationError, match=r"secret: is missing.*environment variable.*unsigned=True"):
        WebhookReceiver(Gate(), **arguments)


@pytest.mark.parametrize("form", ["{}\n", " {}\r\n", "\ufeff{}", "\t{} "])
@pytest.mark.parametrize("several", [False, True])
async def test_blanks_around_a_secret_are_removed(form: str, several: bool) -> None:
    """A secret from a file or from the environment may have a line break, blanks or a byte order mark around it."""
    written = form.format(SECRET)
    receiver = WebhookReceiver(Gate(is_open=True), secret=["whsec_old\n", written] if several else written)
    assert await post(receiver, message_body(), secret=SECRET) == OK
    assert (await post(receiver, message_body(), secret="whsec_other")).status == 401
    await receiver.close()


@pytest.mark.parametrize("form", ['"{}"', "'{}'", '{}"', "CALLBELL_WEBHOOK_SECRET={}", "export SECRET={}\n"])
@pytest.mark.parametrize("build", [WebhookReceiver, lambda secret: verify_signature(b"", None, secret)])
def test_a_secret_with_something_around_it_is_refused(form: str, build: Any) -> None:
    """Quotation marks and `NAME=` are not part of a secret; the error names the remedy and does not quote the secret."""
    with pytest.raises(ConfigurationError, match=r"secret: has (quotation marks|the form NAME=value)") as caught:
        build(secret=form.format(SECRET))
    assert SECRET not in f"{caught.value!s}{caught.value!r}"
    assert SECRET not in f"{caught.value.__cause__!r}{caught.value.__context__!r}"


def test_a_listener_must_be_a_plain_function() -> None:
    """A coroutine function is refused, because it would never run."""
    for function in (Gate.__call__, Gate(), "a string"):
        with pytest.raises(ConfigurationError, match="listener"):
            WebhookReceiver(unsigned=True).add_listener(function)  # type: ignore[arg-type]


def test_the_options_are_those_of_the_receiver() -> None:
    """The options of the routes have the names and the types of the receiver's."""
    parameters = {
        name: parameter.annotation
        for name, parameter in inspect.signature(WebhookReceiver).parameters.items()
        if name not in {"handler", "secret", "url_secret", "header_secret"}
    }
    assert "unsigned" in parameters
    assert {name: kind.__forward_arg__ for name, kind in ReceiverOptions.__annotations__.items()} == parameters


def test_the_secret_is_in_no_repr() -> None:
    """The secret is not in the repr of a receiver."""
    assert SECRET not in repr(WebhookReceiver(secret=SECRET))


async def test_the_secret_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """The secret is not in the log at any level, whatever is received."""
    caplog.set_level(logging.DEBUG)
    async with WebhookReceiver(Gate(is_open=True), secret=SECRET) as receiver:
        for body in (message_body(), b"{", b"{}"):
            await post(receiver, body)
            await receiver.receive(body, "t=1,v1=00")
    assert caplog.records
    assert SECRET not in caplog.text
