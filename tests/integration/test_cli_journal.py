"""The command line with a journal in PostgreSQL: machines share a file's work, and every command takes the URL."""

from __future__ import annotations

import csv
import io
import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from callbell_async.cli.exits import DONE, JOURNAL_UNUSABLE, NOT_ALL_DONE, WRONG_USE
from callbell_async.sandbox import Sandbox, SandboxThread
from tests.support.command_line import environment_for, run, started
from tests.support.gate import Gate
from tests.support.services import Service

PASSWORD = "s3cretpass"
ROWS = 200


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A mock server in a thread of its own, whose histories have the dates of this machine, as `reconcile` needs."""
    with SandboxThread(Sandbox(token="a-test-token", start=datetime.now(UTC))) as thread:
        yield thread.sandbox


@pytest.fixture
def url(postgres_service: Service) -> str:
    """The URL of a new journal. The server needs no password, and ignores it."""
    return postgres_service.url.replace("callbell@", f"callbell:{PASSWORD}@") + f"?name={secrets.token_hex(4)}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with rows that become different messages."""
    file = tmp_path / "rows.csv"
    lines = [f"+346000{number:05},row {number}" for number in range(ROWS)]
    file.write_text("\n".join(["to,text", *lines]), encoding="utf-8")
    return file


def test_two_machines_share_a_file(sandbox: Sandbox, url: str, file: Path) -> None:
    """Two send-many of the same file with the same journal send each row once between them; run again, both have nothing to send."""
    command = ("send-many", file, "--text", "{text}", "--journal", url, "--json")
    with ExitStack() as stack:
        processes = [stack.enter_context(started(*command, environment=environment_for(sandbox))) for _ in range(2)]
        written = [process.communicate()[0] for process in processes]
    counts = [json.loads(output.splitlines()[-1]) for output in written]
    texts = [message.body["content"]["text"] for message in sandbox.messages]
    assert sorted(texts) == sorted(f"row {number}" for number in range(ROWS))
    assert sum(count["accepted"] for count in counts) == ROWS
    assert all(count["total"] == ROWS for count in counts)
    again = run(*command, environment=environment_for(sandbox))
    assert again.exit_code == DONE
    assert json.loads(again.stdout.splitlines()[-1])["duplicates"] == ROWS
    assert len(sandbox.messages) == ROWS


def test_each_command_takes_the_url(sandbox: Sandbox, url: str, file: Path, tmp_path: Path) -> None:
    """status, reconcile, export and resume read the journal by its URL, and none of them shows the password."""
    environment = environment_for(sandbox)
    sent = run("send-many", file, "--text", "{text}", "--journal", url, environment=environment)
    status = run("status", url, environment=environment)
    refreshed = run("status", url, "--refresh", "--json", *base(sandbox), environment=environment)
    reconciled = run("reconcile", url, *base(sandbox), environment=environment)
    exported = run("export", url, "--output", tmp_path / "out.csv", environment=environment)
    resumed = run("resume", url, *base(sandbox), environment=environment)
    for result in (sent, status, refreshed, reconciled, exported, resumed):
        assert result.exit_code == DONE, result.output
        assert PASSWORD not in result.output
    assert f"accepted    {ROWS}" in status.stdout
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert len(rows) == ROWS
    assert len(sandbox.messages) == ROWS


def base(sandbox: Sandbox) -> tuple[str, ...]:
    """Return the options that confirm where the messages were sent."""
    return ("--base-url", sandbox.url)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"postgresql://anna:{PASSWORD}@127.0.0.1/shop", "name: give the journal's name"),
        (f"postgresql://anna:x/{PASSWORD}@127.0.0.1/shop?name=a", "url: must be postgresql://"),
        (f"mysql://anna:{PASSWORD}@127.0.0.1/shop?name=a", "url: must begin with postgresql://"),
    ],
)
def test_a_wrong_url_is_wrong_use(url: str, text: str, file: Path) -> None:
    """A URL that names no journal ends the command before anything is sent, and is not quoted."""
    for command in (("send-many", file, "--text", "a", "--journal", url), ("status", url)):
        result = run(*command)
        assert result.exit_code == WRONG_USE
        assert text in " ".join(result.output.split())
        assert PASSWORD not in result.output


def test_a_journal_that_does_not_exist_is_not_created(postgres_service: Service) -> None:
    """Status of an unknown name ends with the status of a journal that can't be used."""
    url = f"{postgres_service.url}?name={secrets.token_hex(4)}"
    result = run("status", url)
    assert result.exit_code == JOURNAL_UNUSABLE
    assert "does not exist" in result.output


def test_a_server_that_is_not_there_sends_nothing(sandbox: Sandbox, file: Path) -> None:
    """send-many with a server that can't be reached sends nothing, and does not show the password."""
    url = f"postgresql://anna:{PASSWORD}@127.0.0.1:1/shop?name=a"
    result = run("send-many", file, "--text", "{text}", "--journal", url, environment=environment_for(sandbox))
    assert result.exit_code == JOURNAL_UNUSABLE
    assert "can't connect" in result.output
    assert PASSWORD not in result.output
    assert len(sandbox.messages) == 0


def test_an_early_end_names_the_command_without_the_password(sandbox: Sandbox, url: str, file: Path) -> None:
    """After a refused token the last line names the resume command with the URL, and the password is left out."""
    environment = {**environment_for(sandbox), "CALLBELL_TOKEN": "wrong"}
    result = run("send-many", file, "--text", "{text}", "--journal", url, environment=environment)
    assert result.exit_code == NOT_ALL_DONE
    label = url.replace(f":{PASSWORD}", "")
    assert label in result.output
    assert PASSWORD not in result.output


# --- a shared rate limiter --------------------------------------------------------------------------------------------


@pytest.fixture
def limiter(service: Service) -> str:
    """The URL of a new limit, in each of the two engines in turn, with a password that the engine ignores."""
    host = f"callbell:{PASSWORD}@" if service.url.startswith("postgres") else ""
    return service.url.replace("callbell@", host) + f"?name={secrets.token_hex(4)}"


def sent_texts(sandbox: Sandbox) -> list[str]:
    """Return the texts of all messages, sorted."""
    return sorted(message.body["content"]["text"] for message in sandbox.messages)


ALL_TEXTS = sorted(f"row {number}" for number in range(ROWS))


@pytest.mark.slow
def test_two_machines_share_a_file_and_a_rate_limit(sandbox: Sandbox, url: str, limiter: str, file: Path) -> None:
    """Two send-many with one journal and one rate limit send each row once, report every row, and show no password."""
    command = (
        "send-many",
        file,
        "--text",
        "{text}",
        "--journal",
        url,
        "--rate-limiter",
        limiter,
        "--rate",
        "100",
        "--concurrency",
        "5",
        "--json",
    )
    gate = Gate(sandbox, after=0)
    with ExitStack() as stack:
        processes = [stack.enter_context(started(*command, environment=environment_for(sandbox))) for _ in range(2)]
        # More than one process has in flight.
        gate.wait_for(6)
        gate.open()
        written = [process.communicate() for process in processes]
    counts = [json.loads(output.splitlines()[-1]) for output, _ in written]
    assert sent_texts(sandbox) == ALL_TEXTS
    assert [count["total"] for count in counts] == [ROWS, ROWS], written
    assert sum(count["accepted"] for count in counts) == ROWS
    assert all(count["accepted"] > 0 for count in counts)
    assert not any(PASSWORD in output for outputs in written for output in outputs)


@pytest.mark.slow
def test_after_a_kill_the_next_run_sends_the_rest(
    sandbox: Sandbox, url: str, limiter: str, file: Path, tmp_path: Path
) -> None:
    """One of two send-many is killed: the other and the next run send the rest, and no message is sent twice."""
    environment = {**environment_for(sandbox), "CALLBELL_RATE_LIMITER": limiter}
    command = ("send-many", file, "--text", "{text}", "--journal", url, "--rate", "40", "--json")
    with ExitStack() as stack:
        killed, other = [stack.enter_context(started(*command, environment=environment)) for _ in range(2)]
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
        output, _ = other.communicate()
    counts = json.loads(output.splitlines()[-1])
    assert counts["total"] == ROWS
    assert counts["accepted"] + counts["skipped"] == ROWS
    again = run(*command, environment=environment)
    counts = json.loads(again.stdout.splitlines()[-1])
    # The killed process's messages in flight are the only ones that no run sends unasked.
    assert counts["accepted"] + counts["skipped"] == ROWS
    assert len(set(sent_texts(sandbox))) == len(sandbox.messages)
    run("reconcile", url, *base(sandbox), environment=environment)
    run("export", url, "--outcome", "unknown", "--output", tmp_path / "unknown.csv", environment=environment)
    ended = run("resume", url, "--resend-file", tmp_path / "unknown.csv", *base(sandbox), environment=environment)
    assert ended.exit_code == DONE, ended.output
    assert sent_texts(sandbox) == ALL_TEXTS


@pytest.mark.parametrize("option", ["--rate-limiter", "CALLBELL_RATE_LIMITER"])
@pytest.mark.parametrize(
    ("url", "status", "text"),
    [
        (f"redis://anna:{PASSWORD}@127.0.0.1:1/0", NOT_ALL_DONE, "the rate limiter's Redis at 127.0.0.1: Error"),
        (
            f"postgresql://anna:{PASSWORD}@127.0.0.1:1/shop",
            NOT_ALL_DONE,
            "the rate limiter's PostgreSQL at 127.0.0.1: ",
        ),
        (f"redis://anna:x/{PASSWORD}@127.0.0.1/0", WRONG_USE, "url: must be redis://"),
        (f"redis://anna:x#{PASSWORD}@127.0.0.1/0", WRONG_USE, "url: must be redis://"),
        (f"redis://127.0.0.1:{PASSWORD}/0", WRONG_USE, "url: must be redis://"),
        (f"mysql://anna:{PASSWORD}@127.0.0.1/shop", WRONG_USE, "url: must begin with redis://"),
    ],
)
def test_a_rate_limiter_that_can_not_be_used_sends_nothing(
    sandbox: Sandbox, file: Path, option: str, url: str, status: int, text: str
) -> None:
    """An engine that can't be reached, or a wrong URL, ends each command before a request, and the URL is not quoted."""
    environment = environment_for(sandbox)
    for command in (("send-many", file, "--text", "{text}"), ("send", "+34600000001", "--text", "a"), ("me",)):
        if option.startswith("--"):
            result = run(*command, option, url, environment=environment)
        else:
            result = run(*command, environment={**environment, option: url})
        assert result.exit_code == status, result.output
        assert text in " ".join(result.output.split())
        assert PASSWORD not in result.output
    assert len(sandbox.requests) == 0
