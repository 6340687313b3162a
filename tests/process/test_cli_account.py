"""`callbell-async send`, `me`, `templates`, `channels` and `contacts export`."""

from __future__ import annotations

import csv
import io
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pytest

from callbell_async.cli.export_writer import neutralize_cell, restore_cell
from callbell_async.cli.output import bar, escape_control, json_text, result_table
from callbell_async.sandbox import Sandbox, SandboxContact, SandboxTemplate, faults
from tests.support.command_line import environment_for, json_lines, run, started, started_in_terminal
from tests.support.threaded_sandbox import sandbox_in_a_thread

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
NUMBER = "+447700900001"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A Callbell that takes one token only."""
    with sandbox_in_a_thread(TOKEN) as sandbox:
        yield sandbox


# --- send -------------------------------------------------------------------------------------------------------------


def test_sends_one_message(sandbox: Sandbox) -> None:
    """`send` writes the uuid and the status; texts are as they stand, and metadata has its values."""
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


def test_what_is_not_sent_is_one_line(sandbox: Sandbox) -> None:
    """Wrong input is status 2; a refusal or a lost answer 1, and the line says whether it may have been accepted."""
    environment = environment_for(sandbox)
    result = run("send", "nobody", "--text", "Hi", environment=environment)
    assert result.exit_code == 2
    assert result.stderr.startswith("callbell-async: TO: is not a telephone number")
    sandbox.inject(faults.answer(400, {"error": f"to {NUMBER}"}), faults.accept_then_close())
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
def test_an_interrupt_says_whether_it_may_have_been_accepted(sandbox: Sandbox, number: signal.Signals) -> None:
    """A signal while the answer is waited for: the message may have been accepted, and the line says so."""
    read = threading.Semaphore(0)
    sandbox.inject(faults.no_response(read.release))
    with started("send", NUMBER, "--text", "Hi", environment=environment_for(sandbox)) as process:
        read.acquire()
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + number, "")
    assert err == "callbell-async: interrupted: the message may have been accepted\n"


def test_an_interrupt_between_two_attempts_says_so(sandbox: Sandbox) -> None:
    """A signal while a refused message waits for its next attempt: it was not sent, and the status is the signal's."""
    sandbox.inject(faults.answer(429, {"error": "later"}, {"Retry-After": "60"}))
    with started("send", NUMBER, "--text", "Hi", environment=environment_for(sandbox)) as process:
        assert process.stderr is not None
        # The client's own word that it waits.
        assert "429" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "callbell-async: interrupted: the message was not sent\n")


def test_an_interrupt_before_it_left_says_so() -> None:
    """A signal while the connection is still being made: the message was not sent, and can be sent again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {"CALLBELL_TOKEN": TOKEN, "CALLBELL_BASE_URL": f"https://127.0.0.1:{server.getsockname()[1]}"}
        with started("send", NUMBER, "--text", "Hi", environment=environment) as process:
            connection, _ = server.accept()
            with connection:
                # The client's greeting, which nobody answers.
                assert connection.recv(1)
                process.send_signal(signal.SIGINT)
                _, err = process.communicate()
    assert (process.returncode, err) == (130, "callbell-async: interrupted: the message was not sent\n")


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize("end", ["/dev/full", "closed", "nobody"])
def test_an_accepted_message_is_told_somewhere(sandbox: Sandbox, end: str, more: list[str]) -> None:
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
        said = b"callbell-async: the output can't be written: standard output is closed\n"
        assert (done.returncode, done.stderr) == (1, said)


# --- me, templates, channels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_me_says_whose_key_it_is_and_not_the_key(sandbox: Sandbox, more: list[str]) -> None:
    """`me` gives user, e-mail and status, though Callbell's answer holds the key itself."""
    result = run("me", *more, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert "John Doe" in result.stdout
    assert "john_doe@email.com" in result.stdout
    assert TOKEN not in result.output


def test_lists_are_lines_with_tabs(sandbox: Sandbox) -> None:
    """Where output is no terminal a list is a line each, with tabs; what others wrote can't break a line."""
    sandbox.account.add(SandboxTemplate(uuid="t1", title="Par\ncel\x1b[2J", text="Hello {{1}}"))
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
    ("options", "said"),
    [
        (["--token", "x", "--base-url", "ftp://nowhere"], "base_url: must be an absolute http or https URL"),
        (["--token", "secret\nsecret"], "token: has blanks or line breaks in it; give the token alone"),
        (["--token", "Bearer secret secret"], "token: has blanks or line breaks in it; give the token alone"),
        (
            ["--token", "CALLBELL_TOKEN=secret"],
            "token: has the form NAME=value; give only the part after the equals sign",
        ),
        (["--token", "'secret'"], "token: has quotation marks around it; remove them"),
        (["--token", "secret" * 700], "token: has more than 4096 characters, too many for an API key"),
        (["--token", "sécret"], "token: a header can't hold it; give one line of printable ASCII characters"),
        (["--token", "  "], "no token; set CALLBELL_TOKEN or use --token-file FILE, or try it with --sandbox"),
        ([], "no token; set CALLBELL_TOKEN or use --token-file FILE, or try it with --sandbox"),
    ],
)
def test_a_way_that_leads_nowhere_is_one_line(options: list[str], said: str) -> None:
    """An address or a token that can't be used is status 2, and the token is not shown."""
    result = run("me", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"callbell-async: {said}")
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_a_pasted_bearer_is_no_blank_in_the_token(sandbox: Sandbox) -> None:
    """The key as the dashboard shows it, `Bearer ` before it, is taken."""
    assert run("me", "--token", f" Bearer  {TOKEN}\n", environment={"CALLBELL_BASE_URL": sandbox.url}).exit_code == 0


@pytest.mark.parametrize("option", ["--token", "--token-file", "--base-url"])
def test_the_sandbox_takes_no_other_way(option: str) -> None:
    """`--sandbox` with an option that leads elsewhere is a mistake; what the environment says is for other commands too."""
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


# --- contacts export --------------------------------------------------------------------------------------------------


def test_contacts_are_exported_page_after_page(sandbox: Sandbox, tmp_path: Path) -> None:
    """All contacts as CSV, by cursor: tags with commas, custom fields as JSON, and whatever stands in a name."""
    sandbox.account.add(
        SandboxContact(identifier=NUMBER, name='Zoë "Z",\nSmith', tags=["a", "b"], custom_fields={"Größe": "7"})
    )
    for number in range(44):
        sandbox.account.add(SandboxContact(identifier=f"+44770091{number:04}", name=str(number)))
    result = run("contacts", "export", "--csv", environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert result.stderr == "45 contacts\n"
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 45
    assert (rows[0]["name"], rows[0]["tags"], rows[0]["custom_fields"]) == ('Zoë "Z",\nSmith', "a,b", '{"Größe": "7"}')
    assert ["after" in request.query for request in sandbox.requests] == [False, True, True]
    target = tmp_path / "contacts.jsonl"
    result = run(
        "contacts", "export", "--jsonl", "--output", target, "--tag", "a", environment=environment_for(sandbox)
    )
    assert (result.exit_code, result.stdout) == (0, "")
    (contact,) = json_lines(target.read_text(encoding="utf-8"))
    assert contact["customFields"] == {"Größe": "7"}


def test_filters_go_to_callbell(sandbox: Sandbox) -> None:
    """`--source`, `--tag` and `--team` are Callbell's own filters."""
    arguments = ["--source", "whatsapp", "--tag", "a", "--tag", "b", "--team", "t"]
    assert run("contacts", "export", *arguments, environment=environment_for(sandbox)).exit_code == 0
    assert sandbox.requests[0].query == {"source": "whatsapp", "tags": "a,b", "team_uuid": "t"}


def test_what_was_written_stays(sandbox: Sandbox) -> None:
    """When Callbell breaks off, the pages until then are written, and the status is 1."""
    for number in range(30):
        sandbox.account.add(SandboxContact(identifier=f"+44770091{number:04}", name=str(number)))
    sandbox.inject(faults.answer(403, {"error": "no"}), when=lambda request: "after" in request.query)
    result = run("contacts", "export", environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 21


@pytest.mark.parametrize("refused", [True, False])
def test_a_failed_export_leaves_the_last_one(sandbox: Sandbox, tmp_path: Path, refused: bool) -> None:
    """Without a token, or with one that is refused, the file that `--force` would replace stays; an empty account gives a header row."""
    target = tmp_path / "contacts.csv"
    target.write_text("of yesterday")
    environment = environment_for(sandbox) if not refused else {**environment_for(sandbox), "CALLBELL_TOKEN": "wrong"}
    result = run("contacts", "export", "--output", target, "--force", environment=environment)
    assert result.exit_code == int(refused)
    assert (target.read_text() == "of yesterday") is refused
    if refused:
        assert run("contacts", "export", "--output", target, "--force").exit_code == 2
        assert target.read_text() == "of yesterday"
    else:
        assert target.read_text().startswith("uuid,name,")
        assert result.stderr == "0 contacts\n"


def test_an_export_replaces_a_file_only_by_force(sandbox: Sandbox, tmp_path: Path) -> None:
    """A file that exists is refused and unchanged; `--force` replaces it; a new one can be read by its owner only."""
    target = tmp_path / "contacts.csv"
    target.write_text("precious")
    result = run("contacts", "export", "--output", target, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "already exists; give another file, or --force to replace it" in result.stderr
    assert target.read_text() == "precious"
    assert run("contacts", "export", "--output", target, "--force", environment=environment_for(sandbox)).exit_code == 0
    assert target.read_text().startswith("uuid,name,")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    result = run("contacts", "export", "--force")
    assert (result.exit_code, result.stderr) == (2, "callbell-async: --force: requires --output\n")


FORMULAS = ["=1+1", "@SUM(A1)", "-1", "+1-2", "\t=1", "\r=1", "＝1", "'=1"]


@pytest.mark.parametrize("raw", [False, True])
def test_a_formula_in_a_name_is_neutralized(sandbox: Sandbox, raw: bool) -> None:
    """A cell that a spreadsheet takes for a formula gets an apostrophe; numbers stay as they are, and `--raw` leaves everything unchanged."""
    for index, name in enumerate(FORMULAS):
        sandbox.account.add(SandboxContact(identifier=f"+44770091{index:04}", name=name))
    result = run("contacts", "export", *(["--raw"] if raw else []), environment=environment_for(sandbox))
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert sorted(row["name"] for row in rows) == sorted(FORMULAS if raw else [f"'{name}" for name in FORMULAS])
    assert {restore_cell(row["name"]) for row in rows} >= (set() if raw else set(FORMULAS))
    assert all(row["phone_number"][0] in "+4" for row in rows)


@pytest.mark.parametrize("text", [*FORMULAS, "+31612345678", "Ada", "''-", "'a", "", "a=b"])
def test_a_neutralized_cell_can_be_restored(text: str) -> None:
    """Every cell is read back as it was."""
    assert restore_cell(neutralize_cell(text)) == text


@pytest.mark.parametrize("options", [["--csv"], ["--csv", "--raw"], ["--jsonl"]])
def test_no_control_character_reaches_a_terminal(sandbox: Sandbox, options: list[str]) -> None:
    """A contact's name with escape sequences is shown as escapes, in CSV and JSON too; a file has it as it is."""
    name = "Ada\x1b[2J\x07\x7f\x9b\u202e!"
    sandbox.account.add(SandboxContact(identifier=NUMBER, name=name))
    with started_in_terminal("contacts", "export", *options, environment=environment_for(sandbox)) as (_, terminal):
        shown = terminal.read().replace("\r\n", "\n")
    assert "Ada" in shown
    assert [character for character in shown if character != "\n" and not character.isprintable()] == []
    result = run("contacts", "export", *options, environment=environment_for(sandbox))
    if "--csv" in options:
        assert name in result.stdout
    else:
        assert json_lines(result.stdout)[0]["name"] == name


PEAK = """
import sys, tracemalloc
from callbell_async.cli.program import app
tracemalloc.start()
try:
    app()
finally:
    print(tracemalloc.get_traced_memory()[1])
"""


def test_the_export_takes_no_memory_for_each_contact(sandbox: Sandbox, tmp_path: Path) -> None:
    """Twice the contacts take no more memory: each is written and let go."""

    def most(count: int) -> int:
        while len(sandbox.account.people) < count:
            number = len(sandbox.account.people)
            # The names alone are 1000 bytes each.
            sandbox.account.add(SandboxContact(identifier=f"+4477{number:08}", name="x" * 1_000))
        # In a process of its own, without the sandbox's memory.
        command = [
            sys.executable,
            "-c",
            PEAK,
            "contacts",
            "export",
            "--output",
            str(tmp_path / "contacts.csv"),
            "--force",
        ]
        environment = {**os.environ, **environment_for(sandbox)}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        assert done.stderr == f"{count} contacts\n"
        return int(done.stdout)

    few = most(200)
    assert most(600) - few < 100_000
