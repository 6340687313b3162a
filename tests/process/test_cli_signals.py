"""Ctrl-C and SIGTERM, as a run of the command line meets them."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from callbell_async.cli.campaign import Campaign
from callbell_async.cli.failed_rows import FailedRows
from callbell_async.cli.input_rows import RowFile
from callbell_async.cli.message_form import MessageForm, plan_for_rows
from callbell_async.cli.progress import LineView
from callbell_async.cli.signals import ShutdownSignals
from callbell_async.cli.summary import explain_rest
from callbell_async.errors import Outcome
from callbell_async.journal import Journal
from tests.support.calls import until
from tests.support.clock import VirtualTimeLoop
from tests.support.command_line import FakeClient
from tests.support.fake_callbell import Fate


def interrupt(*numbers: signal.Signals) -> None:
    """Signals to this process, as a terminal sends them."""
    for number in numbers:
        os.kill(os.getpid(), number)


async def endure(signals: ShutdownSignals, told: list[str]) -> None:
    """A task that survives its first cancellation, as a run does that finishes what is under way."""
    signals.watch(lambda: told.append("said"))
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        told.append("first")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("second")
    finally:
        signals.release()


@pytest.mark.parametrize("together", [True, False])
def test_the_second_signal_cancels_again(together: bool) -> None:
    """Two signals are two cancellations, also if the second comes before the task has met the first."""
    told: list[str] = []

    async def main() -> None:
        task = asyncio.ensure_future(endure(signals, told))
        await asyncio.sleep(0)
        interrupt(signal.SIGINT)
        if not together:
            await until(lambda: "said" in told)
        interrupt(signal.SIGINT)
        await task
        assert task.cancelling() == 0

    with ShutdownSignals() as signals:
        asyncio.run(main())
    assert (told[0], told[-1], sorted(told)) == ("first", "second", ["first", "said", "second"])
    assert signals.status == 130


def test_a_signal_from_before_is_not_lost() -> None:
    """A signal that comes before there is anything to cancel ends the task as soon as it is watched."""
    told: list[str] = []
    with ShutdownSignals() as signals:
        interrupt(signal.SIGTERM)

        async def main() -> None:
            task = asyncio.ensure_future(endure(signals, told))
            await until(lambda: "said" in told)
            interrupt(signal.SIGINT)
            await task

        asyncio.run(main())
    assert told[0] == "first"
    assert signals.status == 143


def test_what_closes_is_let_to_its_end() -> None:
    """After `release` a signal cancels nothing: it is only pluralize, and its status is the program's."""

    async def main() -> str:
        signals.watch(lambda: None)
        signals.release()
        interrupt(signal.SIGINT, signal.SIGINT)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "closed"

    with ShutdownSignals() as signals:
        assert asyncio.run(main()) == "closed"
    assert signals.count == 2


def test_a_signal_that_is_overtaken_by_the_end_cancels_nothing() -> None:
    """A signal whose turn comes when the run has just ended finds nothing to cancel."""

    async def main() -> None:
        for number in (1, 2):
            signals.watch(lambda: None)
            signals.count = number - 1
            interrupt(signal.SIGINT)
            signals.release()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        signals.watch(lambda: None)
        signals._cancel(2)
        signals.release()
        await asyncio.sleep(0)

    with ShutdownSignals() as signals:
        asyncio.run(main())


def test_the_third_signal_ends_it_where_it_stands() -> None:
    """Whoever presses Ctrl-C three times is not kept waiting by anything."""
    with pytest.raises(KeyboardInterrupt), ShutdownSignals():
        interrupt(signal.SIGINT, signal.SIGINT, signal.SIGINT)


def test_signals_are_as_before_afterwards() -> None:
    """The handlers that were there before are there again; outside of the main thread there are none to set."""
    before = signal.getsignal(signal.SIGINT)
    with ShutdownSignals() as signals:
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    assert signals.status is None

    def elsewhere() -> None:
        with ShutdownSignals():
            told.append(signal.getsignal(signal.SIGINT))

    told: list[object] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert told == [before]


def test_a_second_signal_does_not_read_the_file_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who wants to leave at once is not kept by rows to be written down: what is under way is cut off, and the rest named by its line."""
    file, target = tmp_path / "in.csv", tmp_path / "failed.csv"
    file.write_text("to,name\n" + "+447700900001,0\n" * 100)

    def fate(number: int, attempt: int) -> Fate:
        if signals.count == 0:
            interrupt(signal.SIGINT)
            interrupt(signal.SIGINT)
        return Fate(answering=1_000.0)

    async def main() -> None:
        await campaign.send(FakeClient(fate), concurrency=5)

    rows = RowFile(file)
    with ShutdownSignals() as signals, FailedRows(target, rows) as failed:
        view = LineView(100)
        plan = plan_for_rows(MessageForm(text="{name}"))
        campaign = Campaign(rows, plan, view=view, signals=signals, failed=failed)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
            assert runner.get_loop().time() < 1_000_010
    assert campaign.counts.outcomes[Outcome.ACCEPTED] == 0
    assert campaign.counts.outcomes[Outcome.UNKNOWN] == failed.kept_back > 0
    said = capsys.readouterr().err
    assert f"left at once: the rows from line {campaign.counts.total + 2} on were not written to --failed-to" in said
    assert campaign.last_line == campaign.counts.total + 1


@pytest.mark.parametrize(
    ("not_sent", "failed_to", "said"),
    [
        (0, None, "everything up to line 9 was tried, and nothing after it"),
        (1, None, "nothing after line 9 was tried; up to it, 1 was not sent (--failed-to FILE writes down which)"),
        (2, Path("x"), "nothing after line 9 was tried; up to it, 2 were not sent (they are in --failed-to)"),
    ],
)
def test_lines_are_said_to_be_tried_only_if_they_were(
    capsys: pytest.CaptureFixture[str], not_sent: int, failed_to: Path | None, said: str
) -> None:
    """Without a journal the last line says what is left, also of the lines that were read already."""
    explain_rest("interrupted", last_line=9, not_sent=not_sent, journal=None, is_stream=False, failed_to=failed_to)
    assert capsys.readouterr().err == f"interrupted: {said}\n"


class Broken(io.StringIO):
    """Standard output that takes one line, and then nobody reads."""

    def write(self, text: str) -> int:
        """Take it, or break."""
        if self.getvalue().count("\n"):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().write(text)


def test_an_output_that_breaks_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When results can't be written any more, what is under way is finished and the rest is written to `--failed-to`; nothing is told twice."""
    file, target = tmp_path / "in.csv", tmp_path / "failed.csv"
    numbers = [f"+4477009000{place:02}" for place in range(50)]
    file.write_text("to,name\n" + "".join(f"{number},0\n" for number in numbers))

    def fate(number: int, attempt: int) -> Fate:
        return Fate(answering=1.0, status=400) if number % 2 else Fate(answering=1.0)

    rows = RowFile(file)
    monkeypatch.setattr(sys, "stdout", stdout := Broken())
    with FailedRows(target, rows) as failed:
        plan = plan_for_rows(MessageForm(text="{name}"))
        campaign = Campaign(rows, plan, view=LineView(50), signals=ShutdownSignals(), failed=failed, as_json=True)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, pytest.raises(BrokenPipeError):
            runner.run(campaign.send(FakeClient(fate), concurrency=10))
    assert campaign.output_failed
    # The first result made room for one row more; the second could not be told.
    assert campaign.last_line == 12
    assert stdout.getvalue().count("\n") == 1
    left = [line.split(",") for line in target.read_text().splitlines()[1:]]
    assert [row[2] for row in left] == ["rejected"] * (11 - campaign.counts.complete) + ["skipped"] * 39
    assert campaign.counts.complete > 0
    assert {row[0] for row in left[-39:]} == set(numbers[11:])


def test_a_row_that_the_journal_can_not_tell_of_is_kept_back(tmp_path: Path) -> None:
    """Where the journal itself has failed, a row that was not tried in this run may have been before: it is not among the failed ones."""
    file, target = tmp_path / "in.csv", tmp_path / "failed.csv"
    file.write_text("to,name\n" + "".join(f"+4477009000{place:02},0\n" for place in range(50)))

    def fate(number: int, attempt: int) -> Fate:
        if signals.count == 0:
            interrupt(signal.SIGINT)
        return Fate(answering=1.0)

    async def main() -> None:
        # One that is not open tells as little as one that is damaged.
        await campaign.send(FakeClient(fate), concurrency=5, journal=Journal(tmp_path / "spring.db"))

    rows = RowFile(file)
    with ShutdownSignals() as signals, FailedRows(target, rows) as failed:
        plan = plan_for_rows(MessageForm(text="{name}"))
        campaign = Campaign(rows, plan, view=LineView(50), signals=signals, failed=failed)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
    assert target.read_text() == "to,name,outcome,reason\n"
    assert campaign.counts.complete + failed.kept_back == 50
    assert failed.kept_back > 0


def test_a_cancellation_of_another_kind_comes_out(tmp_path: Path) -> None:
    """What cancels the run without a signal is not taken for one."""
    file = tmp_path / "in.csv"
    file.write_text("to,name\n" + "+447700900001,0\n" * 10)
    rows = RowFile(file)

    async def main() -> None:
        plan = plan_for_rows(MessageForm(text="{name}"))
        campaign = Campaign(rows, plan, view=LineView(10), signals=ShutdownSignals())
        client = FakeClient(lambda number, attempt: Fate(answering=1.0))
        sending = asyncio.ensure_future(campaign.send(client, concurrency=5))
        await asyncio.sleep(0.5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
