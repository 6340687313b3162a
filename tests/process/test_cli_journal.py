"""The command line with a journal: nothing twice, `resume`, `status`, `reconcile` and `export`."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from callbell_async import Journal, TextMessage
from callbell_async.cli.funnel import stages
from callbell_async.cli.notes import options_in
from callbell_async.cli.saved_run import keys_in
from callbell_async.sandbox import Sandbox, faults
from callbell_async.sandbox.clock import Calendar
from callbell_async.sandbox.message_lifecycle import DeliveryFailure, StatusTimings
from tests.support.command_line import all_shown, counts_in, environment_for, json_lines, run, started
from tests.support.threaded_sandbox import sandbox_in_a_thread

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
NUMBERS = [f"+4477009000{place:02}" for place in range(10)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A Callbell that takes one token only, and has today's date, as the journal has."""
    with sandbox_in_a_thread(TOKEN) as sandbox:
        sandbox.account.calendar = Calendar(time.monotonic, datetime.now(UTC))
        yield sandbox


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Ten recipients."""
    path = tmp_path / "recipients.csv"
    path.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in NUMBERS))
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where a journal goes."""
    return tmp_path / "spring journal.db"


def recipients(sandbox: Sandbox) -> list[str]:
    """Who got a message, in order of their numbers."""
    return sorted(message.recipient for message in sandbox.messages)


def send(file: Path | str, journal: Path, sandbox: Sandbox, *more: str, stdin: str | None = None) -> Any:
    """`send-many` with a journal."""
    arguments = ["send-many", file, "--text", "Hi {name}", "--journal", journal, *more]
    return run(*arguments, environment=environment_for(sandbox), stdin=stdin)


# --- nothing twice ----------------------------------------------------------------------------------------------------


def test_a_second_run_sends_nothing_twice(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """The same command with the same journal has nothing left to do: status 0, and the counts say why."""
    assert send(file, journal, sandbox).exit_code == 0
    result = send(file, journal, sandbox)
    assert result.exit_code == 0
    assert "skipped     10 (10 of them already done)" in result.stdout
    assert "never_sent" not in result.stderr
    assert recipients(sandbox) == NUMBERS


def test_a_row_that_comes_twice_is_sent_once(tmp_path: Path, journal: Path, sandbox: Sandbox) -> None:
    """Of two equal rows the second is skipped, and named as what it is; by `--key-column` rows are equal that have one key."""
    file = tmp_path / "in.csv"
    file.write_text(f"to,name,id\n{NUMBERS[0]},Ada,1\n{NUMBERS[0]},Ada,2\n{NUMBERS[1]},Ada,2\n")
    result = send(file, journal, sandbox, "--json", "--concurrency", "1")
    assert result.exit_code == 0
    assert [(one["line"], one["outcome"], one["reason"]) for one in json_lines(result.stdout)[:-1]] == [
        (2, "accepted", None),
        (3, "skipped", "given twice: the first is row 1 of the input, the heading not counted"),
        (4, "accepted", None),
    ]
    other = journal.with_name("by key.db")
    result = send(file, other, sandbox, "--json", "--key-column", "id", "--concurrency", "1")
    assert [(one["key"], one["outcome"]) for one in json_lines(result.stdout)[:-1]] == [
        ("1", "accepted"),
        ("2", "accepted"),
        ("2", "skipped"),
    ]


def test_what_may_have_been_accepted_is_neither_sent_again_nor_done(
    file: Path, journal: Path, sandbox: Sandbox
) -> None:
    """An unknown message stays one in a second run, whose status says so; it is not among the failed rows."""
    failed = file.with_name("failed.csv")
    sandbox.inject(faults.accept_then_close(), when=lambda request: request.to == NUMBERS[3])
    assert send(file, journal, sandbox).exit_code == 1
    result = send(file, journal, sandbox, "--failed-to", str(failed))
    assert result.exit_code == 1
    assert "line 5: skipped: may have been accepted already" in result.stderr
    assert "1 row may have been accepted" in result.stderr
    assert failed.read_text() == "to,name,outcome,reason\n"
    assert recipients(sandbox) == NUMBERS


# --- resume -----------------------------------------------------------------------------------------------------------


def test_resume_sends_the_rest(file: Path, journal: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`resume` needs the journal and the token: file, texts and address are in it, the token is not."""
    monkeypatch.chdir(file.parent)
    sandbox.inject(faults.token_revoked(), when=lambda request: len(sandbox.messages) >= 4)
    arguments = ["send-many", file.name, "--text", "Hi {name}", "--journal", journal, "--concurrency", "1"]
    assert run(*arguments, environment=environment_for(sandbox)).exit_code == 1
    assert len(sandbox.messages) == 4
    sandbox._plan._rules.clear()
    monkeypatch.chdir("/")
    result = run("resume", journal, environment={"CALLBELL_TOKEN": TOKEN})
    assert result.exit_code == 0
    assert counts_in(result.stdout.replace(" (4 of them already done)", ""))["accepted"] == 6
    assert recipients(sandbox) == NUMBERS
    assert {message.body["content"]["text"] for message in sandbox.messages} == {"Hi Ada"}
    for part in journal.parent.iterdir():
        assert TOKEN.encode() not in part.read_bytes()


def test_a_refused_token_tells_how_to_go_on(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """Where Callbell's refusal ends the sending, the last line has the command for the rest; without a journal there is none to give."""
    sandbox.inject(faults.token_revoked(), when=lambda request: len(sandbox.messages) >= 4)
    result = send(file, journal, sandbox, "--concurrency", "1")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"the sending was stopped; for the rest: callbell-async resume '{journal}'"
    result = run("send-many", file, "--text", "Hi", environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert "for the rest" not in result.stderr


def test_resume_keeps_to_the_bound_of_concurrency(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A journal that was begun with more messages at once than are allowed goes on with as many as are."""
    assert send(file, journal, sandbox).exit_code == 0

    async def concurrency(more: int | None = None) -> object:
        async with Journal(journal) as opened:
            options = options_in(await opened.notes())
            if more is not None:
                await opened.write_notes({"options": json.dumps({**options, "concurrency": more})})
            return options["concurrency"]

    asyncio.run(concurrency(more=99_999_999))
    assert run("resume", journal, environment=environment_for(sandbox)).exit_code == 0
    assert asyncio.run(concurrency()) == 10_000


def test_resume_says_what_it_needs(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A file that is gone or has changed ends it with one line that names the remedy, before anything is sent."""
    assert send(file, journal, sandbox).exit_code == 0
    moved = file.rename(file.with_name("moved.csv"))
    result = run("resume", journal, environment=environment_for(sandbox))
    assert (result.exit_code, result.stderr) == (
        2,
        f"callbell-async: {file}: is gone; {journal} needs it where it was\n",
    )
    file.write_text(moved.read_text().replace("Ada", "Bob"))
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "has changed since; to send what it says now, run send-many with --journal" in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(sandbox.messages) == 10


def test_standard_input_can_not_be_resumed_but_repeated(journal: Path, sandbox: Sandbox) -> None:
    """What came from standard input is not there any more: `resume` names the remedy, and the remedy works."""
    rows = "to,name\n" + "".join(f"{number},Ada\n" for number in NUMBERS[:3])
    assert send("-", journal, sandbox, stdin=rows).exit_code == 0
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "came from standard input, which can't be read again; give the same input" in result.stderr
    assert send("-", journal, sandbox, stdin=rows).exit_code == 0
    assert recipients(sandbox) == NUMBERS[:3]


def test_only_what_send_many_wrote_can_be_resumed(journal: Path, sandbox: Sandbox) -> None:
    """A journal that a program of one's own wrote does not say where its messages came from."""

    async def write() -> None:
        async with Journal(journal):
            pass

    asyncio.run(write())
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "only a journal that send-many wrote can be resumed" in result.stderr


def test_resend_is_said_by_key(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`resume --resend KEY` sends one again that may have been accepted, that one only; a key that is not so is refused."""
    rule = sandbox.inject(faults.close_after_reading(), when=lambda request: request.to in NUMBERS[:2])
    assert send(file, journal, sandbox).exit_code == 1
    rule.remove()
    unknown = json_lines(run("export", journal, "--jsonl", "--outcome", "unknown").stdout)
    key = next(entry["key"] for entry in unknown if entry["to"] == NUMBERS[0])
    result = run("resume", journal, "--resend", "nothing", environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert result.stderr.startswith("callbell-async: --resend: ")
    result = run("resume", journal, "--resend", key, environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert recipients(sandbox) == [NUMBERS[0], *NUMBERS[2:]]


def test_many_are_sent_again_by_a_file(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`resume --resend-file` takes what `export` wrote, less what was taken out, and says how many; the others stay as they are."""
    rule = sandbox.inject(faults.close_after_reading(), when=lambda request: request.to in NUMBERS[:4])
    assert send(file, journal, sandbox).exit_code == 1
    rule.remove()
    unknown = journal.with_name("unknown.csv")
    assert run("export", journal, "--outcome", "unknown", "--output", unknown).exit_code == 0
    kept = [line for line in unknown.read_text().splitlines() if NUMBERS[1] not in line and NUMBERS[2] not in line]
    unknown.write_text("\n".join(kept))
    result = run("resume", journal, "--resend-file", unknown, environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert "2 messages that may have been accepted will be sent again" in result.stderr
    assert recipients(sandbox) == sorted([NUMBERS[0], *NUMBERS[3:]])
    # As JSONL from standard input, together with a key that is there as well.
    lines = run("reconcile", journal, "--json", environment=environment_for(sandbox)).stdout.splitlines()[:-1]
    key = json_lines(lines[0])[0]["key"]
    arguments = ["resume", journal, "--resend-file", "-", "--resend", key]
    result = run(*arguments, environment=environment_for(sandbox), stdin="\n".join(lines))
    assert result.exit_code == 0
    assert recipients(sandbox) == NUMBERS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("7a4425f87b79ef4469ff609db2a98132\n", "has no column 'key'; it must be as export writes it, heading and all"),
        ("key,to\nabc,1\n,2\n", "has no key"),
        ("key,to\nabc\n", "has 1 cells where the heading has 2"),
        ('{"key": "abc"}\n{"accepted": 1, "unresolved": 1}\n', "has no key"),
        ("key\nabc\n", "1 of 1 keys are not those of UNKNOWN messages; nothing was changed"),
    ],
    ids=["no heading", "no key", "ragged", "counts", "not unknown"],
)
def test_a_file_of_keys_that_is_none_is_one_line(
    file: Path, journal: Path, sandbox: Sandbox, content: str, said: str
) -> None:
    """What is no list of keys, or names something that is not unknown, ends the command before anything is sent."""
    sandbox.inject(faults.close_after_reading(), when=lambda request: request.to == NUMBERS[0], times=1)
    assert send(file, journal, sandbox).exit_code == 1
    keys = journal.with_name("keys")
    keys.write_text(content)
    result = run("resume", journal, "--resend-file", keys, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("callbell-async: --resend")
    assert said in result.stderr
    assert recipients(sandbox) == NUMBERS[1:]


def test_a_key_is_its_blanks_too(tmp_path: Path) -> None:
    """A key that a program began with a blank is read from CSV as it is, as from JSONL: it names that message and no other."""
    keys = tmp_path / "keys"
    keys.write_text("to,key\n1, a\n2,a\n")
    assert list(keys_in(keys)) == [" a", "a"]
    keys.write_text('{"key": " a"}\n')
    assert list(keys_in(keys)) == [" a"]


# --- a journal of another Callbell ------------------------------------------------------------------------------------


def test_a_trial_in_the_sandbox_does_not_pass_for_a_campaign(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """What only the sandbox took is not left out when it is to go to Callbell: its journal is refused, and another works."""
    arguments = ["send-many", file, "--text", "Hi", "--journal", journal]
    assert run(*arguments, "--sandbox").exit_code == 0
    result = run(*arguments, environment=environment_for(sandbox))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        f"callbell-async: --journal: what {journal} holds went to the sandbox only, by --sandbox; give another journal",
    )
    assert sandbox.messages == []
    # Its own end is still known, and nobody is asked in vain.
    assert run("resume", journal).exit_code == 0
    for command in (["reconcile", journal], ["status", journal, "--refresh"]):
        result = run(*command, environment={"CALLBELL_TOKEN": TOKEN})
        assert result.exit_code == 2
        assert "were sent with --sandbox" in result.stderr


def test_the_rest_of_a_campaign_does_not_end_in_the_sandbox(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """With a journal that was begun at Callbell, `--sandbox` is refused: what it takes would count as accepted."""
    assert send(file, journal, sandbox).exit_code == 0
    result = send(file, journal, sandbox, "--sandbox")
    assert result.exit_code == 2
    assert "went to Callbell, and this run has --sandbox; give another journal" in result.stderr


def test_a_journal_of_a_run_that_sent_nothing_is_as_good_as_new(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """Where the sandbox took nothing there is nothing to be left out."""
    bad = file.with_name("bad.csv")
    bad.write_text("to,name\nnobody,Ada\n")
    assert send(bad, journal, sandbox, "--sandbox").exit_code == 1
    assert send(file, journal, sandbox).exit_code == 0
    assert recipients(sandbox) == NUMBERS


def test_another_address_is_told(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A journal that goes on at another address says so, because what is done at the first is not sent again."""
    assert send(file, journal, sandbox).exit_code == 0
    assert "before" not in send(file, journal, sandbox).stderr
    with sandbox_in_a_thread(TOKEN) as other:
        result = send(file, journal, other)
        told = f"{journal}: went to {sandbox.url} before, and goes to {other.url} now; what is done is not sent again"
    assert result.exit_code == 0
    assert told in result.stderr.splitlines()


def test_notes_of_another_version_are_one_line(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """Options that this version doesn't know end `resume` with the remedy."""
    assert send(file, journal, sandbox).exit_code == 0

    async def write() -> None:
        async with Journal(journal) as opened:
            await opened.write_notes({"options": '{"form": {}, "sandbox": false, "base_url": null, "warp": 9}'})

    asyncio.run(write())
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "was written by another version of this program; give the same command to send-many" in result.stderr


# --- a journal that can't be used -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["resume", "status", "reconcile", "export"])
def test_a_journal_that_is_not_there_is_not_made(tmp_path: Path, command: str) -> None:
    """What only looks at a journal does not make one."""
    path = tmp_path / "none.db"
    result = run(command, path)
    assert (result.exit_code, result.stderr) == (2, f"callbell-async: {path}: there is no such journal\n")
    assert not path.exists()


@pytest.mark.parametrize("command", ["resume", "status", "export", "send-many"])
def test_what_is_no_journal_is_one_line(file: Path, journal: Path, sandbox: Sandbox, command: str) -> None:
    """A file that is no journal ends a command with the status 3, and stays as it is."""
    journal.write_text("no journal at all, but a letter\n" * 100)
    result = send(file, journal, sandbox) if command == "send-many" else run(command, journal)
    assert result.exit_code == 3
    assert result.stderr.count("callbell-async: ") == 1
    assert "Traceback" not in result.stderr
    assert journal.read_text().startswith("no journal at all")
    assert sandbox.messages == []


def test_a_journal_in_use_is_one_line(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """Two processes don't send with one journal: the second ends with the status 3 and sends nothing."""

    async def main() -> Any:
        async with Journal(journal):
            return await asyncio.to_thread(send, file, journal, sandbox)

    result = asyncio.run(main())
    assert result.exit_code == 3
    assert "in use" in result.stderr
    assert sandbox.messages == []


def test_failed_rows_are_not_written_over_what_is_in_use(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`--failed-to` is neither the journal nor, while another process sends with it, emptied."""
    failed = file.with_name("failed.csv")
    failed.write_text("of another process")

    async def main() -> Any:
        async with Journal(journal):
            return await asyncio.to_thread(send, file, journal, sandbox, "--failed-to", str(failed))

    assert asyncio.run(main()).exit_code == 3
    assert failed.read_text() == "of another process"
    result = send(file, journal, sandbox, "--failed-to", str(journal))
    assert result.exit_code == 2
    assert "is the journal; give another" in result.stderr
    # Also one that is not there yet.
    result = send(file, journal.with_name("new.db"), sandbox, "--failed-to", str(journal.with_name("new.db")))
    assert result.exit_code == 2


ENDS = ["", "-wal", "-shm", "-lock", "-new", "-journal"]


@pytest.mark.parametrize(
    "spelling", ["as it is", "by another way", "link to the folder", "link to the journal", "link"]
)
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_written_over_a_part_of_the_journal(
    file: Path, journal: Path, sandbox: Sandbox, end: str, spelling: str
) -> None:
    """`--failed-to` and `export --output` are no file that a journal has beside it, there or not, however it is spelt."""
    assert send(file, journal, sandbox).exit_code == 0
    part = journal.with_name(journal.name + end)
    named, target = journal, part
    match spelling:
        case "by another way":
            target = part.parent / ".." / part.parent.name / part.name
        case "link to the folder":
            folder = journal.parent / "folder"
            folder.symlink_to(journal.parent)
            target = folder / part.name
        case "link to the journal":
            named = journal.with_name("link.db")
            named.symlink_to(journal)
        case "link":
            target = journal.with_name("out.csv")
            target.symlink_to(part)
    before = {path: path.read_bytes() for path in journal.parent.glob("spring*")}
    for result in (
        send(file, named, sandbox, "--failed-to", str(target)),
        run("export", named, "--output", target),
    ):
        assert result.exit_code == 2
        assert (f" belongs to the journal {named}; give another" if end else " is the journal; give another") in (
            result.stderr
        )
    assert {path: path.read_bytes() for path in journal.parent.glob("spring*")} == before


def test_the_input_is_no_journal(file: Path, sandbox: Sandbox) -> None:
    """A journal is not written over the file that is read."""
    result = send(file, file, sandbox)
    assert result.exit_code == 2
    assert "is the file that is read" in result.stderr


# --- status -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sent(file: Path, journal: Path, sandbox: Sandbox) -> Path:
    """A journal of ten messages: one refused, one not to be delivered, the others read as soon as anybody asks."""
    sandbox.account.pace = StatusTimings(reported=0, sent=0, delivered=0, read=0)
    sandbox.inject(faults.answer(400, {"error": "no"}), when=lambda request: request.to == NUMBERS[1])
    sandbox.inject(
        faults.failed_delivery(DeliveryFailure(reason="no such number")), when=lambda request: request.to == NUMBERS[2]
    )
    assert send(file, journal, sandbox).exit_code == 1
    return journal


def test_status_is_a_funnel(sent: Path, sandbox: Sandbox) -> None:
    """`status` says what the journal knows; `--refresh` asks Callbell first, with the journal's own address."""
    result = run("status", sent)
    assert result.exit_code == 0
    told = [line.split() for line in result.stdout.splitlines()]
    assert told[:5] == [["accepted", "9"], ["rejected", "1"], ["never_sent", "0"], ["unknown", "0"], ["skipped", "0"]]
    assert told[6:8] == [["enqueued", "9", "100", "%"], ["sent", "0", "0", "%"]]
    result = run("status", sent, "--refresh", environment={"CALLBELL_TOKEN": TOKEN})
    assert result.exit_code == 0
    assert "asked for 9 messages: changed 9, could not be told 0" in result.stderr
    told = [line.split() for line in result.stdout.splitlines()]
    assert told[6:] == [
        ["enqueued", "9", "100", "%"],
        ["sent", "8", "89", "%"],
        ["delivered", "8", "89", "%"],
        ["read", "8", "89", "%"],
        ["failed", "1", "11", "%"],
    ]


def test_status_as_json(sent: Path, sandbox: Sandbox) -> None:
    """`--json` gives both counts as one object; what Callbell can't tell makes the status 1."""
    sandbox.inject(faults.answer(404, {"error": "not found"}), when=lambda request: request.method == "GET", times=1)
    result = run("status", sent, "--json", "--refresh", environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert json_lines(result.stdout)[0]["outcomes"]["accepted"] == 9
    assert json_lines(result.stdout)[0]["funnel"]["enqueued"] == 9


def test_a_terminal_gets_bars(sent: Path) -> None:
    """On a terminal the funnel is drawn."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "callbell_async", "status", str(sent)]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave):
        os.close(slave)
        shown = all_shown(master)
    os.close(master)
    lines = [line.split() for line in shown.decode().splitlines()]
    assert ["enqueued", "9", "100", "%", "█" * 40] in lines
    assert ["sent", "0", "0", "%"] in lines


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ({}, {"enqueued": 0, "sent": 0, "delivered": 0, "read": 0}),
        ({"enqueued": 1, "sent": 2, "delivered": 3, "read": 4}, {"enqueued": 10, "sent": 9, "delivered": 7, "read": 4}),
        (
            {"read": 1, "failed": 2, "mismatch": 0, "on its way": 3},
            {"enqueued": 6, "sent": 1, "delivered": 1, "read": 1, "failed": 2, "on its way": 3},
        ),
    ],
)
def test_a_stage_counts_all_who_came_to_it(statuses: dict[str, int], told: dict[str, int]) -> None:
    """Who has read a message also got it; ends and statuses that nobody knows stand apart, and all were enqueued."""
    assert stages(statuses) == told


# --- reconcile and export ---------------------------------------------------------------------------------------------


def test_reconcile_settles_what_is_there(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`reconcile` finds in the histories what was accepted without an answer, names what it can't find, and says so by its status."""
    lost = sandbox.inject(faults.close_after_reading(), when=lambda request: request.to == NUMBERS[0], times=1)
    taken = sandbox.inject(faults.accept_then_close(), when=lambda request: request.to == NUMBERS[1], times=1)
    assert send(file, journal, sandbox).exit_code == 1
    assert (lost.met, taken.met) == (1, 1)
    result = run("reconcile", journal, "--json", environment={"CALLBELL_TOKEN": TOKEN})
    assert result.exit_code == 1
    unresolved, counts = json_lines(result.stdout)
    assert counts == {"inferred": 1, "confirmed": 0, "unresolved": 1}
    (entry,) = json_lines(run("export", journal, "--jsonl", "--outcome", "unknown").stdout)
    assert (unresolved["key"], unresolved["outcome"]) == (entry["key"], "unknown")
    result = run("reconcile", journal, environment=environment_for(sandbox))
    assert result.stdout.splitlines()[0].startswith(entry["key"])
    counts_shown = [line.split() for line in result.stdout.splitlines()[1:]]
    assert counts_shown == [["inferred", "0"], ["confirmed", "0"], ["unresolved", "1"]]
    assert NUMBERS[0] not in result.output


def test_reconcile_with_nothing_left_is_status_0(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """Where no outcome is unknown there is nothing to do."""
    assert send(file, journal, sandbox).exit_code == 0
    assert run("reconcile", journal, environment=environment_for(sandbox)).exit_code == 0


def test_export_is_every_entry(sent: Path, tmp_path: Path) -> None:
    """`export` writes each entry in the order it was tried: CSV to standard output, JSONL or a file if asked for."""
    result = run("export", sent)
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert sorted(row["to"] for row in rows) == NUMBERS
    assert {row["to"]: row["outcome"] for row in rows}[NUMBERS[1]] == "rejected"
    target = tmp_path / "out.jsonl"
    result = run("export", sent, "--jsonl", "--output", target, "--outcome", "rejected", "--outcome", "unknown")
    assert (result.stdout, result.stderr) == ("", "1 entry\n")
    (entry,) = json_lines(target.read_text())
    assert entry["body"]["content"] == {"text": "Hi Ada"}
    assert entry["attempts"] == 1
    assert "400" in entry["reason"]


@pytest.mark.parametrize(
    ("target", "said"),
    [("none/x.csv", "can't be written"), (".", "can't be written"), ("spring journal.db", "is the journal")],
)
def test_export_to_a_wrong_place_is_one_line(sent: Path, target: str, said: str) -> None:
    """A file that can't be written is said, and the journal itself is not written over."""
    before = sent.read_bytes()
    result = run("export", sent, "--output", sent.parent / target)
    assert result.exit_code == 2
    assert said in result.stderr
    assert sent.read_bytes() == before


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


class Gate:
    """Keeps the answers to all messages after the first five back until it is opened."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._read = threading.Semaphore(0)
        self._open = asyncio.Event()
        self._loops: list[asyncio.AbstractEventLoop] = []
        sandbox.inject(
            faults.no_response(self._note, until=self._open), when=lambda request: len(sandbox.messages) >= 5
        )

    def wait_for(self, count: int) -> None:
        """Return when so many messages wait for their answer."""
        for _ in range(count):
            self._read.acquire()

    def open(self) -> None:
        """Let them be answered, and all that come."""
        self._loops[0].call_soon_threadsafe(self._open.set)

    def _note(self) -> None:
        self._loops.append(asyncio.get_running_loop())
        self._read.release()


def interrupt_once(process: subprocess.Popen[str], gate: Gate, number: signal.Signals) -> tuple[list[Any], list[str]]:
    """Send the signal when five are done and five are under way, let these end, and give what was written."""
    assert process.stdout is not None
    assert process.stderr is not None
    results = [json_lines(process.stdout.readline())[0] for _ in range(5)]
    gate.wait_for(5)
    process.send_signal(number)
    said = [process.stderr.readline()]
    while "interrupted: finishing what is under way" not in said[-1]:
        said.append(process.stderr.readline())
    gate.open()
    out, err = process.communicate()
    return [*results, *json_lines(out)], [*said, *err.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_finishes_what_is_under_way(
    file: Path, journal: Path, sandbox: Sandbox, number: signal.Signals
) -> None:
    """The first signal feeds nothing more and waits for what was begun; it says how to resume, and that command sends the rest."""
    file.write_text("to,name\n" + "".join(f"+44770090{place:04},Ada\n" for place in range(200)))
    arguments = ["send-many", file, "--text", "Hi", "--journal", journal, "--concurrency", "5", "--json"]
    gate = Gate(sandbox)
    with started(*arguments, environment=environment_for(sandbox)) as process:
        (*results, counts), said = interrupt_once(process, gate, number)
        assert process.returncode == 128 + number
    assert counts["accepted"] == counts["total"] - counts["skipped"] == len(sandbox.messages) == 10
    assert len(results) == counts["total"]
    assert said[-1] == f"interrupted; for the rest: callbell-async resume '{journal}'"
    assert not any("skipped" in line for line in said)
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert len(set(recipients(sandbox))) == len(sandbox.messages) == 200


def test_two_interrupts_leave_at_once_with_the_journal_whole(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """The second signal cuts off what hangs; the journal knows which messages may have arrived, and none of them is sent again."""
    rule = sandbox.inject(faults.no_response(accept=True), when=lambda request: request.to in NUMBERS[:3])
    arguments = ["send-many", file, "--text", "Hi", "--journal", journal, "--json"]
    with started(*arguments, environment=environment_for(sandbox)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in NUMBERS[3:]:
            assert "accepted" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        while "interrupted: finishing" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    *cut_off, counts = json_lines(out)
    assert [one["outcome"] for one in cut_off] == ["unknown"] * 3
    assert (counts["accepted"], counts["unknown"]) == (7, 3)
    assert "Traceback" not in err
    rule.remove()
    assert run("resume", journal, environment=environment_for(sandbox)).exit_code == 1
    assert run("reconcile", journal, environment=environment_for(sandbox)).exit_code == 0
    assert recipients(sandbox) == NUMBERS


def test_an_interrupt_while_the_input_is_waited_for(journal: Path, sandbox: Sandbox) -> None:
    """A pipe that says nothing does not hold up the end, and the remedy fits an input that can't be read again."""
    arguments = ["send-many", "-", "--text", "Hi", "--journal", journal, "--json"]
    with started(*arguments, environment=environment_for(sandbox), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(f"to\n{NUMBERS[0]}\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
        assert process.wait() == 130
    assert "give the same input to the same command, with --journal" in err
    assert recipients(sandbox) == NUMBERS[:1]


def test_an_interrupt_leaves_the_rest_among_the_failed_rows(file: Path, sandbox: Sandbox) -> None:
    """Without a journal the rows that were not tried are written to `--failed-to`, so that nothing is lost and nothing sent twice."""
    numbers = [f"+44770090{place:04}" for place in range(200)]
    file.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in numbers))
    failed = file.with_name("failed.csv")
    arguments = ["send-many", file, "--text", "Hi", "--failed-to", failed, "--concurrency", "5", "--json"]
    gate = Gate(sandbox)
    with started(*arguments, environment=environment_for(sandbox)) as process:
        _, said = interrupt_once(process, gate, signal.SIGINT)
        assert process.returncode == 130
    left = [line.split(",") for line in failed.read_text().splitlines()[1:]]
    assert len(left) == 190
    assert sorted([*recipients(sandbox), *(row[0] for row in left)]) == numbers
    assert {tuple(row[2:]) for row in left} == {("skipped", "the run was stopped before it")}
    assert said[-1].startswith(("interrupted: everything up to line ", "interrupted: nothing after line "))


def test_what_an_earlier_run_sent_is_not_among_the_rows_left(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """After an interrupt `--failed-to` has no row that the journal knows to be accepted, or that may have been: fed in alone, it is sent once."""
    sandbox.inject(faults.accept_then_close(), when=lambda request: request.to == NUMBERS[9], times=1)
    earlier = file.with_name("earlier.csv")
    earlier.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in NUMBERS[5:]))
    assert send(earlier, journal, sandbox).exit_code == 1
    file.write_text(file.read_text() + "nobody,Ada\n")
    failed = file.with_name("failed.csv")
    at_once = asyncio.Event()
    at_once.set()
    interrupt = faults.no_response(lambda: os.kill(os.getpid(), signal.SIGINT), until=at_once)
    sandbox.inject(interrupt, when=lambda request: request.to == NUMBERS[0], times=1)
    result = send(file, journal, sandbox, "--failed-to", str(failed), "--concurrency", "1")
    assert result.exit_code == 130
    assert "1 row may have been accepted and is not in --failed-to" in result.stderr
    left = [line.split(",")[0] for line in failed.read_text().splitlines()[1:]]
    assert left[-1] == "nobody"
    assert sorted([*recipients(sandbox), *left[:-1]]) == NUMBERS


def test_after_a_refused_token_only_what_is_left_is_among_the_rows_left(
    file: Path, journal: Path, sandbox: Sandbox
) -> None:
    """A run that Callbell stops writes no row to `--failed-to` that an earlier run had sent, or may have: fed in alone, it is sent once."""
    sandbox.inject(faults.accept_then_close(), when=lambda request: request.to == NUMBERS[9], times=1)
    earlier = file.with_name("earlier.csv")
    earlier.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in NUMBERS[5:]))
    assert send(earlier, journal, sandbox).exit_code == 1
    failed = file.with_name("failed.csv")
    sandbox.inject(faults.token_revoked(), times=1)
    result = send(file, journal, sandbox, "--failed-to", str(failed), "--concurrency", "1")
    assert "1 row may have been accepted and is not in --failed-to" in result.stderr
    assert "(4 of them already done)" in result.stdout
    left = [line.split(",")[0] for line in failed.read_text().splitlines()[1:]]
    assert left == NUMBERS[:5]


@pytest.mark.parametrize("journalled", [True, False])
def test_an_interrupted_run_accounts_for_every_row(
    file: Path, journal: Path, sandbox: Sandbox, journalled: bool
) -> None:
    """Whatever the moment, each row was accepted or is among the rows that were not; each that was given out has a result."""
    numbers = [f"+44770090{place:04}" for place in range(200)]
    file.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in numbers))
    failed = file.with_name("failed.csv")
    at_once = asyncio.Event()
    at_once.set()
    sandbox.inject(
        faults.no_response(lambda: os.kill(os.getpid(), signal.SIGINT), until=at_once),
        when=lambda request: len(sandbox.messages) == 20,
        times=1,
    )
    arguments = ["send-many", file, "--text", "Hi", "--failed-to", failed, "--json"]
    more = ["--journal", str(journal)] if journalled else []
    result = run(*arguments, *more, environment=environment_for(sandbox))
    assert result.exit_code == 130
    *results, counts = json_lines(result.stdout)
    assert len(results) == counts["total"]
    left = [line.split(",")[0] for line in failed.read_text().splitlines()[1:]]
    assert sorted([*recipients(sandbox), *left]) == numbers


def test_an_interrupted_stream_says_how_to_go_on(journal: Path, sandbox: Sandbox) -> None:
    """What comes from standard input is not there a second time for `resume`: the remedy says so."""
    at_once = asyncio.Event()
    at_once.set()
    interrupt = faults.no_response(lambda: os.kill(os.getpid(), signal.SIGINT), until=at_once)
    sandbox.inject(interrupt, when=lambda request: len(sandbox.messages) == 5, times=1)
    rows = "to,name\n" + "".join(f"+44770090{place:04},Ada\n" for place in range(500))
    result = send("-", journal, sandbox, stdin=rows)
    assert result.exit_code == 130
    assert f"give the same input to the same command, with --journal '{journal}' again" in result.stderr
    assert send("-", journal, sandbox, stdin=rows).exit_code == 0
    assert len(set(recipients(sandbox))) == len(sandbox.messages) == 500


def test_a_message_is_what_a_program_would_send(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A program that goes on with the command line's journal sends nothing twice either: keys come from the message."""
    assert send(file, journal, sandbox).exit_code == 0

    async def main() -> int:
        from callbell_async import CallbellClient

        messages = [TextMessage(to=number, text="Hi Ada") for number in NUMBERS]
        async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
            return (await callbell.send_many(messages, journal=Journal(journal))).skipped

    assert asyncio.run(main()) == 10
    assert recipients(sandbox) == NUMBERS
