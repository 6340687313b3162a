"""The command line: its output, its errors in one line, and its exit statuses."""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callbell_async import __version__
from callbell_async.cli import main
from callbell_async.cli.progress import LINE_EVERY, LineView, view_for
from callbell_async.cli.results import Counts, RowResult
from callbell_async.errors import Outcome
from callbell_async.sandbox import Sandbox, faults
from tests.support.command_line import (
    counts_in,
    environment_for,
    leave_after_a_line,
    read_until,
    run,
    started,
    started_in_terminal,
)
from tests.support.threaded_sandbox import sandbox_in_a_thread

RECIPIENTS = Path(__file__).parents[2] / "docs" / "recipients.csv"


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """A file to write recipients into."""
    return tmp_path / "recipients.csv"


@pytest.fixture
def served_sandbox() -> Iterator[Sandbox]:
    """A sandbox in another thread, which the command line reaches as it would reach Callbell."""
    with sandbox_in_a_thread("secret-token") as sandbox:
        yield sandbox


def test_sends_to_each_recipient_of_the_file(csv_file: Path) -> None:
    """Each row is sent through the sandbox; the counts end the output, and the status is 0."""
    csv_file.write_text("to,name\n+34600000001,Ada\n0034600000002,Grace\n")
    result = run("send-many", csv_file, "--text", "Hello {name}!", "--sandbox")
    assert result.exit_code == 0
    assert " ".join(result.stdout.split()).startswith("accepted 2 rejected 0 never_sent 0 unknown 0 skipped 0 total 2")
    assert "sending 2 messages" in result.stderr


@pytest.mark.slow
def test_the_documented_file_is_sent_whole() -> None:
    """The recipients in `docs/` are all accepted."""
    result = run("send-many", RECIPIENTS, "--text", "Hello {name}!", "--sandbox")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["accepted", "600"]


def test_a_bad_row_is_reported_by_line_and_reason(csv_file: Path) -> None:
    """A row that can't be sent is reported by its line; the others are sent, and the status is 1."""
    csv_file.write_text("to,name\n+34600000001,Ada\n\nnobody,Grace\n+34600000003\n+34600000004,Joan\n")
    result = run("send-many", csv_file, "--text", "Hello {name}!", "--sandbox")
    assert result.exit_code == 1
    assert "line 4: never_sent: column 'to': is not a telephone number" in result.stderr
    assert "line 5: never_sent: row: has 1 cell, and the header row has 2" in result.stderr
    assert result.stdout.splitlines()[0].split() == ["accepted", "2"]


def test_many_failures_do_not_bury_the_reason(csv_file: Path) -> None:
    """After twenty failures the rest is only counted."""
    csv_file.write_text("to\n" + "nobody\n" * 30)
    result = run("send-many", csv_file, "--text", "Hello!", "--sandbox")
    assert result.exit_code == 1
    assert result.stderr.count("never_sent") == 20
    assert "more failures follow" in result.stderr


def test_the_same_command_with_a_token_talks_to_the_api(csv_file: Path, served_sandbox: Sandbox) -> None:
    """Without `--sandbox` the messages go to the API's address with the token of the environment."""
    csv_file.write_text("to\n+34600000001\n")
    result = run("send-many", csv_file, "--text", "Hello!", environment=environment_for(served_sandbox))
    assert result.exit_code == 0
    assert [message.body["to"] for message in served_sandbox.messages] == ["+34600000001"]


def test_a_refused_token_stops_the_run(csv_file: Path, served_sandbox: Sandbox) -> None:
    """A wrong token ends the run with the remedy, sends nothing, and is not shown."""
    csv_file.write_text("to\n" + "+34600000001\n" * 300)
    result = run(
        "send-many",
        csv_file,
        "--text",
        "Hello!",
        "--token",
        "wrong-token",
        "--base-url",
        served_sandbox.url,
        "--concurrency",
        "2",
    )
    assert result.exit_code == 1
    assert "check the token" in result.stderr
    assert "wrong-token" not in result.output
    assert counts_in(result.stdout)["skipped"] >= 290


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        ("to\n+34600000001\n", ["--text", "Hi {nme}", "--sandbox"], "--text: there is no column 'nme'"),
        ("phone\n+34600000001\n", ["--text", "Hi", "--sandbox"], "it has phone; name the right one with --to-column"),
        ("to\n+34600000001\n", ["--text", "Hi {to", "--sandbox"], "--text: has a lone brace"),
        ("to\n+34600000001\n", ["--text", "Hi"], "no token; set CALLBELL_TOKEN"),
        ("to\n+34600000001\n", ["--image", "x", "--sandbox"], "--image: must be an absolute URL"),
        ("to\n+34600000001\n", ["--text", " ", "--sandbox", "--dry-run"], "--text: must not be blank"),
        ("", ["--text", "Hi", "--sandbox"], "is empty"),
        ("to,to\n1,2\n", ["--text", "Hi", "--sandbox"], "two columns have the same name: to"),
    ],
)
def test_wrong_use_is_one_line(csv_file: Path, content: str, arguments: list[str], expected: str) -> None:
    """A mistake in the command is one line without a traceback, with the status 2."""
    csv_file.write_text(content)
    result = run("send-many", csv_file, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("callbell-async: ")
    assert result.stderr.count("\n") == 1
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing"], "callbell-async: No such command 'nothing' (see callbell-async --help)\n"),
        (["--nothing"], "callbell-async: No such option '--nothing' (see callbell-async --help)\n"),
        (
            ["send", "+34600000001", "--text", "Good", "morning"],
            (
                "callbell-async: Got unexpected extra argument (morning); write each value after its option, and one with blanks "
                "in quotation marks (see callbell-async send --help)\n"
            ),
        ),
        (
            ["send-many", "people.csv", "--rate", "fast"],
            "callbell-async: Invalid value for '--rate': 'fast' is not a valid integer (see callbell-async send-many --help)\n",
        ),
        (
            ["sendmany"],
            "callbell-async: No such command 'sendmany'; did you mean send-many or send? (see callbell-async --help)\n",
        ),
        (
            ["me", "--jsn"],
            "callbell-async: No such option '--jsn'; did you mean --json? (see callbell-async me --help)\n",
        ),
        (
            ["send", "--text"],
            "callbell-async: Option '--text' requires an argument (see callbell-async send --help)\n",
        ),
        (
            ["sandbox", "--port"],
            "callbell-async: Option '--port' requires an argument (see callbell-async sandbox --help)\n",
        ),
        (["send-many"], "callbell-async: Missing argument 'FILE' (see callbell-async send-many --help)\n"),
        (["contacts", "nothing"], "callbell-async: No such command 'nothing' (see callbell-async contacts --help)\n"),
    ],
)
def test_wrong_commands_and_options_are_one_line(arguments: list[str], expected: str) -> None:
    """An unknown command or option is one line, with the status 2, the name that may be meant, and the command for help."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.replace(": --nothing", " '--nothing'") == expected


def test_without_a_command_there_is_help() -> None:
    """Without a command the program prints its help."""
    assert "send-many" in run().output


def test_the_overview_is_not_cut() -> None:
    """In the list of commands each has a whole sentence."""
    listed = run("--help").output.split("Commands:\n")[1] + run("contacts", "--help").output.split("Commands:\n")[1]
    assert "..." not in listed
    assert [line for line in listed.splitlines() if not line.startswith("  ") or not line.endswith(".")] == []


def test_a_closed_output_ends_it_quietly(csv_file: Path) -> None:
    """When nobody reads the results any more (`| head`), the run ends without a traceback."""
    csv_file.write_text("to\n" + "+34600000001\n" * 1_000)
    with started("send-many", csv_file, "--text", "Hi", "--sandbox", "--json") as process:
        err = leave_after_a_line(process)
        assert process.wait() == 1
    assert "Traceback" not in err


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """A missing file is one line."""
    result = run("send-many", tmp_path / "none.csv", "--text", "Hi", "--sandbox")
    assert (result.exit_code, result.stderr) == (
        2,
        f"callbell-async: {tmp_path}/none.csv: can't be read (No such file or directory)\n",
    )


@pytest.mark.parametrize("options", [(), ("--journal", "spring.db"), ("--dry-run",)])
@pytest.mark.parametrize("is_long", [False, True])
def test_a_file_that_is_not_readable_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], is_long: bool
) -> None:
    """Input that the user may not read, or whose name is too long, is status 2 and one line, with and without a journal."""

    def refuse(self: Path, *arguments: Any, **more: Any) -> Any:
        if self == file:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return open_path(self, *arguments, **more)

    open_path = Path.open
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ("x" * 300 if is_long else "rows.csv")
    if not is_long:
        file.write_text("to\n+34600000001\n")
        monkeypatch.setattr(Path, "open", refuse)
    result = run("send-many", file, "--text", "Hi", "--sandbox", *options)
    reason = os.strerror(errno.ENAMETOOLONG if is_long else errno.EACCES)
    assert (result.exit_code, result.stderr) == (2, f"callbell-async: {file}: can't be read ({reason})\n")
    assert not (tmp_path / "spring.db").exists()


@pytest.mark.parametrize("command", [("status",), ("export",), ("reconcile",), ("resume",)])
def test_a_journal_that_can_not_be_reached_is_wrong_use(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A path that the system refuses is status 2 and one line."""
    journal = tmp_path / ("x" * 300)
    result = run(*command, journal)
    assert (result.exit_code, result.stderr) == (
        2,
        f"callbell-async: {journal}: can't be read ({os.strerror(errno.ENAMETOOLONG)})\n",
    )


def counts(**counts: int) -> Counts:
    """These numbers of each outcome."""
    result = Counts()
    for name, count in counts.items():
        for _ in range(count):
            result.add(
                RowResult(line=2, outcome=Outcome(name), complete=name == "accepted", may_be_accepted=name == "unknown")
            )
    return result


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (100, ["sending 100 messages", "60 of 100 done, 10 a second, 0:04 left: 58 accepted, 2 rejected"]),
        (None, ["sending messages", "60 done, 10 a second: 58 accepted, 2 rejected"]),
        (72_060, ["sending 72060 messages", "60 of 72060 done, 10 a second, 2:00:00 left: 58 accepted, 2 rejected"]),
    ],
)
def test_plain_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], total: int | None, expected: list[str]
) -> None:
    """Without a terminal there is one line every few seconds, however fast it goes: rate, time left, counts by outcome."""
    now = [0.0]
    with LineView(total, clock=lambda: now[0]) as view:
        view.show(counts(accepted=1))
        now[0] = LINE_EVERY
        view.show(counts(accepted=58, rejected=2))
        view.show(counts(accepted=59, rejected=2))
    assert capsys.readouterr().err.splitlines() == expected


def test_a_pause_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """While a run waits for Callbell to come back, the line has the length of the pause in place of the rate."""
    now = [0.0]
    with LineView(100, clock=lambda: now[0]) as view:
        now[0] = LINE_EVERY
        view.show(counts(accepted=8), 62.0)
    assert capsys.readouterr().err.splitlines()[1] == "8 of 100 done, paused for 1:02 (outage): 8 accepted"


def test_the_rate_is_never_above_the_limit() -> None:
    """Rows without a request are not in the rate, and a short run whose first 300 messages leave at once has no higher rate than the limit."""
    assert counts(accepted=600).rate(1.2) < 300
    assert counts(accepted=6_000).rate(19.2) == pytest.approx(300, abs=5)
    assert counts(accepted=10, skipped=1_000, never_sent=1_000).rate(1.0) == 5


@pytest.mark.slow
def test_an_outage_ends_a_run_after_its_timeout(csv_file: Path, served_sandbox: Sandbox, tmp_path: Path) -> None:
    """While nothing reaches Callbell the run pauses; after `--outage-timeout` it stops with one line, and the rest is in `--failed-to`."""
    csv_file.write_text("to\n" + "".join(f"+3460000{number:04}\n" for number in range(50)))
    failed = tmp_path / "failed.csv"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        environment = {"CALLBELL_TOKEN": "x", "CALLBELL_BASE_URL": f"http://127.0.0.1:{unused.getsockname()[1]}/v1"}
        arguments = ["--text", "Hi", "--outage-timeout", "1", "--failed-to", failed, "--concurrency", "5"]
        result = run("send-many", csv_file, *arguments, environment=environment)
    assert result.exit_code == 1
    reason, rest = result.stderr.splitlines()[-2:]
    assert reason.startswith("the run was stopped: no response from Callbell for ")
    assert rest == "stopped: 50 rows were not sent and are in --failed-to"
    assert len(failed.read_text().splitlines()) == 51


def test_a_long_retry_after_ends_a_run(csv_file: Path, served_sandbox: Sandbox) -> None:
    """A response that asks for a pause of a day stops the run at once, and the last lines have the reason and the rest."""
    csv_file.write_text("to\n" + "".join(f"+3460000{number:04}\n" for number in range(50)))
    served_sandbox.inject(faults.respond(429, {"error": "later"}, {"Retry-After": "86400"}))
    result = run(
        "send-many", csv_file, "--text", "Hi", "--concurrency", "1", environment=environment_for(served_sandbox)
    )
    assert result.exit_code == 1
    assert len(served_sandbox.requests) == 1
    reason, rest = result.stderr.splitlines()[-2:]
    assert reason.startswith("the run was stopped: POST /messages/send: 429 later")
    assert rest.startswith("stopped: 49 rows were not sent up to line 51")


def test_the_options_are_in_groups() -> None:
    """`send-many --help` lists its options by what they are about; every line fits a terminal of 80 columns."""
    text = run("send-many", "--help").output
    titles = [line.removesuffix(" options:") for line in text.splitlines() if line.endswith(" options:")]
    assert titles == ["Message", "Input", "Run", "Output", "Connection", "Other"]
    assert max(map(len, text.splitlines())) <= 80
    message, rest = text.split("Input options:")
    assert "--template UUID" in message
    assert "--to-column NAME" in rest.split("Run options:")[0]


class Terminal(io.StringIO):
    """A text that takes itself for a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


def test_a_bar_has_rate_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar on a terminal has the number of rows, the rate and the counts by outcome; lines are above it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with view_for(50) as view:
        view.show(counts(accepted=1))
        view.info("a line\x1b[2J [bold]as it is[/bold]")
        view.show(counts(accepted=48, rejected=2))
    shown = terminal.getvalue()
    assert "50/50" in shown
    assert "48 accepted, 2 rejected" in shown
    assert "a line\\x1b[2J [bold]as it is[/bold]" in shown


def test_a_terminal_gets_a_bar(csv_file: Path) -> None:
    """On a terminal a bar is drawn that ends full, with the failures above it."""
    csv_file.write_text("to\n+34600000001\nnobody\n")
    environment = {"TERM": "xterm", "COLUMNS": "100"}
    with started_in_terminal("send-many", csv_file, "--text", "Hi", "--sandbox", environment=environment) as (
        process,
        terminal,
    ):
        text = terminal.read()
        assert process.wait() == 1
    assert "━" in text
    assert "2/2" in text
    assert "1 accepted, 1 never_sent" in text
    assert "line 3: never_sent" in text


def test_an_interrupt_ends_with_the_counts(csv_file: Path) -> None:
    """Ctrl-C stops the run, waits for requests in flight but not for messages without a slot, writes the counts, and gives the status 130."""
    csv_file.write_text("to\n" + "".join(f"+44770{number:07}\n" for number in range(100_000)))
    with started("send-many", csv_file, "--text", "Hi", "--sandbox", "--rate", "50") as process:
        read_until(process.stderr, "sending 100000 messages")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert "Traceback" not in err
    counts = counts_in(out)
    assert counts["accepted"] + counts["never_sent"] + counts["skipped"] == counts["total"] < 100_000


def test_a_closed_terminal_ends_a_run_in_order(csv_file: Path, tmp_path: Path, served_sandbox: Sandbox) -> None:
    """SIGHUP ends a run as SIGTERM does, though the terminal takes no output any more: the rest is in `--failed-to`, the status is 129."""
    numbers = [f"+3460000{place:04}" for place in range(500)]
    csv_file.write_text("to\n" + "".join(f"{number}\n" for number in numbers))
    failed = tmp_path / "failed.csv"
    environment = {**environment_for(served_sandbox), "TERM": "xterm", "COLUMNS": "100"}
    arguments = ["send-many", csv_file, "--text", "Hi", "--failed-to", failed, "--rate", "20"]
    with started_in_terminal(*arguments, environment=environment) as (process, terminal):
        terminal.read(until="accepted")
        terminal.close()
        process.send_signal(signal.SIGHUP)
        assert process.wait() == 129
    left = [line.split(",")[0] for line in failed.read_text().splitlines()[1:]]
    accepted = [message.recipient for message in served_sandbox.messages]
    assert left
    assert sorted([*accepted, *left]) == numbers


def test_version() -> None:
    """`--version` is the package's."""
    assert __version__ in run("--version").output


def test_without_its_extra_it_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where click is missing, the command ends with the line that installs it."""
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "callbell_async.cli.program")
    with pytest.raises(SystemExit, match=r"pip install 'callbell-async\[cli\]'"):
        main()


def test_an_interrupt_while_it_starts_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the command takes care of it ends it with the status 130."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("callbell_async.cli.program.app", interrupted)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130


def test_what_else_is_missing_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only packages of the extra get the hint how to install them; a broken package has its own error."""
    monkeypatch.setitem(sys.modules, "callbell_async.cli.program", None)
    with pytest.raises(ModuleNotFoundError, match=r"callbell_async\.cli\.program"):
        main()


def test_the_program_is_its_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The installed `callbell-async` reads the arguments of its process."""
    monkeypatch.setattr(sys, "argv", ["callbell-async", "--version"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert __version__ in capsys.readouterr().out
