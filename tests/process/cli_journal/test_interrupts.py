"""Signals during a run with a journal: no row is lost, and the rest can be sent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from callbell_async import Journal, TextMessage
from callbell_async.sandbox import Sandbox, faults
from tests.support.command_line import environment_for, json_lines, read_until, run, started
from tests.support.gate import Gate
from tests.support.journal_commands import NUMBERS, TOKEN, recipients, send


def interrupt_once(process: subprocess.Popen[str], gate: Gate, number: signal.Signals) -> tuple[list[Any], list[str]]:
    """Send the signal when five are accepted and five in flight, let these end, and return the results and the lines of standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    results = [json_lines(process.stdout.readline())[0] for _ in range(5)]
    gate.wait_for(5)
    process.send_signal(number)
    lines = read_until(process.stderr, "interrupted: waiting")
    gate.open()
    out, err = process.communicate()
    return [*results, *json_lines(out)], [*lines, *err.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_waits_for_requests_in_flight(
    file: Path, journal: Path, sandbox: Sandbox, number: signal.Signals
) -> None:
    """After the first signal no further row is sent, and requests in flight end; the command on the last line sends the rest."""
    file.write_text("to,name\n" + "".join(f"+3460000{place:04},Ada\n" for place in range(200)))
    arguments = ["send-many", file, "--text", "Hi", "--journal", journal, "--concurrency", "5", "--json"]
    gate = Gate(sandbox, after=5)
    with started(*arguments, environment=environment_for(sandbox)) as process:
        (*results, counts), lines = interrupt_once(process, gate, number)
        assert process.returncode == 128 + number
    assert counts["accepted"] == counts["total"] - counts["skipped"] == len(sandbox.messages) == 10
    assert len(results) == counts["total"]
    assert lines[-1] == f"interrupted; to send the rest: callbell-async resume '{journal}' --base-url {sandbox.url}"
    assert not any("skipped" in line for line in lines)
    result = run("resume", journal, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert len(set(recipients(sandbox))) == len(sandbox.messages) == 200


def test_a_second_interrupt_ends_the_run_at_once(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """The second signal ends requests in flight; their messages are `UNKNOWN` in the journal and not sent again."""
    rule = sandbox.inject(faults.no_response(accept=True), when=lambda request: request.to in NUMBERS[:3])
    arguments = ["send-many", file, "--text", "Hi", "--journal", journal, "--json"]
    with started(*arguments, environment=environment_for(sandbox)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in NUMBERS[3:]:
            assert "accepted" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted: waiting")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    *unknown, counts = json_lines(out)
    assert [one["outcome"] for one in unknown] == ["unknown"] * 3
    assert (counts["accepted"], counts["unknown"]) == (7, 3)
    assert "Traceback" not in err
    rule.remove()
    assert run("resume", journal, environment=environment_for(sandbox)).exit_code == 1
    assert run("reconcile", journal, environment=environment_for(sandbox)).exit_code == 0
    assert recipients(sandbox) == NUMBERS


def test_an_interrupt_while_the_run_waits_for_input(journal: Path, sandbox: Sandbox) -> None:
    """A pipe without data does not delay the end, and the remedy fits an input that can't be read again."""
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
    assert "run the same command with the same input and --journal" in err
    assert recipients(sandbox) == NUMBERS[:1]


def test_an_interrupt_leaves_the_rest_among_the_failed_rows(file: Path, sandbox: Sandbox) -> None:
    """Without a journal the rows that were not sent are written to `--failed-to`: no row is lost, and none is sent twice."""
    numbers = [f"+3460000{place:04}" for place in range(200)]
    file.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in numbers))
    failed = file.with_name("failed.csv")
    arguments = ["send-many", file, "--text", "Hi", "--failed-to", failed, "--concurrency", "5", "--json"]
    gate = Gate(sandbox, after=5)
    with started(*arguments, environment=environment_for(sandbox)) as process:
        _, lines = interrupt_once(process, gate, signal.SIGINT)
        assert process.returncode == 130
    left = [line.split(",") for line in failed.read_text().splitlines()[1:]]
    assert len(left) == 190
    assert sorted([*recipients(sandbox), *(row[0] for row in left)]) == numbers
    assert {tuple(row[2:]) for row in left} == {("skipped", "the run was stopped before it")}
    assert lines[-1] == "interrupted: 190 rows were not sent and are in --failed-to"


def test_messages_of_an_earlier_run_are_not_among_the_failed_rows(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """After an interrupt, `--failed-to` has no row that may have been accepted, so that sending its rows makes no copy."""
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


def test_a_rejected_token_leaves_only_unsent_rows_among_the_failed_rows(
    file: Path, journal: Path, sandbox: Sandbox
) -> None:
    """After a rejected token, `--failed-to` has no row that an earlier run may have sent, so that sending its rows makes no copy."""
    sandbox.inject(faults.accept_then_close(), when=lambda request: request.to == NUMBERS[9], times=1)
    earlier = file.with_name("earlier.csv")
    earlier.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in NUMBERS[5:]))
    assert send(earlier, journal, sandbox).exit_code == 1
    failed = file.with_name("failed.csv")
    sandbox.inject(faults.token_revoked(), times=1)
    result = send(file, journal, sandbox, "--failed-to", str(failed), "--concurrency", "1")
    assert "1 row may have been accepted and is not in --failed-to" in result.stderr
    assert "(4 of them duplicates)" in result.stdout
    left = [line.split(",")[0] for line in failed.read_text().splitlines()[1:]]
    assert left == NUMBERS[:5]


@pytest.mark.parametrize("with_journal", [True, False])
def test_an_interrupted_run_accounts_for_every_row(
    file: Path, journal: Path, sandbox: Sandbox, with_journal: bool
) -> None:
    """After an interrupt, each row was accepted or is in `--failed-to`, and has a result."""
    numbers = [f"+3460000{place:04}" for place in range(200)]
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
    more = ["--journal", str(journal)] if with_journal else []
    result = run(*arguments, *more, environment=environment_for(sandbox))
    assert result.exit_code == 130
    *results, counts = json_lines(result.stdout)
    assert len(results) == counts["total"]
    left = [line.split(",")[0] for line in failed.read_text().splitlines()[1:]]
    assert sorted([*recipients(sandbox), *left]) == numbers


@pytest.mark.slow
def test_an_interrupted_stream_has_a_remedy(journal: Path, sandbox: Sandbox) -> None:
    """The message after an interrupted stream has a command that sends the rest, and the command works."""
    at_once = asyncio.Event()
    at_once.set()
    interrupt = faults.no_response(lambda: os.kill(os.getpid(), signal.SIGINT), until=at_once)
    sandbox.inject(interrupt, when=lambda request: len(sandbox.messages) == 5, times=1)
    rows = "to,name\n" + "".join(f"+3460000{place:04},Ada\n" for place in range(500))
    result = send("-", journal, sandbox, stdin=rows)
    assert result.exit_code == 130
    assert f"run the same command with the same input and --journal '{journal}'" in result.stderr
    assert send("-", journal, sandbox, stdin=rows).exit_code == 0
    assert len(set(recipients(sandbox))) == len(sandbox.messages) == 500


def test_a_program_may_use_the_journal_of_the_command_line(file: Path, journal: Path, sandbox: Sandbox) -> None:
    """A program that uses the journal of the command line sends nothing twice, because keys are computed from the messages."""
    assert send(file, journal, sandbox).exit_code == 0

    async def main() -> int:
        from callbell_async import CallbellClient

        messages = [TextMessage(to=number, text="Hi Ada") for number in NUMBERS]
        async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
            return (await callbell.send_many(messages, journal=Journal(journal))).skipped

    assert asyncio.run(main()) == 10
    assert recipients(sandbox) == NUMBERS
