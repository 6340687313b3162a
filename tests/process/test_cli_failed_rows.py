"""`callbell-async send-many --failed-to`: the rows that were not accepted."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from callbell_async.cli import output_files
from callbell_async.cli.input_rows import Row
from callbell_async.sandbox import Sandbox, faults
from tests.support.command_line import (
    counts_in,
    environment_for,
    run,
)
from tests.support.recipients import ADA, GRACE, JOAN, TOKEN, recipients, write_recipients
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


def cells_in(file: Path) -> list[list[str]]:
    """The cells of a CSV file with semicolons."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines, delimiter=";"))


def test_failed_rows_can_be_sent_again(tmp_path: Path, sandbox: Sandbox) -> None:
    """Rows that were not accepted are written unchanged, with their outcomes, and the file is an input itself."""
    file, failed, again = tmp_path / "in.csv", tmp_path / "failed.csv", tmp_path / "again.csv"
    file.write_text(f'to;name;note\n{ADA};"A;da ";x\n{GRACE};Grace;y\n123;Bob;z\n')
    sandbox.inject(faults.respond(400, {"error": "no"}), times=1, when=lambda request: request.to == ADA)
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


def test_rows_that_may_have_been_accepted_are_left_out(file: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    """A row with an unknown outcome is left out and counted; with `--failed-unknown` it is written, and marked."""
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
    """A row with too few or too many cells keeps its cells, and is refused again, however often the file is sent."""
    file, failed, again = tmp_path / "in.csv", tmp_path / "failed.csv", tmp_path / "again.csv"
    file.write_text(f"to,name,outcome,reason\n{ADA},Ada\n{GRACE},Grace,x,y,z\n{JOAN}\n")
    for source, target in ((file, failed), (failed, again)):
        result = run("send-many", source, "--text", "Hi", "--sandbox", "--failed-to", target)
        assert counts_in(result.stdout)["never_sent"] == counts_in(result.stdout)["total"] == 3
    assert {line.split(",")[0] for line in again.read_text().splitlines()[1:]} == {ADA, GRACE, JOAN}


def test_rows_of_a_wrong_length_do_not_grow(tmp_path: Path) -> None:
    """A row with too few or too many cells has one outcome and one reason, however often the file is sent."""
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


def test_failed_objects_are_unchanged(tmp_path: Path) -> None:
    """Rows of JSONL are written unchanged, numbers to the last 0, with two keys more, however often the file is sent."""
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
    ("target", "error"),
    [
        ("recipients.csv", "is the input file; give another file"),
        ("failed.jsonl", "those of a spreadsheet as CSV; name the file failed.csv"),
        ("none/failed.csv", "can't be written (No such file or directory)"),
    ],
)
def test_a_wrong_place_for_failed_rows_is_one_line(file: Path, target: str, error: str) -> None:
    """The input is not overwritten, and the file's name must fit its form."""
    result = run("send-many", file, "--text", "Hi", "--sandbox", "--failed-to", file.parent / target)
    assert result.exit_code == 2
    assert error in result.stderr
    assert result.stderr.count("\n") == 1
    assert file.read_text().count("\n") == 4


@pytest.mark.parametrize("command", ["send-many", "resume"])
def test_failed_unknown_requires_a_file(file: Path, command: str) -> None:
    """`--failed-unknown` without `--failed-to` is an error."""
    more = ["--text", "Hi", "--sandbox"] if command == "send-many" else []
    result = run(command, file, *more, "--failed-unknown")
    assert (result.exit_code, result.stderr) == (2, "callbell-async: --failed-unknown: requires --failed-to\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_one_line(file: Path, tmp_path: Path) -> None:
    """A full disk ends the run with one line, not with a traceback."""
    source = tmp_path / "bad.jsonl"
    source.write_text('{"to": "nobody"}\n' * 3)
    target = Path("/dev/full")
    result = run("send-many", source, "--text", "Hi", "--dry-run", "--failed-to", target)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"callbell-async: --failed-to: {target}: No space left on device"
    assert "Traceback" not in result.stderr


def test_rows_that_the_disk_does_not_take_are_counted(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full in the middle, the counts are complete, and the rows that are missing in the file are named."""
    written = 0

    def fill(file: io.TextIOBase, row: Row, outcome: str, reason: str) -> None:
        nonlocal written
        if written == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += 1

    monkeypatch.setattr(output_files, "_write_json", fill)
    source, failed = tmp_path / "in.jsonl", tmp_path / "failed.jsonl"
    source.write_text('{"to": "nobody"}\n' * 4 + f'{{"to": "{ADA}"}}\n' * 2)
    arguments = [
        "send-many",
        source,
        "--text",
        "Hi",
        "--duplicates",
        "send",
        "--concurrency",
        "1",
        "--failed-to",
        failed,
    ]
    result = run(*arguments, environment=environment_for(sandbox))
    assert result.exit_code == 1
    counts = counts_in(result.stdout)
    assert (counts["total"], counts["never_sent"], counts["skipped"]) == (6, 3, 3)
    assert result.stderr.splitlines()[-3:] == [
        "--failed-to is incomplete: 4 rows are missing in it from line 3 on, and its last line may be cut",
        "stopped: 6 rows were not sent up to line 6",
        f"callbell-async: --failed-to: {failed}: No space left on device",
    ]
