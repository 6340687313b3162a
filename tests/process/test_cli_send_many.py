"""`callbell-async send-many`: its results, and its end when output or input is closed."""

from __future__ import annotations

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
from tests.support.recipients import ADA, GRACE, TOKEN, recipients, write_recipients
from tests.support.threaded_sandbox import sandbox_in_a_thread


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A mock server that accepts one token."""
    with sandbox_in_a_thread(TOKEN) as sandbox:
        yield sandbox


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three recipients."""
    return write_recipients(tmp_path)


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
    """Output to a file or a pipe is UTF-8, whatever the locale."""
    file = tmp_path / "in.csv"
    file.write_text(f"to,name\n{ADA},Zoë 😀\n", encoding="utf-8")
    arguments = ["send-many", file, "--text", "Hi {name}", "--dry-run", "--json"]
    command = [sys.executable, "-m", "callbell_async", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out = subprocess.run(command, env=environment, check=True, capture_output=True).stdout
    assert json.loads(out.splitlines()[0])["body"]["content"]["text"] == "Hi Zoë 😀"
    assert "Zoë 😀".encode() in out


def test_json_has_an_object_a_result(file: Path, sandbox: Sandbox) -> None:
    """`--json`: line, key, outcome, uuid, attempts and reason of each on standard output, and the counts at the end."""
    sandbox.inject(faults.respond(400, {"error": "no"}), when=lambda request: request.to == GRACE)
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
        "opted_out": 0,
    }


def test_no_output_has_a_number_a_text_or_the_token(tmp_path: Path, sandbox: Sandbox) -> None:
    """Results and errors name the line, and never contain the parts of a message that Callbell repeats in an error."""
    file = tmp_path / "in.csv"
    file.write_text(f"to,name\n{ADA},Ada Lovelace\nAda Lovelace,x\n{GRACE},Ada Lovelace\n")
    sandbox.inject(
        faults.respond(400, {"error": f"to {ADA} can't be sent: Dear Ada Lovelace"}), faults.accept_then_close()
    )
    for more in ([], ["--json"]):
        result = run("send-many", file, "--text", "Dear {name}", *more, environment=environment_for(sandbox))
        assert result.exit_code == 1
        for secret in (ADA, ADA[1:], GRACE, "Lovelace", TOKEN):
            assert secret not in result.output


@pytest.mark.slow
def test_too_few_file_descriptors_are_a_warning(file: Path, sandbox: Sandbox) -> None:
    """Where the process may open fewer files than messages are in flight at once, a warning names both numbers and the remedy."""
    limit = f"ulimit -n 120; exec {shlex.join([sys.executable, '-m', 'callbell_async'])} send-many {file} --text Hi"
    environment = {**os.environ, **environment_for(sandbox)}
    for more, warned in ((" --concurrency 100", True), (" --concurrency 20", False), ("", False)):
        done = subprocess.run(f"{limit}{more}", shell=True, env=environment, capture_output=True, text=True)
        assert done.returncode == 0
        assert (
            "callbell-async: warning: this process may open 120 files, too few for --concurrency=100" in done.stderr
        ) is warned


def test_rows_are_not_lost_when_nobody_reads_the_results(tmp_path: Path, sandbox: Sandbox) -> None:
    """When the reader of `--json` closes the pipe, the status is 1, standard error has the counts, and each row was accepted or is in `--failed-to`."""
    numbers = [f"+3460000{place:04}" for place in range(2_000)]
    file, failed = tmp_path / "in.csv", tmp_path / "failed.csv"
    file.write_text("to\n" + "".join(f"{number}\n" for number in numbers))
    refused = set(numbers[::7])
    sandbox.inject(faults.respond(400, {"error": "no"}), when=lambda request: request.to in refused)
    arguments = ["send-many", file, "--text", "Hi", "--failed-to", failed, "--json", "--concurrency", "20"]
    with started(*arguments, environment=environment_for(sandbox)) as process:
        err = leave_after_a_line(process)
        assert process.wait() == 1
    assert "Traceback" not in err
    assert err.splitlines()[-2].startswith("the output can't be written; so far: ")
    assert err.splitlines()[-1].startswith("the output can't be written: ")
    left = [line.split(",")[0] for line in failed.read_text().splitlines()[1:]]
    assert sorted([*recipients(sandbox), *left]) == numbers


@pytest.mark.slow
def test_streams_that_were_closed_before_are_no_traceback(file: Path, sandbox: Sandbox) -> None:
    """Without standard input, output or error the command does what is possible, and reports the rest on the stream that is open."""
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
def test_counts_are_on_standard_error_if_the_output_is_full(
    file: Path, tmp_path: Path, sandbox: Sandbox, refused: bool
) -> None:
    """If standard output is full, standard error has the counts, and the command for the rest if there is a rest."""
    journal = tmp_path / "spring.db"
    if refused:
        sandbox.inject(faults.respond(400, {"error": "no"}), when=lambda request: request.to == GRACE)
    arguments = ["send-many", file, "--text", "Hi", "--journal", journal]
    with (
        Path("/dev/full").open("w") as full,
        started(*arguments, environment=environment_for(sandbox), stdout=full) as process,
    ):
        _, err = process.communicate()
    assert process.returncode == 1
    lines = err.splitlines()
    counts = "2 accepted, 1 rejected" if refused else "3 accepted"
    assert f"the output can't be written; so far: {counts}" in lines
    rest = f"the output can't be written; to send the rest: callbell-async resume {journal} --base-url {sandbox.url}"
    assert (rest in lines) is refused
    assert lines[-1] == "callbell-async: the output can't be written: No space left on device"


@pytest.mark.parametrize("command", [["send-many", "-", "--text", "Hi", "--sandbox"], ["resume", "none.db"]])
def test_concurrency_has_a_bound(command: list[str]) -> None:
    """A concurrency that could need all memory of the machine is refused."""
    result = run(*command, "--concurrency", "10001")
    assert result.exit_code == 2
    assert "10001 is not in the range 1<=x<=10000" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("failed_to", [False, True])
def test_two_interrupts_count_the_rows_that_were_not_sent(file: Path, sandbox: Sandbox, failed_to: bool) -> None:
    """A row that waited for the rate limiter and was never sent is counted as not sent."""
    file.write_text("to\n" + "".join(f"+3460000{place:04}\n" for place in range(200)))
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
