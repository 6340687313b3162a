"""`callbell-async status`, `reconcile` and `export`."""

from __future__ import annotations

import asyncio
import csv
import io
from contextlib import nullcontext
from pathlib import Path

import pytest

from callbell_async import ConfigurationError, Journal
from callbell_async.cli.commands.journal import funnel_stages
from callbell_async.cli.connection import check_encrypted
from callbell_async.journal import ClaimRequest, writer_of
from callbell_async.sandbox import Sandbox, faults
from tests.support.command_line import environment_for, json_lines, run, started_in_terminal
from tests.support.journal_commands import NUMBERS, TOKEN, send


def test_status_prints_a_funnel(sent: Path, sandbox: Sandbox) -> None:
    """`status` shows the messages by outcome and status; `--refresh` requests the statuses first."""
    result = run("status", sent)
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[:5] == [["accepted", "9"], ["rejected", "1"], ["never_sent", "0"], ["unknown", "0"], ["skipped", "0"]]
    assert rows[6:8] == [["enqueued", "9", "100", "%"], ["sent", "0", "0", "%"]]
    result = run("status", sent, "--refresh", environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"using {sandbox.url}",
        "refreshed the status of 9 messages: 9 changed, 0 failed",
    ]
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[6:] == [
        ["enqueued", "9", "100", "%"],
        ["sent", "8", "89", "%"],
        ["delivered", "8", "89", "%"],
        ["read", "8", "89", "%"],
        ["failed", "1", "11", "%"],
    ]


def test_status_as_json(sent: Path, sandbox: Sandbox) -> None:
    """`--json` prints both counts as one object; a failed status request makes the exit status 1."""
    sandbox.inject(faults.respond(404, {"error": "not found"}), when=lambda request: request.method == "GET", times=1)
    result = run("status", sent, "--json", "--refresh", environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert json_lines(result.stdout)[0]["outcomes"]["accepted"] == 9
    assert json_lines(result.stdout)[0]["funnel"]["enqueued"] == 9


def test_a_terminal_gets_bars(sent: Path) -> None:
    """On a terminal the funnel has bars."""
    with started_in_terminal("status", sent) as (_, terminal):
        lines = [line.split() for line in terminal.read().splitlines()]
    assert ["enqueued", "9", "100", "%", "█" * 40] in lines
    assert ["sent", "0", "0", "%"] in lines


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({}, {"enqueued": 0, "sent": 0, "delivered": 0, "read": 0}),
        ({"enqueued": 1, "sent": 2, "delivered": 3, "read": 4}, {"enqueued": 10, "sent": 9, "delivered": 7, "read": 4}),
        (
            {"read": 1, "failed": 2, "mismatch": 0, "on its way": 3},
            {"enqueued": 6, "sent": 1, "delivered": 1, "read": 1, "failed": 2, "on its way": 3},
        ),
    ],
)
def test_a_stage_counts_later_stages_too(statuses: dict[str, int], expected: dict[str, int]) -> None:
    """A message that was read was also delivered; failures and unknown statuses are listed apart, and all messages were enqueued."""
    assert funnel_stages(statuses) == expected


# --- reconcile and export ---------------------------------------------------------------------------------------------


def test_reconcile_resolves_messages_in_the_history(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`reconcile` finds messages that were accepted without a response, lists the others, and then has the exit status 1."""
    lost = sandbox.inject(faults.close_after_reading(), when=lambda request: request.to == NUMBERS[0], times=1)
    accepted = sandbox.inject(faults.accept_then_close(), when=lambda request: request.to == NUMBERS[1], times=1)
    assert send(file, journal, sandbox).exit_code == 1
    assert (lost.applied, accepted.applied) == (1, 1)
    result = run("reconcile", journal, "--json", environment=environment_for(sandbox))
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


def test_reconcile_without_unknown_messages_has_status_0(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """`reconcile` has the exit status 0 if no outcome is unknown."""
    assert send(file, journal, sandbox).exit_code == 0
    assert run("reconcile", journal, environment=environment_for(sandbox)).exit_code == 0


def test_export_writes_every_entry(sent: Path, tmp_path: Path) -> None:
    """`export` writes all entries in the order of their attempts: CSV to standard output, or JSONL, or a file."""
    result = run("export", sent)
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert sorted(row["to"] for row in rows) == NUMBERS
    by_number = {row["to"]: row for row in rows}
    assert (by_number[NUMBERS[0]]["outcome"], by_number[NUMBERS[0]]["confirmed_by"]) == ("accepted", "response")
    assert (by_number[NUMBERS[1]]["outcome"], by_number[NUMBERS[1]]["confirmed_by"]) == ("rejected", "")
    target = tmp_path / "out.jsonl"
    result = run("export", sent, "--jsonl", "--output", target, "--outcome", "rejected", "--outcome", "unknown")
    assert (result.stdout, result.stderr) == ("", "1 entry\n")
    (entry,) = json_lines(target.read_text())
    assert entry["body"]["content"] == {"text": "Hi Ada"}
    assert entry["attempts"] == 1
    assert "400" in entry["reason"]


async def test_export_refuses_a_body_that_is_not_a_message(tmp_path: Path) -> None:
    """A body that another program wrote into the journal is one line with the key and the remedy."""
    async with Journal(tmp_path / "spring.db") as journal:
        writer = writer_of(journal)
        await writer.claim([ClaimRequest("order-7", b"[1]", 0)], run=await writer.begin_run())
    result = await asyncio.to_thread(run, "export", tmp_path / "spring.db")
    assert result.exit_code == 3
    assert "'order-7' has a body that is not a message" in result.stderr
    assert "restore a good copy" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "error"),
    [("none/x.csv", "can't be written"), (".", "can't be written"), ("spring journal.db", "is the journal")],
)
def test_export_to_a_wrong_place_is_one_line(sent: Path, target: str, error: str) -> None:
    """An output that can't be written is an error in one line, and the journal is not overwritten."""
    before = sent.read_bytes()
    result = run("export", sent, "--output", sent.parent / target)
    assert result.exit_code == 2
    assert error in result.stderr
    assert sent.read_bytes() == before


@pytest.mark.parametrize("command", [["status", "--refresh"], ["reconcile"], ["resume"]])
def test_a_journal_does_not_decide_where_the_token_goes(
    file: Path, journal: Path, sandbox: Sandbox, command: list[str]
) -> None:
    """The address stored in a journal alone is refused before anything is sent; given by the user, it is used and printed."""
    sandbox.inject(faults.close_after_reading(), when=lambda request: request.to == NUMBERS[0], times=1)
    assert send(file, journal, sandbox).exit_code == 1
    requests = len(sandbox.requests)
    result = run(*command, journal, environment={"CALLBELL_TOKEN": TOKEN})
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"callbell-async: the journal's messages were sent to {sandbox.url}, not to Callbell; "
        f"to send the API token there, give --base-url {sandbox.url}\n"
    )
    assert len(sandbox.requests) == requests
    result = run(*command, journal, "--base-url", sandbox.url, environment={"CALLBELL_TOKEN": TOKEN})
    assert f"using {sandbox.url}" in result.stderr.splitlines()
    assert result.exit_code in (0, 1)
    assert len(sandbox.requests) > requests or command == ["resume"]


@pytest.mark.parametrize("command", [["status", "--refresh"], ["reconcile"], ["resume"]])
def test_a_journal_of_callbell_can_not_be_tried_in_the_sandbox(
    file: Path, journal: Path, sandbox: Sandbox, command: list[str]
) -> None:
    """Without a token, the commands for a journal of Callbell do not advise `--sandbox`, which they would refuse."""
    assert send(file, journal, sandbox).exit_code == 0
    result = run(*command, journal, environment={"CALLBELL_BASE_URL": sandbox.url})
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "callbell-async: no token; set CALLBELL_TOKEN or use --token-file FILE"


@pytest.mark.parametrize(
    "command", [["me"], ["send", NUMBERS[0], "--text", "Hi"], ["send-many", "x.csv", "--text", "Hi"]]
)
def test_the_token_is_not_sent_unencrypted_to_another_machine(file: Path, command: list[str]) -> None:
    """A base URL with `http` is refused, unless it is an address of this machine."""
    command = [str(file) if argument == "x.csv" else argument for argument in command]
    result = run(*command, "--base-url", "http://callbell.example/v1", environment={"CALLBELL_TOKEN": TOKEN})
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        "--base-url: http://callbell.example/v1 is another machine, and http would send the API token to it unencrypted"
        in (result.stderr)
    )


@pytest.mark.parametrize(
    ("base_url", "refused"),
    [
        (None, False),
        ("https://callbell.example/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://localhost/v1", False),
        ("HTTP://Callbell.example", True),
        ("http://localhost.example", True),
        ("http://192.0.2.1", True),
        ("http://[::1", True),
    ],
)
def test_only_http_to_another_machine_is_refused(base_url: str | None, refused: bool) -> None:
    """`http` to another machine and invalid URLs are refused."""
    with pytest.raises(ConfigurationError) if refused else nullcontext():
        check_encrypted(base_url)
