"""Ctrl-C and SIGTERM, as a run of the command line meets them."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from callbell_async.cli.campaign import FileRun
from callbell_async.cli.exits import ShutdownSignals, exit_on_signals
from callbell_async.cli.input_rows import RowFile
from callbell_async.cli.message_form import MessageForm, plan_for_rows
from callbell_async.cli.output_files import FailedRows
from callbell_async.cli.progress import LineView
from callbell_async.cli.results import Rest, explain_rest
from callbell_async.errors import Outcome
from callbell_async.journal import Journal
from tests.support.calls import until
from tests.support.clock import VirtualTimeLoop
from tests.support.command_line import FakeClient
from tests.support.fake_callbell import Behaviour


def interrupt(*numbers: signal.Signals) -> None:
    """Send signals to this process, as a terminal does."""
    for number in numbers:
        os.kill(os.getpid(), number)


async def endure(signals: ShutdownSignals, log: list[str]) -> None:
    """Survive the first cancellation, as a run does that waits for requests in flight."""
    with signals.cancelling(lambda: log.append("noticed")):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("first")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                log.append("second")


@pytest.mark.parametrize("together", [True, False])
def test_the_second_signal_cancels_again(together: bool) -> None:
    """Two signals are two cancellations, also if the second comes before the task has seen the first."""
    log: list[str] = []

    async def main() -> None:
        task = asyncio.ensure_future(endure(signals, log))
        await asyncio.sleep(0)
        interrupt(signal.SIGINT)
        if not together:
            await until(lambda: "noticed" in log)
        interrupt(signal.SIGINT)
        await task
        assert task.cancelling() == 0

    with ShutdownSignals() as signals:
        asyncio.run(main())
    assert (log[0], log[-1], sorted(log)) == ("first", "second", ["first", "noticed", "second"])
    assert signals.status == 130


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_an_early_signal_is_not_lost(number: signal.Signals, status: int) -> None:
    """A signal that comes before there is a task to cancel cancels it as soon as there is; the first signal is the status."""
    log: list[str] = []
    with ShutdownSignals() as signals:
        interrupt(number)

        async def main() -> None:
            task = asyncio.ensure_future(endure(signals, log))
            await until(lambda: "noticed" in log)
            interrupt(signal.SIGINT)
            await task

        asyncio.run(main())
    assert log[0] == "first"
    assert signals.status == status


def test_cleanup_is_not_cancelled() -> None:
    """After the block a signal cancels nothing: it is only counted, and its status is the program's."""

    async def main() -> str:
        with signals.cancelling():
            pass
        interrupt(signal.SIGINT, signal.SIGINT)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "closed"

    with ShutdownSignals() as signals:
        assert asyncio.run(main()) == "closed"
    assert signals.count == 2


def test_a_signal_that_comes_with_the_end_cancels_nothing() -> None:
    """A signal that is handled when the block has just ended finds nothing to cancel."""

    async def main() -> None:
        for number in (1, 2):
            with signals.cancelling():
                signals.count = number - 1
                interrupt(signal.SIGINT)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        with signals.cancelling():
            signals._cancel(2)
        await asyncio.sleep(0)

    with ShutdownSignals() as signals:
        asyncio.run(main())


def test_the_third_signal_ends_the_program() -> None:
    """A user who presses Ctrl-C three times waits for nothing."""
    with pytest.raises(KeyboardInterrupt), ShutdownSignals():
        interrupt(signal.SIGINT, signal.SIGINT, signal.SIGINT)


def test_the_third_signal_shows_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """The third signal, and SIGTERM for a command that handles no signals, show no traceback, in whatever task they are handled."""

    async def other(*numbers: signal.Signals) -> None:
        interrupt(*numbers)

    async def main(signals: ShutdownSignals, *numbers: signal.Signals) -> None:
        task = asyncio.create_task(other(*numbers))
        with signals.cancelling():
            await asyncio.wait({task})

    with pytest.raises(KeyboardInterrupt), ShutdownSignals() as signals:
        asyncio.run(main(signals, signal.SIGINT, signal.SIGINT, signal.SIGINT))
    with pytest.raises(SystemExit), exit_on_signals():
        asyncio.run(main(ShutdownSignals(), signal.SIGTERM))
    gc.collect()
    assert caplog.text == ""


@pytest.mark.parametrize("module", ["logging", "asyncio.log"])
def test_a_signal_in_the_middle_of_an_import_ends_the_program(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """A signal that comes while the program still imports its modules has its usual status."""
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    with pytest.raises(SystemExit) as end, exit_on_signals():
        interrupt(signal.SIGTERM)
    assert end.value.code == 143


def test_handlers_are_restored() -> None:
    """The handlers from before are set again at the end; outside the main thread none is changed."""
    before = signal.getsignal(signal.SIGINT)
    with ShutdownSignals() as signals:
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    assert signals.status is None

    def elsewhere() -> None:
        with ShutdownSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    seen: list[object] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=str)
def test_ignored_signals_stay_ignored(number: signal.Signals) -> None:
    """A signal that is ignored at the start, as `nohup` and background jobs have it, does not end a run."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ShutdownSignals() as signals:
            interrupt(number)
        assert (signals.count, signals.status) == (0, None)
        with exit_on_signals():
            interrupt(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


SIGNALLED_AT_START = """
import os, signal, sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "callbell_async.cli.program":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Interrupted())
from callbell_async.cli import main
main()
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_during_start_up_is_an_exit_status(number: signal.Signals, status: int) -> None:
    """A signal while the program is still being imported ends it with the shell's status, not by the raw signal."""
    code = SIGNALLED_AT_START.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_a_second_signal_does_not_read_the_file_to_its_end(tmp_path: Path) -> None:
    """After the second signal requests in flight are cancelled, and the rest of the file is not read; its first line is known."""
    file, target = tmp_path / "in.csv", tmp_path / "failed.csv"
    file.write_text("to,name\n" + "+34600000001,0\n" * 100)

    def behaviour(number: int, attempt: int) -> Behaviour:
        if signals.count == 0:
            interrupt(signal.SIGINT)
            interrupt(signal.SIGINT)
        return Behaviour(response_time=1_000.0)

    async def main() -> None:
        await file_run.send(FakeClient(behaviour), concurrency=5)

    rows = RowFile(file)
    with ShutdownSignals() as signals, FailedRows(target, rows) as failed:
        view = LineView(100)
        plan = plan_for_rows(MessageForm(text="{name}"))
        file_run = FileRun(rows, plan, view=view, signals=signals, total=100, failed=failed)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
            assert runner.get_loop().time() < 1_000_010
    assert file_run.counts.outcomes[Outcome.ACCEPTED] == 0
    assert file_run.counts.outcomes[Outcome.UNKNOWN] == failed.kept_back > 0
    assert file_run.unread_from == file_run.counts.total + 2
    assert file_run.last_line == file_run.counts.total + 1


@pytest.mark.parametrize(
    ("not_sent", "failed_to", "is_stream", "text"),
    [
        (0, None, False, "every row up to line 9 was tried, and none after it"),
        (
            1,
            None,
            False,
            "1 row was not sent up to line 9, and none after it was tried (--failed-to FILE keeps such rows)",
        ),
        (2, Path("x"), False, "2 rows were not sent and are in --failed-to"),
        (2, Path("x"), True, "2 rows were not sent and are in --failed-to, and no row after line 9 was read"),
    ],
)
def test_the_last_line_names_the_rows_that_were_not_sent(
    capsys: pytest.CaptureFixture[str], not_sent: int, failed_to: Path | None, is_stream: bool, text: str
) -> None:
    """Without a journal the last line names the rows that are left, also those that were read already."""
    rest = Rest(last_line=9, not_sent=not_sent, is_stream=is_stream, failed_to=failed_to, journal=None)
    explain_rest("interrupted", rest)
    assert capsys.readouterr().err == f"interrupted: {text}\n"


def test_rows_that_are_missing_in_the_file_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """When --failed-to could not be written to its end, the last lines name its missing rows, and of a stream the rows that were not read."""
    rest = Rest(last_line=9, not_sent=3, is_stream=True, failed_to=Path("x"), journal=None, missing=1, first_missing=8)
    explain_rest("stopped", rest)
    assert capsys.readouterr().err.splitlines() == [
        "--failed-to is incomplete: 1 row is missing in it from line 8 on, and its last line may be cut",
        "stopped: 3 rows were not sent up to line 9, and no row after line 9 was read",
    ]


class Broken(io.StringIO):
    """Standard output that takes one line, and then nobody reads."""

    def write(self, text: str) -> int:
        """Take it, or break."""
        if self.getvalue().count("\n"):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().write(text)


def test_an_output_that_breaks_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When results can't be written any more, requests in flight end and the rest is written to `--failed-to`; no result is written twice."""
    file, target = tmp_path / "in.csv", tmp_path / "failed.csv"
    numbers = [f"+346000000{place:02}" for place in range(50)]
    file.write_text("to,name\n" + "".join(f"{number},0\n" for number in numbers))

    def behaviour(number: int, attempt: int) -> Behaviour:
        return Behaviour(response_time=1.0, status=400) if number % 2 else Behaviour(response_time=1.0)

    rows = RowFile(file)
    monkeypatch.setattr(sys, "stdout", stdout := Broken())
    with FailedRows(target, rows) as failed:
        plan = plan_for_rows(MessageForm(text="{name}"))
        file_run = FileRun(
            rows, plan, view=LineView(50), signals=ShutdownSignals(), total=50, failed=failed, as_json=True
        )
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, pytest.raises(BrokenPipeError):
            runner.run(file_run.send(FakeClient(behaviour), concurrency=10))
    assert file_run.output_failed
    assert file_run.last_line == 51
    assert stdout.getvalue().count("\n") == 1
    left = [line.split(",") for line in target.read_text().splitlines()[1:]]
    assert [row[2] for row in left] == ["rejected"] * (11 - file_run.counts.complete) + ["skipped"] * 39
    assert file_run.counts.complete > 0
    assert {row[0] for row in left[-39:]} == set(numbers[11:])


def test_a_row_that_can_not_be_looked_up_is_withheld(tmp_path: Path) -> None:
    """Where the journal itself has failed, a row that was not tried in this run may have been before: it is not among the failed ones."""
    file, target = tmp_path / "in.csv", tmp_path / "failed.csv"
    file.write_text("to,name\n" + "".join(f"+346000000{place:02},0\n" for place in range(50)))

    def behaviour(number: int, attempt: int) -> Behaviour:
        if signals.count == 0:
            interrupt(signal.SIGINT)
        return Behaviour(response_time=1.0)

    async def main() -> None:
        # A journal that is not open fails as a damaged one does.
        await file_run.send(FakeClient(behaviour), concurrency=5, journal=Journal(tmp_path / "spring.db"))

    rows = RowFile(file)
    with ShutdownSignals() as signals, FailedRows(target, rows) as failed:
        plan = plan_for_rows(MessageForm(text="{name}"))
        file_run = FileRun(rows, plan, view=LineView(50), signals=signals, total=50, failed=failed)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
    assert target.read_text() == "to,name,outcome,reason\n"
    assert file_run.counts.complete + failed.kept_back == 50
    assert failed.kept_back > 0


def test_a_cancellation_of_another_kind_comes_out(tmp_path: Path) -> None:
    """A cancellation without a signal is raised."""
    file = tmp_path / "in.csv"
    file.write_text("to,name\n" + "+34600000001,0\n" * 10)
    rows = RowFile(file)

    async def main() -> None:
        plan = plan_for_rows(MessageForm(text="{name}"))
        file_run = FileRun(rows, plan, view=LineView(10), signals=ShutdownSignals())
        client = FakeClient(lambda number, attempt: Behaviour(response_time=1.0))
        sending = asyncio.ensure_future(file_run.send(client, concurrency=5))
        await asyncio.sleep(0.5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
