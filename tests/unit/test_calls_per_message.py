"""The path of a message through the package: few functions, in few modules."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import callbell_async
from callbell_async import CallbellClient, CallInfo, Journal, Observer, Outcome, TextMessage
from callbell_async.sandbox import Sandbox, SandboxThread
from tests.support.observers import RecordingObserver

PACKAGE = str(Path(callbell_async.__file__).parent)
COUNT = 300


@contextmanager
def counted_calls() -> Iterator[Counter[CodeType]]:
    """Count the calls of each of the package's functions in this thread, each resumption of a coroutine as a call."""
    calls: Counter[CodeType] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls[frame.f_code] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def per_message(calls: Counter[CodeType]) -> Counter[str]:
    """Return the calls for a message by file.

    Those of a function are a whole number: on a busy machine some responses come in pieces, and resume a coroutine once more.
    """
    by_file: Counter[str] = Counter()
    for code, count in calls.items():
        by_file[code.co_filename] += round(count / COUNT)
    return by_file


@pytest.fixture
async def callbell() -> AsyncIterator[CallbellClient]:
    """A client that has a connection already, of a sandbox in another thread."""
    with SandboxThread(Sandbox(limit=None)) as sandbox:
        async with CallbellClient(sandbox.token, base_url=sandbox.url, rate_limit=10**6) as client:
            await client.send(TextMessage(to="+31612345678", text="first"))
            yield client


async def send_alone(callbell: CallbellClient, messages: Sequence[TextMessage], path: Path) -> None:
    """Send each message with a call of its own."""
    for message in messages:
        await callbell.send(message)


async def send_many(callbell: CallbellClient, messages: Sequence[TextMessage], path: Path) -> None:
    """Send the messages in one run."""
    assert (await callbell.send_many(messages, concurrency=20)).accepted == COUNT


async def send_with_a_journal(callbell: CallbellClient, messages: Sequence[TextMessage], path: Path) -> None:
    """Send the messages in one run with a journal."""
    assert (await callbell.send_many(messages, concurrency=20, journal=Journal(path))).accepted == COUNT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "most_calls", "most_modules"),
    [(send_alone, 36, 11), (send_many, 40, 12), (send_with_a_journal, 51, 14)],
)
async def test_a_message_passes_through_few_functions(
    callbell: CallbellClient,
    tmp_path: Path,
    send: Callable[[CallbellClient, Sequence[TextMessage], Path], Awaitable[Any]],
    most_calls: int,
    most_modules: int,
) -> None:
    """The package makes at most this number of Python calls for a message, in at most this number of modules."""
    messages = [TextMessage(to="+31612345678", text=f"text {number}") for number in range(COUNT)]
    with counted_calls() as calls:
        await send(callbell, messages, tmp_path / "spring.db")
    by_file = per_message(calls)
    assert by_file.total() <= most_calls
    assert sum(count > 0 for count in by_file.values()) <= most_modules


class OutcomeCounter(Observer):
    """Counts the calls with a result, as a user's observer does."""

    calls = 0

    def call_ended(self, call: CallInfo, outcome: Outcome, attempts: int, error: str | None) -> None:
        """Count the call."""
        self.calls += 1


@pytest.mark.parametrize(("build", "more_calls"), [(Observer, 0), (OutcomeCounter, 2), (RecordingObserver, 4)])
async def test_an_observer_adds_few_calls(
    callbell: CallbellClient, tmp_path: Path, build: Callable[[], Observer], more_calls: int
) -> None:
    """The package makes no further call for a moment that is not overridden, and 4 for all moments of a message."""
    messages = [TextMessage(to="+31612345678", text=f"text {number}") for number in range(COUNT)]
    with counted_calls() as without:
        await send_alone(callbell, messages, tmp_path)
    observed = callbell.with_options(observer=build())
    with counted_calls() as calls:
        await send_alone(observed, messages, tmp_path)
    assert per_message(calls).total() - per_message(without).total() == more_calls
