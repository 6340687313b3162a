"""The path of a message through the package: few functions, in few modules."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import callbell_async
from callbell_async import CallbellClient, CallInfo, Journal, Observer, Outcome, TextMessage
from callbell_async.sandbox import Sandbox, SandboxThread
from tests.support.observers import RecordingObserver

PACKAGE = str(Path(callbell_async.__file__).parent)
COUNT = 300


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Count the calls of the package's functions in this thread by file, each resumption of a coroutine as a call."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls[frame.f_code.co_filename] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


async def fewest_calls(send: Callable[[], Awaitable[Any]]) -> Counter[str]:
    """Return the calls of the best of three runs: a response that comes in pieces, as on a busy machine, takes more of them."""
    runs = []
    for _ in range(3):
        with counted_calls() as calls:
            await send()
        runs.append(calls)
    return min(runs, key=Counter.total)


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
    paths = (tmp_path / f"spring{number}.db" for number in range(3))
    calls = await fewest_calls(lambda: send(callbell, messages, next(paths)))
    assert calls.total() / COUNT <= most_calls
    assert sum(count > 0.9 * COUNT for count in calls.values()) <= most_modules


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
    without = await fewest_calls(lambda: send_alone(callbell, messages, tmp_path))
    observed = callbell.with_options(observer=build())
    calls = await fewest_calls(lambda: send_alone(observed, messages, tmp_path))
    assert (calls.total() - without.total()) / COUNT == pytest.approx(more_calls, abs=0.5)
