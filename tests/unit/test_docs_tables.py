"""The tables of the reference: they have every option with its default, every exception, and the outcomes of both."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import callbell_async
from callbell_async import (
    CallbellClient,
    CallbellError,
    Journal,
    OptOutList,
    Outcome,
    RecipientParser,
    RetryPolicy,
    TransportError,
    WindowRateLimiter,
)
from callbell_async.limits import PostgresRateLimiter, RedisRateLimiter
from callbell_async.webhooks import MessageTracker, WebhookApp, WebhookReceiver

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
OPTIONS = (REFERENCE / "options.md").read_text(encoding="utf-8")
ERRORS = (REFERENCE / "errors.md").read_text(encoding="utf-8")

OWNERS: dict[str, Callable[..., Any]] = {
    "CallbellClient": CallbellClient,
    "with_options": CallbellClient.with_options,
    "RetryPolicy": RetryPolicy,
    "send": CallbellClient.send,
    "reply": CallbellClient.reply,
    "send_in_window": CallbellClient.send_in_window,
    "download": CallbellClient.download,
    "send_many": CallbellClient.send_many,
    "OptOutList.read": OptOutList.read,
    "RecipientParser": RecipientParser,
    "reconcile": CallbellClient.reconcile,
    "Journal": Journal,
    "Journal.connect": Journal.connect,
    "WindowRateLimiter": WindowRateLimiter,
    "RedisRateLimiter": RedisRateLimiter,
    "PostgresRateLimiter": PostgresRateLimiter,
    "WebhookReceiver": WebhookReceiver,
    "WebhookApp": WebhookApp,
    "MessageTracker": MessageTracker,
}
"""The classes and methods whose options are in the table."""

SUBJECTS = {"message", "messages", "handler", "receiver", "journal_path", "path", "url"}
"""Positional arguments, which the table leaves out."""


def options_of(function: Callable[..., Any]) -> dict[str, object]:
    """Return the options of a function or class with their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        and (parameter.default is not inspect.Parameter.empty or name == "limit")
        and not (parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name in SUBJECTS)
    }


ROWS = {
    (owner, option): default
    for owner, option, default in re.findall(r"^\| `([\w.]+)` \| `(\w+)` \| (.*?) ?\| ", OPTIONS, re.MULTILINE)
}


def test_the_table_has_every_option() -> None:
    """Each option has one row, and each row is an option."""
    expected = {(owner, option) for owner, function in OWNERS.items() for option in options_of(function)}
    assert set(ROWS) == expected
    assert OPTIONS.count("\n| `") == len(ROWS)


def test_the_table_has_every_method_of_the_client() -> None:
    """Each method of a client with options is in the table; the arguments of `request` are those of the request."""
    methods = {
        name: method for name, method in inspect.getmembers(CallbellClient, inspect.isfunction) if name[0] != "_"
    }
    assert {name for name, method in methods.items() if options_of(method)} - {"request"} <= set(OWNERS)


@pytest.mark.parametrize("row", ROWS, ids=".".join)
def test_each_default_is_that_of_the_code(row: tuple[str, str]) -> None:
    """The default in the table is the one in the code."""
    owner, option = row
    default = options_of(OWNERS[owner])[option]
    shown = {
        "retry": "`RetryPolicy()`" if default is not None else "`None`",
        "statuses": ", ".join(map(str, sorted(RetryPolicy().statuses))),
        "stop_on": "401, 402, `RateLimiterError`",
        "clock": "`time.time`",
    }.get(option, f'`"{default}"`' if isinstance(default, str) else f"`{default!r}`")
    assert ROWS[row] == ("" if default is inspect.Parameter.empty else shown)


EXCEPTIONS = {
    name: value
    for name in dir(callbell_async)
    if inspect.isclass(value := getattr(callbell_async, name)) and issubclass(value, CallbellError)
}


def test_each_exception_has_its_row() -> None:
    """Each exception that can be raised has one row with its cause and remedy."""
    rows = re.findall(r"^\| `(\w+)` \|", ERRORS, re.MULTILINE)
    assert sorted(rows) == sorted(set(EXCEPTIONS) - {CallbellError.__name__, TransportError.__name__})


@pytest.mark.parametrize(
    ("name", "outcome"), re.findall(r"^\| `(\w+)` \| `([A-Z_]+)` \|", ERRORS, re.MULTILINE), ids=lambda text: str(text)
)
def test_each_outcome_of_an_exception_is_that_of_the_code(name: str, outcome: str) -> None:
    """The outcome in the table is that of the class."""
    assert EXCEPTIONS[name].outcome is Outcome[outcome]


def test_each_status_has_the_exception_of_the_code() -> None:
    """The statuses in the table are those of the classes' docstrings."""
    for name, status in re.findall(r"^\| `(\w+)` \| (\d\d\d|5xx) \|", ERRORS, re.MULTILINE):
        assert (inspect.getdoc(EXCEPTIONS[name]) or "").startswith(f"{status}: ")
