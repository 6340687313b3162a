"""`callbell-async send-many`: what it takes, what it writes, and where the token comes from."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from callbell_async.cli.input_rows import Row, read_in_thread
from callbell_async.sandbox import Sandbox, faults
from tests.support.command_line import (
    counts_in,
    environment_for,
    json_lines,
    leave_after_a_line,
    read_until,
    run,
    started,
    started_in_terminal,
)
from tests.support.threaded_sandbox import sandbox_in_a_thread

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
ADA, GRACE, JOAN = "+447700900001", "+447700900002", "+447700900003"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A Callbell that takes one token only."""
    with sandbox_in_a_thread(TOKEN) as sandbox:
        yield sandbox


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three recipients."""
    path = tmp_path / "recipients.csv"
    path.write_text(f"to,name\n{ADA},Ada\n{GRACE},Grace\n{JOAN},Joan\n")
    return path


def recipients(sandbox: Sandbox) -> list[str]:
    """Who got a message, in order of their numbers."""
    return sorted(message.recipient for message in sandbox.messages)


def cells_in(file: Path) -> list[list[str]]:
    """The cells of a file with semicolons."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines, delimiter=";"))


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_a_template_with_values_of_the_row(file: Path, sandbox: Sandbox) -> None:
    """`--template`, `--values`, `--optin` and `--metadata` become a template message for each row."""
    arguments = ["--template", "T", "--values", "{name},now", "--optin", "--metadata", "who=name", "--concurrency", "1"]
    result = run("send-many", file, *arguments, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert sandbox.messages[0].body == {
        "to": ADA,
        "from": "whatsapp",
        "type": "text",
        "content": {"text": "Ada"},
        "template_uuid": "T",
        "template_values": ["Ada", "now"],
        "optin_contact": True,
        "metadata": {"who": "Ada"},
    }


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_standard_input_is_sent_as_it_comes(sandbox: Sandbox, form: str) -> None:
    """`-` reads CSV or JSONL from standard input; how many there are is not known before the end."""
    rows = {
        "csv": f"to,name\n{ADA},Ada\n{GRACE},Grace\n",
        "jsonl": f'{{"to":"{ADA}","name":1}}\n{{"to":"{GRACE}","name":"x"}}\n',
    }
    result = run("send-many", "-", "--text", "Hi {name}", environment=environment_for(sandbox), stdin=rows[form])
    assert result.exit_code == 0
    assert recipients(sandbox) == [ADA, GRACE]
    assert "sending messages\n" in result.stderr


def test_what_a_pipe_has_is_sent_before_it_ends(sandbox: Sandbox) -> None:
    """A row that is there is sent, though the next is not: the input is waited for beside the sending."""
    arguments = ["send-many", "-", "--text", "Hi", "--json"]
    with started(*arguments, environment=environment_for(sandbox), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in (ADA, GRACE):
            process.stdin.write(f"to\n{number}\n" if number == ADA else f"{number}\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["outcome"] == "accepted"
        process.stdin.close()
        assert json.loads(process.stdout.readline())["accepted"] == 2
        assert process.wait() == 0


def test_an_input_that_breaks_off_ends_with_what_is_known(sandbox: Sandbox) -> None:
    """Standard input can't be looked through beforehand: what was read is sent and counted, and the error names the place."""
    raw = f"to\n{ADA}\n".encode() + b"x" * 9000 + b"\n\xff\n"
    result = run("send-many", "-", "--text", "Hi", environment=environment_for(sandbox), stdin=raw)
    assert result.exit_code == 2
    assert "standard input: is not UTF-8" in result.stderr
    assert counts_in(result.stdout)["accepted"] == len(sandbox.messages) == 1


# --- --failed-to ------------------------------------------------------------------------------------------------------


def test_failed_rows_can_be_fed_in_again(tmp_path: Path, sandbox: Sandbox) -> None:
    """Rows that were not accepted are written as they came, with what became of them, and are a good input themselves."""
    file, failed, again = tmp_path / "in.csv", tmp_path / "failed.csv", tmp_path / "again.csv"
    file.write_text(f'to;name;note\n{ADA};"A;da ";x\n{GRACE};Grace;y\n123;Bob;z\n')
    sandbox.inject(faults.answer(400, {"error": "no"}), times=1, when=lambda request: request.to == ADA)
    environment = environment_for(sandbox)
    result = run("send-many", file, "--text", "Hi {name}", "--failed-to", failed, environment=environment)
    assert result.exit_code == 1
    heading, *rows = cells_in(failed)
    assert heading == ["to", "name", "note", "outcome", "reason"]
    assert sorted(row[:4] for row in rows) == [[ADA, "A;da ", "x", "rejected"], ["123", "Bob", "z", "never_sent"]]
    result = run("send-many", failed, "--text", "Hi {name}", "--failed-to", again, environment=environment)
    assert result.exit_code == 1
    heading, *rows = cells_in(again)
    assert heading == ["to", "name", "note", "outcome", "reason"]
    assert [row[:4] for row in rows] == [["123", "Bob", "z", "never_sent"]]
    assert recipients(sandbox) == [ADA, GRACE]


def test_what_may_have_been_accepted_is_not_among_them(file: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    """A row whose fate is unknown is left out, and said to be; with `--failed-unknown` it is there, and marked."""
    failed = tmp_path / "failed.csv"
    arguments = ["send-many", file, "--text", "Hi", "--failed-to", failed]
    sandbox.inject(faults.accept_then_close(), when=lambda request: request.to == ADA)
    result = run(*arguments, environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert "1 row may have been accepted and is not in --failed-to" in result.stderr
    assert failed.read_text() == "to,name,outcome,reason\n"
    result = run(*arguments, "--failed-unknown", environment=environment_for(sandbox))
    assert [line.split(",")[:3] for line in failed.read_text().splitlines()[1:]] == [[ADA, "Ada", "unknown"]]
    assert "row may have" not in result.stderr


def test_rows_of_a_wrong_length_stay_wrong(tmp_path: Path) -> None:
    """A row with too few or too many cells keeps those it has, and is refused again, also by a file that has been through it."""
    file, failed, again = tmp_path / "in.csv", tmp_path / "failed.csv", tmp_path / "again.csv"
    file.write_text(f"to,name,outcome,reason\n{ADA},Ada\n{GRACE},Grace,x,y,z\n{JOAN}\n")
    for source, target in ((file, failed), (failed, again)):
        result = run("send-many", source, "--text", "Hi", "--sandbox", "--failed-to", target)
        assert counts_in(result.stdout)["never_sent"] == counts_in(result.stdout)["total"] == 3
    assert {line.split(",")[0] for line in again.read_text().splitlines()[1:]} == {ADA, GRACE, JOAN}


def test_rows_of_a_wrong_length_do_not_grow(tmp_path: Path) -> None:
    """However often a row with too few or too many cells goes through it, it has one outcome and one reason."""
    file, failed, again = (tmp_path / name for name in ("in.csv", "failed.csv", "again.csv"))
    file.write_text(f"to,name\n{ADA}\n{GRACE},Grace,x\n{JOAN},Joan,x,y\n")
    for source, target in ((file, failed), (failed, again), (again, failed)):
        assert run("send-many", source, "--text", "Hi", "--sandbox", "--failed-to", target).exit_code == 1
    assert [line.split(",never_sent,")[0] for line in failed.read_text().splitlines()[1:]] == [
        ADA,
        f"{GRACE},Grace,x",
        f"{JOAN},Joan,x,y",
    ]
    assert failed.read_text().count("never_sent") == 3
    # Put right, the row is a good one.
    file.write_text(failed.read_text().replace(f"{ADA},", f"{ADA},Ada,").replace("Grace,x,", "Grace,"))
    result = run("send-many", file, "--text", "Hi {name}", "--sandbox")
    assert (counts_in(result.stdout)["accepted"], counts_in(result.stdout)["never_sent"]) == (2, 1)


def test_who_has_a_user_id_needs_no_number(tmp_path: Path, sandbox: Sandbox) -> None:
    """With `--bsuid-column` a row has a number, a BSUID, or both; one with neither is a bad row, and a column that is not there a mistake."""
    file = tmp_path / "in.csv"
    file.write_text(f"to,id\n{ADA},\n,US.1\n{GRACE},US.2\n,x\n".replace(",x", ","))
    arguments = ["--text", "Hi", "--bsuid-column", "id", "--concurrency", "1"]
    result = run("send-many", file, *arguments, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert [(message.body.get("to"), message.body.get("bsuid")) for message in sandbox.messages] == [
        (ADA, None),
        (None, "US.1"),
        (GRACE, "US.2"),
    ]
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"id": "US.3"}\n{"name": "Ada"}\n')
    result = run("send-many", lines, *arguments, environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert sandbox.messages[-1].body["bsuid"] == "US.3"
    assert "line 2: never_sent: column 'to' and column 'id': are both empty" in result.stderr
    alone = tmp_path / "alone.csv"
    alone.write_text("id\nUS.4\n")
    assert run("send-many", alone, *arguments, "--dry-run").exit_code == 0
    result = run("send-many", file, "--text", "Hi", "--bsuid-column", "who", "--dry-run")
    assert (result.exit_code, result.stderr) == (
        2,
        f"callbell-async: --bsuid-column: there is no column 'who' in {file}; it has to, id\n",
    )


def test_failed_objects_are_as_they_came(tmp_path: Path) -> None:
    """Rows of JSONL are written as they stand, numbers to the last 0, with two keys more; again and again no more than these."""
    file, failed, again = tmp_path / "in.jsonl", tmp_path / "failed.jsonl", tmp_path / "again.jsonl"
    rows = [
        '{"to": 12, "sum": 1.10, "deep": {"a": [1e400]}, "half": "\\ud800", "name": "Zoë"}',
        "{}",
        "{ }",
        "[1]",
        '{"to"',
    ]
    file.write_text("\n".join(rows))
    for source, target in ((file, failed), (failed, again)):
        result = run("send-many", source, "--text", "Hi {sum}", "--sandbox", "--failed-to", target)
        assert (result.exit_code, counts_in(result.stdout)["never_sent"]) == (1, 5)
        written = target.read_text(encoding="utf-8").splitlines()
        known = sorted(line.partition(', "outcome"')[0] for line in written if "Zo" in line)
        assert known == [rows[0].removesuffix("}")]
        assert sorted(json.loads(line).get("row", "") for line in written) == ["", "", "", "[1]", '{"to"']
        assert all(list(json.loads(line))[-2:] == ["outcome", "reason"] for line in written)
        assert all(line.count('"outcome"') == 1 for line in written)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("recipients.csv", "is the input file; give another file"),
        ("failed.jsonl", "the rows are written in the form of the input; name the file failed.csv"),
        ("none/failed.csv", "can't be written (No such file or directory)"),
    ],
)
def test_a_wrong_place_for_failed_rows_is_one_line(file: Path, target: str, said: str) -> None:
    """The input is not overwritten, and a name does not promise another form."""
    result = run("send-many", file, "--text", "Hi", "--sandbox", "--failed-to", file.parent / target)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert file.read_text().count("\n") == 4


@pytest.mark.parametrize("command", ["send-many", "resume"])
def test_failed_unknown_goes_with_a_file(file: Path, command: str) -> None:
    """`--failed-unknown` alone is a mistake."""
    more = ["--text", "Hi", "--sandbox"] if command == "send-many" else []
    result = run(command, file, *more, "--failed-unknown")
    assert (result.exit_code, result.stderr) == (2, "callbell-async: --failed-unknown: requires --failed-to\n")


def test_the_bar_and_the_results_are_apart(file: Path) -> None:
    """With standard error on a terminal and standard output in a pipe, the bar is on the terminal and the results are in the pipe."""
    arguments = ["send-many", file, "--text", "Hi", "--sandbox", "--json"]
    environment = {"TERM": "xterm", "COLUMNS": "120"}
    with started_in_terminal(*arguments, environment=environment, stdout=subprocess.PIPE) as (process, terminal):
        assert process.stdout is not None
        out = process.stdout.read()
        shown = terminal.read()
    assert [one.get("outcome") for one in json_lines(out)] == ["accepted"] * 3 + [None]
    assert "outcome" not in shown
    assert "3/3" in shown


def test_files_and_pipes_get_utf_8(tmp_path: Path) -> None:
    """Whatever the locale says, what is written elsewhere than to a terminal is UTF-8."""
    file = tmp_path / "in.csv"
    file.write_text(f"to,name\n{ADA},Zoë 😀\n", encoding="utf-8")
    arguments = ["send-many", file, "--text", "Hi {name}", "--dry-run", "--json"]
    command = [sys.executable, "-m", "callbell_async", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out = subprocess.run(command, env=environment, check=True, capture_output=True).stdout
    assert json.loads(out.splitlines()[0])["body"]["content"]["text"] == "Hi Zoë 😀"
    assert "Zoë 😀".encode() in out


# --- --json, and what is never said ------------------------------------------------------------------------------------


def test_json_has_an_object_a_result(file: Path, sandbox: Sandbox) -> None:
    """`--json`: line, key, outcome, uuid, attempts and reason of each on standard output, and the counts at the end."""
    sandbox.inject(faults.answer(400, {"error": "no"}), when=lambda request: request.to == GRACE)
    result = run("send-many", file, "--text", "Hi", "--json", environment=environment_for(sandbox))
    assert result.exit_code == 1
    *results, counts = json_lines(result.stdout)
    by_line = {one.pop("line"): one for one in results}
    uuids = {message.recipient: message.uuid for message in sandbox.messages}
    assert by_line[2] == {"key": None, "outcome": "accepted", "uuid": uuids[ADA], "attempts": 1, "reason": None}
    assert by_line[3] == {
        "key": None,
        "outcome": "rejected",
        "uuid": None,
        "attempts": 1,
        "reason": "POST /messages/send: 400 no (refused)",
    }
    assert counts.pop("elapsed") >= 0
    assert counts == {
        "total": 3,
        "accepted": 2,
        "rejected": 1,
        "never_sent": 0,
        "unknown": 0,
        "skipped": 0,
        "duplicates": 0,
    }


def test_neither_numbers_nor_texts_nor_the_token_are_told(tmp_path: Path, sandbox: Sandbox) -> None:
    """Results and errors name the line; what Callbell echoes of a message is left out."""
    file = tmp_path / "in.csv"
    file.write_text(f"to,name\n{ADA},Ada Lovelace\nAda Lovelace,x\n{GRACE},Ada Lovelace\n")
    sandbox.inject(
        faults.answer(400, {"error": f"to {ADA} can't be sent: Dear Ada Lovelace"}), faults.accept_then_close()
    )
    for more in ([], ["--json"]):
        result = run("send-many", file, "--text", "Dear {name}", *more, environment=environment_for(sandbox))
        assert result.exit_code == 1
        for secret in (ADA, ADA[1:], GRACE, "Lovelace", TOKEN):
            assert secret not in result.output


# --- --dry-run --------------------------------------------------------------------------------------------------------


def test_a_dry_run_checks_every_row_and_sends_nothing(tmp_path: Path, sandbox: Sandbox) -> None:
    """`--dry-run` shows the first bodies, tells every bad row by line and reason, and asks nobody, nor for a token."""
    file, failed = tmp_path / "in.csv", tmp_path / "failed.csv"
    file.write_text("to,name\n" + f"{ADA},Zoë\n" * 30 + "nobody,x\n" * 30)
    arguments = ["send-many", file, "--text", "Hi {name}", "--dry-run", "--failed-to", failed]
    result = run(*arguments, environment={"CALLBELL_BASE_URL": sandbox.url})
    assert result.exit_code == 1
    shown = result.stdout.splitlines()
    number, body = shown[0].split(": ", 1)
    assert (number, json.loads(body)["content"]) == ("line 2", {"text": "Hi Zoë"})
    assert [line.split(":")[0] for line in shown[:5]] == [f"line {number}" for number in range(2, 7)]
    assert [line.split() for line in shown[5:]] == [["good", "30"], ["bad", "30"]]
    bad = [
        line for line in result.stderr.splitlines() if ": never_sent: column 'to': is not a telephone number" in line
    ]
    assert [line.split(":")[0] for line in bad] == [f"line {number}" for number in range(32, 62)]
    assert len(failed.read_text().splitlines()) == 31
    assert sandbox.requests == []


def test_a_dry_run_as_json(tmp_path: Path) -> None:
    """With `--json` bodies, bad rows and counts are objects; a body that can't be written is a bad row; all good is status 0."""
    file = tmp_path / "in.jsonl"
    file.write_text(f'{{"to": "{ADA}"}}\n{{"to": "x"}}\n')
    result = run("send-many", file, "--text", "Hi", "--dry-run", "--json")
    assert result.exit_code == 1
    body, bad, counts = json_lines(result.stdout)
    assert body == {"line": 1, "body": {"to": ADA, "from": "whatsapp", "type": "text", "content": {"text": "Hi"}}}
    assert (bad["line"], bad["outcome"]) == (2, "never_sent")
    assert counts == {"total": 2, "good": 1, "bad": 1}
    file.write_text(f'{{"to": "{ADA}"}}\n')
    assert run("send-many", file, "--text", "Hi", "--dry-run").exit_code == 0


# --- the token --------------------------------------------------------------------------------------------------------


def test_the_token_comes_from_a_file(file: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    """`--token-file` is read, blanks around the token and a BOM are dropped, and it goes before the environment."""
    token = tmp_path / "token"
    token.write_text(f"\ufeff{TOKEN}\n")
    token.chmod(0o600)
    environment = {"CALLBELL_TOKEN": "wrong", "CALLBELL_BASE_URL": sandbox.url}
    result = run("send-many", file, "--text", "Hi", "--token-file", token, environment=environment)
    assert result.exit_code == 0
    assert TOKEN not in result.output


@pytest.mark.parametrize(
    ("interrupted", "status", "text"),
    [(False, 2, "no token; set CALLBELL_TOKEN or use --token-file FILE"), (True, 130, "interrupted")],
)
def test_ctrl_d_at_the_prompt_is_no_interrupt(file: Path, interrupted: bool, status: int, text: str) -> None:
    """Ctrl-D at the prompt for the token means that there is none, with the status 2; Ctrl-C is an interrupt."""
    with started_in_terminal("send-many", file, "--text", "Hi") as (process, terminal):
        terminal.read(until="API key")
        if interrupted:
            process.send_signal(signal.SIGINT)
        else:
            terminal.type("\x04")
        assert text in terminal.read()
        assert process.wait() == status


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read (No such file or directory)"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is not a text file"),
        (b"CALLBELL_TOKEN=x", "begins with CALLBELL_TOKEN=, like a line of .env; give only the text behind the ="),
        (b"export KEY=x", "begins with NAME=, like a line of .env; give only the text behind the ="),
        (b"'x'\n", "has quotes around it; give it without them"),
        (b'"x"', "has quotes around it; give it without them"),
        (b"one two", "has spaces or line breaks in it; give the key alone"),
    ],
)
def test_a_token_file_that_has_none_is_one_line(file: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    """What is wrong with the file is said, and nothing of what is in it."""
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
        token.chmod(0o600)
    result = run("send-many", file, "--text", "Hi", "--token-file", token)
    assert (result.exit_code, result.stderr) == (2, f"callbell-async: --token-file: {token} {said}\n")


def test_a_token_file_that_others_can_read_is_a_warning(file: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    """A token file that every user of the machine can read is used, with a warning that has the remedy."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o644)
    result = run("me", "--token-file", token, environment={"CALLBELL_BASE_URL": sandbox.url})
    assert result.exit_code == 0
    assert result.stderr == (
        f"callbell-async: warning: --token-file: other users can read {token}; run chmod 600 {token}\n"
    )
    token.chmod(0o600)
    assert run("me", "--token-file", token, environment={"CALLBELL_BASE_URL": sandbox.url}).stderr == ""


def test_too_few_file_descriptors_are_a_warning(file: Path, sandbox: Sandbox) -> None:
    """Where the process may open fewer files than messages are in flight at once, a warning names both numbers and the remedy."""
    limit = f"ulimit -n 120; exec {shlex.join([sys.executable, '-m', 'callbell_async'])} send-many {file} --text Hi"
    environment = {**os.environ, **environment_for(sandbox)}
    for concurrency, warned in ((100, True), (20, False)):
        done = subprocess.run(
            f"{limit} --concurrency {concurrency}", shell=True, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0
        assert (
            "warning: --concurrency: 100 messages in flight need up to 132 open files, and the limit is 120"
            in done.stderr
        ) is warned


def test_a_terminal_is_asked_for_the_token(file: Path, sandbox: Sandbox) -> None:
    """On a terminal, without a token, the command asks for it and does not show it."""
    environment = {"CALLBELL_BASE_URL": sandbox.url}
    with started_in_terminal("send-many", file, "--text", "Hi", environment=environment) as (process, terminal):
        terminal.read(until="API key")
        terminal.type(f"{TOKEN}\n")
        shown = terminal.read()
        assert process.wait() == 0
    assert recipients(sandbox) == [ADA, GRACE, JOAN]
    assert TOKEN not in shown


# --- streams that are closed ------------------------------------------------------------------------------------------


def test_rows_are_not_lost_when_nobody_reads_the_results(tmp_path: Path, sandbox: Sandbox) -> None:
    """When the reader of `--json` leaves, the status is 1, the last line says how far it came, and each row was accepted or is among the failed."""
    numbers = [f"+44770090{place:04}" for place in range(2_000)]
    file, failed = tmp_path / "in.csv", tmp_path / "failed.csv"
    file.write_text("to\n" + "".join(f"{number}\n" for number in numbers))
    refused = set(numbers[::7])
    sandbox.inject(faults.answer(400, {"error": "no"}), when=lambda request: request.to in refused)
    arguments = ["send-many", file, "--text", "Hi", "--failed-to", failed, "--json", "--concurrency", "20"]
    with started(*arguments, environment=environment_for(sandbox)) as process:
        err = leave_after_a_line(process)
        assert process.wait() == 1
    assert "Traceback" not in err
    assert err.splitlines()[-2].startswith("the output can't be written; so far: ")
    assert err.splitlines()[-1].startswith("the output can't be written: ")
    left = [line.split(",")[0] for line in failed.read_text().splitlines()[1:]]
    assert sorted([*recipients(sandbox), *left]) == numbers


def test_streams_that_were_closed_before_are_no_traceback(file: Path, sandbox: Sandbox) -> None:
    """Without standard input, output or error it does what can be done, and says what can't where somebody can read it."""
    command = f"{sys.executable} -m callbell_async send-many"
    environment = {**os.environ, **environment_for(sandbox)}

    def shell(arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(f"{command} {arguments}", shell=True, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    assert shell("- --text Hi <&-") == (
        2,
        "",
        "callbell-async: standard input: was closed before anything was read\n",
    )
    status, out, _ = shell(f"{file} --text Hi 2>&-")
    assert (status, counts_in(out)["accepted"]) == (0, 3)
    status, _, err = shell(f"{file} --text Hi >&-")
    # What nobody could read is told where somebody may.
    assert (status, err.splitlines()[1:]) == (
        1,
        [
            "the output can't be written; so far: 3 accepted",
            "callbell-async: the output can't be written: standard output is closed",
        ],
    )
    environment["CALLBELL_TOKEN"] = ""
    assert "no token; set CALLBELL_TOKEN" in shell(f"{file} --text Hi <&-")[2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("refused", [False, True])
def test_counts_that_can_not_be_written_are_told_elsewhere(
    file: Path, tmp_path: Path, sandbox: Sandbox, refused: bool
) -> None:
    """Where standard output is full, standard error has the counts, and how to go on where something is left to do."""
    journal = tmp_path / "spring.db"
    if refused:
        sandbox.inject(faults.answer(400, {"error": "no"}), when=lambda request: request.to == GRACE)
    arguments = ["send-many", file, "--text", "Hi", "--journal", journal]
    with (
        Path("/dev/full").open("w") as full,
        started(*arguments, environment=environment_for(sandbox), stdout=full) as process,
    ):
        _, err = process.communicate()
    assert process.returncode == 1
    said = err.splitlines()
    counts = "2 accepted, 1 rejected" if refused else "3 accepted"
    assert f"the output can't be written; so far: {counts}" in said
    rest = f"the output can't be written; to send the rest: callbell-async resume {journal} --base-url {sandbox.url}"
    assert (rest in said) is refused
    assert said[-1] == "callbell-async: the output can't be written: No space left on device"


# --- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_one_line(file: Path, tmp_path: Path) -> None:
    """Where nothing more can be written, the run ends with one line, not with a traceback."""
    source = tmp_path / "bad.jsonl"
    source.write_text('{"to": "nobody"}\n' * 3)
    target = Path("/dev/full")
    result = run("send-many", source, "--text", "Hi", "--dry-run", "--failed-to", target)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"callbell-async: --failed-to: {target}: No space left on device"
    assert "Traceback" not in result.stderr


def test_an_interrupt_before_anything_is_sent(tmp_path: Path) -> None:
    """Ctrl-C while the beginning of the input is waited for ends it with the status 130."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with started("send-many", pipe, "--text", "Hi", "--dry-run") as process:
        # Opened for writing as soon as the command opens it for reading; closed, because a signal that comes just before Python begins to
        # read is seen only after that.
        with pipe.open("w"):
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert (out, err.strip()) == ("", "callbell-async: interrupted")


@pytest.mark.parametrize("command", [["send-many", "-", "--text", "Hi", "--sandbox"], ["resume", "none.db"]])
def test_concurrency_has_a_bound(command: list[str]) -> None:
    """What would take all the machine's memory is refused."""
    result = run(*command, "--concurrency", "10001")
    assert result.exit_code == 2
    assert "10001 is not in the range 1<=x<=10000" in result.stderr


@pytest.mark.parametrize("failed_to", [False, True])
def test_two_interrupts_tell_how_many_lines_were_not_sent(file: Path, sandbox: Sandbox, failed_to: bool) -> None:
    """What waited for its turn and never left is not said to have been tried."""
    file.write_text("to\n" + "".join(f"+44770090{place:04}\n" for place in range(200)))
    taken = threading.Semaphore(0)
    sandbox.inject(faults.no_response(taken.release, accept=True))
    more = ["--failed-to", file.with_name("failed.csv")] if failed_to else []
    arguments = ["send-many", file, "--text", "Hi", "--rate", "2", "--concurrency", "10", *more]
    with started(*arguments, environment=environment_for(sandbox)) as process:
        taken.acquire()
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted: waiting")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    counts = counts_in(out)
    left = counts["never_sent"] + counts["skipped"]
    assert left > 0
    last = counts["total"] + 1
    assert err.splitlines()[-1] == (
        f"interrupted: {left} rows were not sent and are in --failed-to"
        if failed_to
        else f"interrupted: {left} rows were not sent up to line {last}, and none after it was tried (--failed-to FILE keeps such rows)"
    )
    assert (f"stopped at once: rows from line {last + 1} on were not written to --failed-to" in err) is failed_to


def test_a_row_that_comes_too_late_harms_nothing() -> None:
    """The thread that waits for a row ends when the loop it would tell is gone."""
    late = threading.Event()

    def rows() -> Iterator[Row]:
        late.wait()
        yield Row(2, {}, [])

    async def main() -> None:
        waiting = asyncio.ensure_future(anext(read_in_thread(rows())))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

    asyncio.run(main())
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "callbell-rows"]
    late.set()
    thread.join()


def test_a_row_that_nobody_waits_for_any_more_is_let_go() -> None:
    """A row that comes after its run has ended is dropped, and the thread ends."""
    late = threading.Event()

    def rows() -> Iterator[Row]:
        late.wait()
        yield Row(2, {}, [])

    async def main() -> None:
        source = read_in_thread(rows())
        waiting = asyncio.ensure_future(anext(source))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "callbell-rows"]
        late.set()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        with pytest.raises(StopAsyncIteration):
            await anext(source)

    asyncio.run(main())
