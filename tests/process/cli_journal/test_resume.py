"""`callbell-async resume`: the rest of a run, and messages that are sent again by key."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from callbell_async import Journal
from callbell_async.cli.saved_run import read_keys, saved_options
from callbell_async.sandbox import Sandbox, faults
from tests.support.command_line import counts_in, environment_for, json_lines, run
from tests.support.journal_commands import NUMBERS, TOKEN, recipients, send


def test_resume_sends_the_rest(file: Path, journal: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`resume` needs the journal, the token and the address: the file and the texts are in the journal, the token is not."""
    monkeypatch.chdir(file.parent)
    refused = sandbox.inject(faults.token_revoked(), when=lambda request: len(sandbox.messages) >= 4)
    arguments = ["send-many", file.name, "--text", "Hi {name}", "--journal", journal, "--concurrency", "1"]
    assert run(*arguments, environment=environment_for(sandbox)).exit_code == 1
    assert len(sandbox.messages) == 4
    refused.remove()
    monkeypatch.chdir("/")
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert counts_in(result.stdout.replace(" (4 of them duplicates)", ""))["accepted"] == 6
    assert recipients(sandbox) == NUMBERS
    assert {message.body["content"]["text"] for message in sandbox.messages} == {"Hi Ada"}
    for part in journal.parent.iterdir():
        assert TOKEN.encode() not in part.read_bytes()


def test_a_rejected_token_ends_with_the_command_for_the_rest(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """After a rejected token, the last lines have the reason and the command for the rest; without a journal, the number of unsent rows."""
    sandbox.inject(faults.token_revoked(), when=lambda request: len(sandbox.messages) >= 4)
    result = send(file, journal, sandbox, "--concurrency", "1")
    assert result.exit_code == 1
    reason, rest = result.stderr.splitlines()[-2:]
    assert reason.startswith("the run was stopped: POST /messages/send: 401 ")
    assert rest == f"stopped; to send the rest: callbell-async resume '{journal}' --base-url {sandbox.url}"
    result = run("send-many", file, "--text", "Hi", "--concurrency", "1", environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "stopped: 9 rows were not sent up to line 11, and none after it was tried (--failed-to FILE keeps such rows)"
    )


@pytest.mark.slow
def test_resume_applies_the_maximum_concurrency(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A journal without a concurrency is resumed without one, and one with more than the maximum with the maximum."""
    assert send(file, journal, sandbox).exit_code == 0

    async def concurrency(more: int | None = None) -> object:
        async with Journal(journal) as opened:
            options = saved_options(await opened.notes())
            if more is not None:
                await opened.write_notes({"options": json.dumps({**options, "concurrency": more})})
            return options["concurrency"]

    assert asyncio.run(concurrency()) is None
    assert run("resume", journal, environment=environment_for(sandbox)).exit_code == 0
    assert asyncio.run(concurrency()) is None
    asyncio.run(concurrency(more=99_999_999))
    assert run("resume", journal, environment=environment_for(sandbox)).exit_code == 0
    assert asyncio.run(concurrency()) == 10_000


def test_resume_needs_the_unchanged_file(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """If the file is missing or has changed, `resume` ends with one line that names the remedy, before anything is sent."""
    assert send(file, journal, sandbox).exit_code == 0
    moved = file.rename(file.with_name("moved.csv"))
    result = run("resume", journal, environment=environment_for(sandbox))
    assert (result.exit_code, result.stderr) == (
        2,
        f"callbell-async: {file}: can't be read (No such file or directory); resuming {journal} needs this file\n",
    )
    file.write_text(moved.read_text().replace("Ada", "Bob"))
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "has changed since the run; to send its present content, run send-many --journal" in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(sandbox.messages) == 10


def test_standard_input_cannot_be_resumed_but_sent_again(journal: Path, sandbox: Sandbox) -> None:
    """Standard input can't be read again: `resume` names another command, and it works."""
    rows = "to,name\n" + "".join(f"{number},Ada\n" for number in NUMBERS[:3])
    assert send("-", journal, sandbox, stdin=rows).exit_code == 0
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "came from standard input, which can't be read again; run the same send-many --journal" in result.stderr
    assert send("-", journal, sandbox, stdin=rows).exit_code == 0
    assert recipients(sandbox) == NUMBERS[:3]


def test_only_a_journal_of_send_many_can_be_resumed(journal: Path, sandbox: Sandbox) -> None:
    """A journal of another program has no input file, and can't be resumed."""

    async def write() -> None:
        async with Journal(journal):
            pass

    asyncio.run(write())
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "only a journal of send-many can be resumed. To send the rest, run the program again" in result.stderr


def test_a_message_is_sent_again_by_its_key(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`resume --resend KEY` sends one `UNKNOWN` message again and no other; another key is refused."""
    rule = sandbox.inject(faults.close_after_reading(), when=lambda request: request.to in NUMBERS[:2])
    assert send(file, journal, sandbox).exit_code == 1
    rule.remove()
    unknown = json_lines(run("export", journal, "--jsonl", "--outcome", "unknown").stdout)
    key = next(entry["key"] for entry in unknown if entry["to"] == NUMBERS[0])
    result = run("resume", journal, "--resend", "nothing", environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("callbell-async: --resend: ")
    result = run("resume", journal, "--resend", key, environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert recipients(sandbox) == [NUMBERS[0], *NUMBERS[2:]]


def test_messages_are_sent_again_by_a_file(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`resume --resend-file` takes the output of `export`, without the lines that were removed, and prints their number; other messages stay unknown."""
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
    # JSONL from standard input, and a key that is also in it.
    lines = run("reconcile", journal, "--json", environment=environment_for(sandbox)).stdout.splitlines()[:-1]
    key = json_lines(lines[0])[0]["key"]
    arguments = ["resume", journal, "--resend-file", "-", "--resend", key]
    result = run(*arguments, environment=environment_for(sandbox), stdin="\n".join(lines))
    assert result.exit_code == 0
    assert recipients(sandbox) == NUMBERS


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "7a4425f87b79ef4469ff609db2a98132\n",
            "has no column 'key'; it must be a file that export wrote, with its header row",
        ),
        ("key,to\nabc,1\n,2\n", "has no key"),
        ("key,to\nabc\n", "has 1 cell, and the header row has 2"),
        ('{"key": "abc"}\n{"inferred": 1, "confirmed": 0, "unresolved": 1}\n', "has no key"),
        ("key\nabc\n", "1 of 1 keys do not belong to UNKNOWN messages; nothing was changed"),
    ],
    ids=["no header row", "no key", "ragged", "counts", "not unknown"],
)
def test_a_file_without_keys_is_one_line(file: Path, journal: Path, sandbox: Sandbox, content: str, error: str) -> None:
    """A file without keys, or with a key that is not unknown, ends the command before anything is sent."""
    sandbox.inject(faults.close_after_reading(), when=lambda request: request.to == NUMBERS[0], times=1)
    assert send(file, journal, sandbox).exit_code == 1
    keys = journal.with_name("keys")
    keys.write_text(content)
    result = run("resume", journal, "--resend-file", keys, environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("callbell-async: --resend")
    assert error in result.stderr
    assert recipients(sandbox) == NUMBERS[1:]


def test_a_key_is_read_exactly(tmp_path: Path) -> None:
    """A key keeps its spaces, and loses the apostrophe that `export` put before a formula, so that it names the same message."""
    keys = tmp_path / "keys"
    keys.write_text("to,key\n1, a\n2,a\n")
    assert list(read_keys(keys)) == [" a", "a"]
    keys.write_text("to,key\n1,'=a\n2,''-a\n3,'a\n")
    assert list(read_keys(keys)) == ["=a", "'-a", "'a"]
    keys.write_text('{"key": " a"}\n')
    assert list(read_keys(keys)) == [" a"]


def test_a_path_that_a_journal_cannot_store_is_named(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """An input whose name is not UTF-8 is sent without a journal; with one it is refused before anything is sent."""
    odd = file.with_name("list \udcff.csv")
    try:
        file.rename(odd)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    result = send(odd, journal, sandbox)
    assert result.exit_code == 2
    assert "its path is not UTF-8, so --journal can't store it for resume; rename the file" in result.stderr
    assert sandbox.messages == []
    assert run("send-many", odd, "--text", "Hi", environment=environment_for(sandbox)).exit_code == 0
