"""`send-many --journal`: nothing is sent twice, and journals that can't be used are refused."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from callbell_async import Journal
from callbell_async.journal.files import SIDE_FILES
from callbell_async.sandbox import Sandbox, faults
from tests.support.command_line import environment_for, json_lines, run
from tests.support.journal_commands import NUMBERS, TOKEN, recipients, send
from tests.support.threaded_sandbox import sandbox_in_a_thread

# --- duplicates -------------------------------------------------------------------------------------------------------


def test_a_second_run_sends_nothing_twice(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """The same command with the same journal sends nothing: status 0, and the counts have the reason."""
    assert send(file, journal, sandbox).exit_code == 0
    result = send(file, journal, sandbox)
    assert result.exit_code == 0
    assert "skipped     10 (10 of them duplicates)" in result.stdout
    assert "never_sent" not in result.stderr
    assert recipients(sandbox) == NUMBERS


def test_a_row_given_twice_is_sent_once(tmp_path: Path, journal: Path, sandbox: Sandbox) -> None:
    """The second of two equal rows is skipped as a duplicate; with `--key-column`, rows with one key are equal."""
    file = tmp_path / "in.csv"
    file.write_text(f"to,name,id\n{NUMBERS[0]},Ada,1\n{NUMBERS[0]},Ada,2\n{NUMBERS[1]},Ada,2\n")
    result = send(file, journal, sandbox, "--json", "--concurrency", "1")
    assert result.exit_code == 0
    assert [(one["line"], one["outcome"], one["reason"]) for one in json_lines(result.stdout)[:-1]] == [
        (2, "accepted", None),
        (3, "skipped", "duplicate of line 2"),
        (4, "accepted", None),
    ]
    other = journal.with_name("by key.db")
    result = send(file, other, sandbox, "--json", "--key-column", "id", "--concurrency", "1")
    assert [(one["key"], one["outcome"]) for one in json_lines(result.stdout)[:-1]] == [
        ("1", "accepted"),
        ("2", "accepted"),
        ("2", "skipped"),
    ]


def test_a_message_that_may_have_been_accepted_is_not_sent_again(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """An unknown message stays unknown in a second run, whose status is 1; it is not in `--failed-to`."""
    failed = file.with_name("failed.csv")
    sandbox.inject(faults.accept_then_close(), when=lambda request: request.to == NUMBERS[3])
    assert send(file, journal, sandbox).exit_code == 1
    result = send(file, journal, sandbox, "--failed-to", str(failed))
    assert result.exit_code == 1
    assert "line 5: skipped: may have been accepted already" in result.stderr
    assert "1 row may have been accepted" in result.stderr
    assert failed.read_text() == "to,name,outcome,reason\n"
    assert recipients(sandbox) == NUMBERS


# --- a journal of another server --------------------------------------------------------------------------------------


def test_a_journal_of_the_sandbox_is_refused_for_callbell(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A journal of the sandbox is refused for Callbell, because its messages would not be sent to Callbell."""
    arguments = ["send-many", file, "--text", "Hi", "--journal", journal]
    assert run(*arguments, "--sandbox").exit_code == 0
    result = run(*arguments, environment=environment_for(sandbox))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        f"callbell-async: --journal: the messages in {journal} were sent with --sandbox; use another journal",
    )
    assert sandbox.messages == []
    # Commands that need no server still work; those that need it are refused with the reason.
    assert run("resume", journal).exit_code == run("resume", journal, "--sandbox").exit_code == 0
    for command, token in itertools.product((["reconcile", journal], ["status", journal, "--refresh"]), (TOKEN, "")):
        result = run(*command, environment={"CALLBELL_TOKEN": token})
        assert result.exit_code == 2
        assert "were sent with --sandbox, and that mock Callbell server ended with the run" in result.stderr
        assert "start `callbell-async sandbox`" in result.stderr


def test_a_journal_of_callbell_is_refused_for_the_sandbox(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """With a journal of Callbell, `--sandbox` is refused, because its messages would count as accepted."""
    assert send(file, journal, sandbox).exit_code == 0
    result = send(file, journal, sandbox, "--sandbox")
    assert result.exit_code == 2
    assert "were sent to Callbell, not with --sandbox; use another journal" in result.stderr


def test_a_journal_of_a_run_that_sent_nothing_is_accepted(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """If the sandbox accepted nothing, its journal may be used for Callbell."""
    bad = file.with_name("bad.csv")
    bad.write_text("to,name\nnobody,Ada\n")
    assert send(bad, journal, sandbox, "--sandbox").exit_code == 1
    assert send(file, journal, sandbox).exit_code == 0
    assert recipients(sandbox) == NUMBERS


def test_another_address_is_printed(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A run to another address than the last one prints both, and that accepted messages are not sent again."""
    assert send(file, journal, sandbox).exit_code == 0
    assert "the last run" not in send(file, journal, sandbox).stderr
    with sandbox_in_a_thread(TOKEN) as other:
        result = send(file, journal, other)
        note = f"{journal}: the last run sent to {sandbox.url}, this one sends to {other.url}; accepted messages are not sent again"
    assert result.exit_code == 0
    assert note in result.stderr.splitlines()


def test_notes_of_another_version_are_one_line(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`resume` ends with the remedy if the journal has options of another version."""
    assert send(file, journal, sandbox).exit_code == 0

    async def write() -> None:
        async with Journal(journal) as opened:
            await opened.write_notes({"options": '{"form": {}, "sandbox": false, "base_url": null, "warp": 9}'})

    asyncio.run(write())
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "was written by another version of this program; run the same send-many --journal again" in result.stderr


# --- a journal that can't be used -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["resume", "status", "reconcile", "export"])
def test_a_missing_journal_is_not_created(tmp_path: Path, command: str) -> None:
    """A command that only reads a journal does not create one."""
    path = tmp_path / "none.db"
    result = run(command, path)
    assert (result.exit_code, result.stderr) == (2, f"callbell-async: {path}: there is no such journal\n")
    assert not path.exists()


@pytest.mark.parametrize("command", ["resume", "status", "export", "send-many"])
def test_a_file_of_another_kind_is_one_line(file: Path, journal: Path, sandbox: Sandbox, command: str) -> None:
    """A file of another kind ends a command with the status 3, and is not changed."""
    journal.write_text("no journal at all, but a letter\n" * 100)
    result = send(file, journal, sandbox) if command == "send-many" else run(command, journal)
    assert result.exit_code == 3
    assert result.stderr.count("callbell-async: ") == 1
    assert "Traceback" not in result.stderr
    assert journal.read_text().startswith("no journal at all")
    assert sandbox.messages == []


def test_a_journal_in_use_is_one_line(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A second process with the same journal ends with the status 3 and sends nothing."""

    async def main() -> Any:
        async with Journal(journal):
            return await asyncio.to_thread(send, file, journal, sandbox)

    result = asyncio.run(main())
    assert result.exit_code == 3
    assert "in use" in result.stderr
    assert sandbox.messages == []


def test_failed_to_overwrites_no_file_in_use(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`--failed-to` does not empty the file of a run that is refused, and can't be the journal."""
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
    # Also a journal that does not exist.
    result = send(file, journal.with_name("new.db"), sandbox, "--failed-to", str(journal.with_name("new.db")))
    assert result.exit_code == 2


ENDS = ["", *SIDE_FILES]


@pytest.mark.parametrize("spelling", ["same path", "other path", "link to the folder", "link to the journal", "link"])
@pytest.mark.parametrize("end", ENDS)
def test_no_output_overwrites_a_file_of_the_journal(
    file: Path, journal: Path, sandbox: Sandbox, end: str, spelling: str
) -> None:
    """`--failed-to` and `export --output` refuse every file of a journal, existing or not, under any path."""
    assert send(file, journal, sandbox).exit_code == 0
    part = journal.with_name(journal.name + end)
    named, target = journal, part
    match spelling:
        case "other path":
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


def test_the_input_cannot_be_the_journal(file: Path, sandbox: Sandbox) -> None:
    """The input file is refused as the journal."""
    result = send(file, file, sandbox)
    assert result.exit_code == 2
    assert "is the input file" in result.stderr
