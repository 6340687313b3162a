"""`callbell-async send`, `me`, `templates` and `channels`."""

from __future__ import annotations

import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pytest

from callbell_async.cli.output import bar, escape_control, json_text, result_table
from callbell_async.sandbox import Sandbox, SandboxTemplate, faults
from tests.support.command_line import environment_for, json_lines, run, started, started_in_terminal
from tests.support.threaded_sandbox import sandbox_in_a_thread

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
NUMBER = "+34600000001"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A Callbell that takes one token only."""
    with sandbox_in_a_thread(TOKEN) as sandbox:
        yield sandbox


# --- send -------------------------------------------------------------------------------------------------------------


def test_sends_one_message(sandbox: Sandbox) -> None:
    """`send` writes the uuid and the status; braces in texts are literal, and metadata has its values."""
    arguments = ["send", NUMBER, "--text", "Hi {name}", "--metadata", "order=7"]
    result = run(*arguments, environment=environment_for(sandbox))
    (message,) = sandbox.messages
    assert (result.exit_code, result.stdout) == (0, f"{message.uuid} enqueued\n")
    assert message.body["content"] == {"text": "Hi {name}"}
    assert message.body["metadata"] == {"order": "7"}


def test_sends_one_template_as_json(sandbox: Sandbox) -> None:
    """`send` takes every kind of message; `--json` gives an object."""
    arguments = [
        "send",
        NUMBER,
        "--template",
        "T",
        "--values",
        "Ada,7",
        "--optin",
        "--document",
        "https://a.example/b.pdf",
    ]
    result = run(*arguments, "--json", environment=environment_for(sandbox))
    assert json_lines(result.stdout) == [{"uuid": sandbox.messages[0].uuid, "status": "enqueued"}]
    assert sandbox.messages[0].body["template_values"] == ["Ada", "7"]
    assert sandbox.messages[0].body["type"] == "document"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_one_message_does_not_wait_for_the_end_of_an_outage() -> None:
    """`send` ends after its retries when Callbell can't be reached: it does not pause as a run does, for up to ten minutes."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        environment = {"CALLBELL_TOKEN": TOKEN, "CALLBELL_BASE_URL": f"http://127.0.0.1:{unused.getsockname()[1]}/v1"}
        result = run("send", NUMBER, "--text", "Hi", environment=environment)
    assert result.exit_code == 1
    assert result.stderr.startswith("callbell-async: POST /messages/send: no connection to 127.0.0.1:")
    assert result.stderr.endswith("(never sent; 5 attempts)\n")


def test_what_is_not_sent_is_one_line(sandbox: Sandbox) -> None:
    """Wrong input is status 2; a refusal or a lost response is 1, and the line has the outcome."""
    environment = environment_for(sandbox)
    result = run("send", "nobody", "--text", "Hi", environment=environment)
    assert result.exit_code == 2
    assert result.stderr.startswith("callbell-async: TO: is not a telephone number")
    sandbox.inject(faults.respond(400, {"error": f"to {NUMBER}"}), faults.accept_then_close())
    result = run("send", NUMBER, "--text", "Hi", environment=environment)
    assert (result.exit_code, result.stderr) == (1, "callbell-async: POST /messages/send: 400 to … (refused)\n")
    result = run("send", NUMBER, "--text", "Hi", environment=environment)
    assert result.exit_code == 1
    assert "(may have been accepted)" in result.stderr


@pytest.mark.parametrize("command", [["send", NUMBER], ["send-many", "-"]])
def test_a_channel_is_one_that_callbell_has(command: list[str]) -> None:
    """`--channel` takes the four kinds, and a word that is none is status 2 before anything is sent."""
    result = run(*command, "--text", "Hi", "--channel", "whatsap", "--sandbox")
    assert result.exit_code == 2
    assert "'whatsap' is not one of 'whatsapp', 'facebook', 'instagram', 'telegram'" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_request_has_its_outcome(sandbox: Sandbox, number: signal.Signals) -> None:
    """After a signal while the response is awaited, the line states that the message may have been accepted."""
    read = threading.Semaphore(0)
    sandbox.inject(faults.no_response(read.release))
    with started("send", NUMBER, "--text", "Hi", environment=environment_for(sandbox)) as process:
        read.acquire()
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + number, "")
    assert err == "callbell-async: interrupted: the message may have been accepted\n"


def test_a_signal_between_two_attempts_has_its_outcome(sandbox: Sandbox) -> None:
    """A signal while a refused message waits for its next attempt: it was not sent, and the status is the signal's."""
    sandbox.inject(faults.respond(429, {"error": "later"}, {"Retry-After": "60"}))
    with started("send", NUMBER, "--text", "Hi", environment=environment_for(sandbox)) as process:
        assert process.stderr is not None
        warning = "callbell-async: warning: Callbell responded with 429: the client pauses for 60.000 s\n"
        assert process.stderr.readline() == warning
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "callbell-async: interrupted: the message was not sent\n")


def test_a_signal_before_the_request_has_its_outcome() -> None:
    """A signal while the connection is still being made: the message was not sent, and can be sent again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {"CALLBELL_TOKEN": TOKEN, "CALLBELL_BASE_URL": f"https://127.0.0.1:{server.getsockname()[1]}"}
        with started("send", NUMBER, "--text", "Hi", environment=environment) as process:
            connection, _ = server.accept()
            with connection:
                # The client's greeting, to which nobody responds.
                assert connection.recv(1)
                process.send_signal(signal.SIGINT)
                _, err = process.communicate()
    assert (process.returncode, err) == (130, "callbell-async: interrupted: the message was not sent\n")


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize("end", ["/dev/full", "closed", "nobody"])
def test_an_accepted_message_is_reported_somewhere(sandbox: Sandbox, end: str, more: list[str]) -> None:
    """Where standard output takes nothing, standard error has the uuid, so that nobody takes the message for one that was not accepted."""
    command = [sys.executable, "-m", "callbell_async", "send", NUMBER, "--text", "Hi", *more]
    reading, writing = os.pipe()
    os.close(reading)
    how = {"/dev/full": ">/dev/full", "closed": ">&-", "nobody": ""}[end]
    done = subprocess.run(
        f"{shlex.join(command)} {how}",
        shell=True,
        env={**os.environ, **environment_for(sandbox)},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    (message,) = sandbox.messages
    assert done.returncode == 1
    assert done.stderr.startswith("the output can't be written (")
    assert done.stderr.endswith(f"), but the message was accepted: {message.uuid} enqueued\n")


def test_a_list_that_can_not_be_written_is_not_done(sandbox: Sandbox) -> None:
    """Where standard output was closed, a result that is lost is status 1 and one line."""
    command = shlex.join([sys.executable, "-m", "callbell_async"])
    for rest in ("channels", "contacts export"):
        done = subprocess.run(
            f"{command} {rest} >&-", shell=True, env={**os.environ, **environment_for(sandbox)}, capture_output=True
        )
        expected = b"callbell-async: the output can't be written: standard output is closed\n"
        assert (done.returncode, done.stderr) == (1, expected)


# --- me, templates, channels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_me_shows_the_user_and_not_the_key(sandbox: Sandbox, more: list[str]) -> None:
    """`me` gives user, e-mail and status, though Callbell's response holds the token itself."""
    result = run("me", *more, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert "John Doe" in result.stdout
    assert "john_doe@email.com" in result.stdout
    assert TOKEN not in result.output


def test_lists_are_lines_with_tabs(sandbox: Sandbox) -> None:
    """Without a terminal a list has a line for each item, with tabs; data from others can't break a line."""
    sandbox.account.seed(SandboxTemplate(uuid="t1", title="Par\ncel\x1b[2J", text="Hello {{1}}"))
    result = run("templates", environment=environment_for(sandbox))
    assert result.stdout == "t1\tPar\\ncel\\x1b[2J\tapproved\ttext\tMARKETING\tHello {{1}}\n"
    result = run("channels", environment=environment_for(sandbox))
    assert [line.split("\t")[1:] for line in result.stdout.splitlines()] == [
        [channel.title, channel.type, str(channel.main), "False"] for channel in sandbox.account.channels
    ]


def test_lists_as_json_are_what_callbell_gave(sandbox: Sandbox) -> None:
    """`--json` writes each object as it came."""
    result = run("templates", "--json", environment=environment_for(sandbox))
    (template,) = json_lines(result.stdout)
    assert template["templateType"] == "text"
    assert len(json_lines(run("channels", "--json", environment=environment_for(sandbox)).stdout)) == 4


class Terminal(io.StringIO):
    """A text that takes itself for a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


def test_tables_and_bars_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table has headings and takes no cell for markup; a bar is full at the most, and not empty where there is anything."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    result_table(("uuid", "title"), [["1", "[bold]a[/bold]"], [None, "b\tc"]])
    shown = terminal.getvalue()
    assert "title" in shown
    assert "[bold]a[/bold]" in shown
    assert "b\\tc" in shown
    assert [len(bar(count, 1_000)) for count in (0, 1, 500, 1_000)] == [0, 1, 20, 40]
    assert bar(0, 0) == ""
    monkeypatch.undo()
    assert bar(5, 5) == ""


def test_json_holds_what_json_does_not() -> None:
    """Dates, mappings and half characters are written, each as what JSON has for it."""
    document = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "map": MappingProxyType({"a": 1}),
        "half": "\ud800",
        "path": Path("x"),
    }
    assert json_text(document) == '{"at": "2026-01-02T00:00:00+00:00", "map": {"a": 1}, "half": "\\ud800", "path": "x"}'


def test_a_terminal_gets_a_table(sandbox: Sandbox) -> None:
    """On a terminal a list is a table with a header; the uuid, which users copy, is on one line, however narrow the terminal is."""
    environment = {**environment_for(sandbox), "COLUMNS": "200", "TERM": "dumb"}
    with started_in_terminal("channels", environment=environment) as (_, terminal):
        text = terminal.read()
    assert "discarded" in text
    for channel in sandbox.account.channels:
        assert f" {channel.uuid} " in text


@pytest.mark.parametrize(
    "command", [["me"], ["templates"], ["channels"], ["contacts", "export"], ["send", NUMBER, "--text", "x"]]
)
def test_what_callbell_refuses_is_one_line(sandbox: Sandbox, command: list[str]) -> None:
    """A wrong token is status 1 and one line with the remedy; it is not shown."""
    result = run(*command, "--token", "wrong-token", environment={"CALLBELL_BASE_URL": sandbox.url})
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "check the token" in result.stderr
    assert "wrong-token" not in result.output


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--token", "x", "--base-url", "ftp://nowhere"], "base_url: must be an absolute http or https URL"),
        (["--token", "secret\nsecret"], "token: has blanks or line breaks in it; give the token alone"),
        (["--token", "Bearer secret secret"], "token: has blanks or line breaks in it; give the token alone"),
        (
            ["--token", "CALLBELL_TOKEN=secret"],
            "token: has the form NAME=value; give only the part after the equals sign",
        ),
        (["--token", "'secret'"], "token: has quotation marks around it; remove them"),
        (["--token", "secret" * 700], "token: has more than 4096 characters, too many for an API token"),
        (["--token", "sécret"], "token: a header can't hold it; give one line of printable ASCII characters"),
        (["--token", "  "], "no token; set CALLBELL_TOKEN or use --token-file FILE, or try it with --sandbox"),
        ([], "no token; set CALLBELL_TOKEN or use --token-file FILE, or try it with --sandbox"),
    ],
)
def test_an_unusable_token_or_address_is_one_line(options: list[str], expected: str) -> None:
    """An address or a token that can't be used is status 2, and the token is not shown."""
    result = run("me", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"callbell-async: {expected}")
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_a_pasted_bearer_is_no_blank_in_the_token(sandbox: Sandbox) -> None:
    """The key as the dashboard shows it, `Bearer ` before it, is taken."""
    assert run("me", "--token", f" Bearer  {TOKEN}\n", environment={"CALLBELL_BASE_URL": sandbox.url}).exit_code == 0


@pytest.mark.parametrize("option", ["--token", "--token-file", "--base-url"])
def test_the_sandbox_excludes_other_addresses(option: str) -> None:
    """`--sandbox` with an option for another address is a mistake; the environment may be meant for other commands."""
    result = run("me", "--sandbox", option, "http://127.0.0.1:9")
    assert (result.exit_code, result.stderr) == (
        2,
        f"callbell-async: --sandbox: can't be used together with {option}\n",
    )
    environment = {"CALLBELL_TOKEN": "x", "CALLBELL_BASE_URL": "http://127.0.0.1:9"}
    assert run("me", "--sandbox", environment=environment).exit_code == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Zoë 日本 «\xa0!» 👨\u200d👩", "Zoë 日本 «\xa0!» 👨\u200d👩"),
        ("a\tb\r\x9b\u202e\ud800", "a\\tb\\r\\x9b\\u202e\\ud800"),
    ],
)
def test_a_line_is_a_line(text: str, line: str) -> None:
    """Control characters, also those that turn a line around, come out as escapes."""
    assert escape_control(text) == line
