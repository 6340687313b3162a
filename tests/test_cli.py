"""The command line: its output, its errors in one line, and its exit statuses."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from callbell_async import ConfigurationError, __version__
from callbell_async.cli import main
from callbell_async.cli.app import app
from callbell_async.cli.progress import LINE_EVERY, LineView
from callbell_async.cli.rows import RowFile, TextTemplate
from callbell_async.sandbox import Sandbox
from tests.support.served import sandbox_in_a_thread

RECIPIENTS = Path(__file__).parent.parent / "docs" / "recipients.csv"


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> Result:
    """The command line's output and exit status."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


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
    csv_file.write_text("to,name\n+447700900001,Ada\n00447700900002,Grace\n")
    result = run("send-many", csv_file, "--text", "Hello {name}!", "--sandbox")
    assert result.exit_code == 0
    assert " ".join(result.stdout.split()).startswith("accepted 2 rejected 0 never_sent 0 unknown 0 skipped 0 total 2")
    assert "sending 2 messages" in result.stderr


def test_the_documented_file_is_sent_whole() -> None:
    """The recipients in `docs/` are all accepted."""
    result = run("send-many", RECIPIENTS, "--text", "Hello {name}!", "--sandbox")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["accepted", "600"]


def test_tells_a_bad_row_by_line_and_reason(csv_file: Path) -> None:
    """A row that can't be sent is told by its line; the others go out, and the status is 1."""
    csv_file.write_text("to,name\n+447700900001,Ada\n\nnobody,Grace\n+447700900003\n+447700900004,Joan\n")
    result = run("send-many", csv_file, "--text", "Hello {name}!", "--sandbox")
    assert result.exit_code == 1
    assert "line 4: never_sent: to: is not a telephone number" in result.stderr
    assert "line 5: never_sent: row: has 1 cells where the heading has 2" in result.stderr
    assert result.stdout.splitlines()[0].split() == ["accepted", "2"]


def test_many_failures_do_not_bury_the_reason(csv_file: Path) -> None:
    """After twenty failures the rest is only counted."""
    csv_file.write_text("to\n" + "nobody\n" * 30)
    result = run("send-many", csv_file, "--text", "Hello!", "--sandbox")
    assert result.exit_code == 1
    assert result.stderr.count("never_sent") == 20
    assert "further failures are only counted" in result.stderr


def test_the_same_command_with_a_token_talks_to_the_api(csv_file: Path, served_sandbox: Sandbox) -> None:
    """Without `--sandbox` the messages go to the API's address with the token of the environment."""
    csv_file.write_text("to\n+447700900001\n")
    environment = {"CALLBELL_TOKEN": "secret-token", "CALLBELL_BASE_URL": served_sandbox.url}
    result = run("send-many", csv_file, "--text", "Hello!", environment=environment)
    assert result.exit_code == 0
    assert [message.body["to"] for message in served_sandbox.messages] == ["+447700900001"]


def test_a_refused_token_stops_the_run(csv_file: Path, served_sandbox: Sandbox) -> None:
    """A wrong token ends the run with the remedy, sends nothing, and is not shown."""
    csv_file.write_text("to\n" + "+447700900001\n" * 300)
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
    assert int(dict(line.split()[:2] for line in result.stdout.splitlines())["skipped"]) >= 290


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("to\n+447700900001\n", ["--text", "Hi {nme}", "--sandbox"], "--text: there is no column 'nme'"),
        ("phone\n+447700900001\n", ["--text", "Hi", "--sandbox"], "--to-column: there is no column 'to'"),
        ("to\n+447700900001\n", ["--text", "Hi {to", "--sandbox"], "--text: has a brace alone"),
        ("to\n+447700900001\n", ["--text", "Hi"], "no token; set CALLBELL_TOKEN"),
        ("", ["--text", "Hi", "--sandbox"], "is empty"),
        ("to,to\n1,2\n", ["--text", "Hi", "--sandbox"], "two columns have the same name: to"),
    ],
)
def test_wrong_use_is_one_line(csv_file: Path, content: str, arguments: list[str], said: str) -> None:
    """What is typed wrong is said in one line without a traceback, with the status 2."""
    csv_file.write_text(content)
    result = run("send-many", csv_file, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("callbell-async: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """A file that is not there is said in one line."""
    result = run("send-many", tmp_path / "none.csv", "--text", "Hi", "--sandbox")
    assert (result.exit_code, result.stderr) == (
        2,
        f"callbell-async: {tmp_path}/none.csv: can't be read (No such file or directory)\n",
    )


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (b"to,name\n1,Ada\n", ["Ada"]),
        (b"\xef\xbb\xbfto,name\r\n1,Ada\r\n", ["Ada"]),
        (b"to;name\n1;Ada, Countess\n", ["Ada, Countess"]),
        (b"to\tname\n1\tAda\n", ["Ada"]),
        (b'to,name\n1,"Ada ""the first"",\nCountess"\n', ['Ada "the first",\nCountess']),
        ("to,name\n1,Zoë\n\n2, Søren \n".encode(), ["Zoë", "Søren"]),
    ],
)
def test_reads_what_spreadsheets_write(csv_file: Path, raw: bytes, names: list[str]) -> None:
    """With and without a BOM, commas, semicolons and tabs, quotes, and empty lines."""
    csv_file.write_bytes(raw)
    rows = RowFile(csv_file)
    assert rows.columns == ["to", "name"]
    assert [row.cells["name"] for row in rows.rows()] == names
    assert rows.count() == len(names)


@pytest.mark.parametrize(
    ("raw", "said"), [(b"to\n1\n\xff\n", "is not UTF-8"), (b'to\n"1\n', "is not CSV")], ids=["latin-1", "open quote"]
)
def test_says_where_a_file_breaks(csv_file: Path, raw: bytes, said: str) -> None:
    """A file in another encoding or with an open quote ends with a clear error."""
    csv_file.write_bytes(raw)
    with pytest.raises(ConfigurationError, match=said):
        list(RowFile(csv_file).rows())


def test_a_template_fills_columns_and_keeps_double_braces() -> None:
    """`{column}` is replaced once; double braces stand for single ones, and cells are never read as templates."""
    template = TextTemplate("{{code}}: {code} for {full name}")
    assert template.columns == ["code", "full name"]
    assert template.fill({"code": "{full name}", "full name": "Ada"}) == "{code}: {full name} for Ada"


def test_plain_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is one line every few seconds, however fast it goes."""
    now = [0.0]
    with LineView(100, clock=lambda: now[0]) as view:
        view.show(done=1, failed=0)
        now[0] = LINE_EVERY
        view.show(done=50, failed=2)
        view.show(done=51, failed=2)
    assert capsys.readouterr().err.splitlines() == ["sending 100 messages", "50 of 100 done, 2 not accepted"]


def test_a_terminal_gets_a_bar(csv_file: Path) -> None:
    """On a terminal a bar is drawn that ends full, with failures told above it."""
    csv_file.write_text("to\n+447700900001\nnobody\n")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "callbell_async", "send-many", str(csv_file), "--text", "Hi", "--sandbox"]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # a closed pseudo-terminal reads as an error on Linux
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait() == 1
    text = shown.decode()
    assert "━" in text
    assert "2/2" in text
    assert "line 3: never_sent" in text


def test_an_interrupt_ends_with_the_counts(csv_file: Path) -> None:
    """Ctrl-C stops the feeding, lets what is under way end, tells the counts, and gives the status 130."""
    csv_file.write_text("to\n" + "+447700900001\n" * 100_000)
    command = [
        sys.executable,
        "-m",
        "callbell_async",
        "send-many",
        str(csv_file),
        "--text",
        "Hi",
        "--sandbox",
        "--rate",
        "50",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stdout is not None
    assert process.stderr.readline() == "sending 100000 messages\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    counts = dict(line.split()[:2] for line in out.splitlines())
    assert int(counts["accepted"]) == int(counts["total"]) < 100_000


def test_says_its_version() -> None:
    """`--version` is the package's."""
    assert __version__ in run("--version").output


def test_without_its_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where click is missing, the command ends with the line that installs it."""
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "callbell_async.cli.app")
    with pytest.raises(SystemExit, match=r"pip install 'callbell-async\[cli\]'"):
        main()
