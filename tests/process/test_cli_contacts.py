"""`callbell-async contacts export`: its file, its cells, and what reaches a terminal."""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callbell_async.cli.output_files import neutralize_cell, restore_cell
from callbell_async.sandbox import Sandbox, SandboxContact, faults
from tests.support.command_line import environment_for, json_lines, run, started_in_terminal
from tests.support.threaded_sandbox import sandbox_in_a_thread

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
NUMBER = "+34600000001"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A Callbell that takes one token only."""
    with sandbox_in_a_thread(TOKEN) as sandbox:
        yield sandbox


def test_contacts_are_exported_page_after_page(sandbox: Sandbox, tmp_path: Path) -> None:
    """All contacts as CSV, by cursor: tags with commas, custom fields as JSON, and names with any character."""
    for number in range(44):
        sandbox.account.seed(SandboxContact(identifier=f"+3460001{number:04}", name=str(number)))
    sandbox.account.seed(
        SandboxContact(identifier=NUMBER, name='Zoë "Z",\nSmith', tags=["a", "b"], custom_fields={"Größe": "7"})
    )
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
        sandbox.account.seed(SandboxContact(identifier=f"+3460001{number:04}", name=str(number)))
    sandbox.inject(faults.respond(403, {"error": "no"}), when=lambda request: "after" in request.query)
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


@pytest.mark.parametrize(
    ("folder", "fault"), [("none", "there is no such directory"), ("x" * 300, os.strerror(errno.ENAMETOOLONG))]
)
def test_an_export_needs_a_folder(sandbox: Sandbox, tmp_path: Path, folder: str, fault: str) -> None:
    """A folder that does not exist, or that the system refuses, is status 2 and one line, before any request."""
    target = tmp_path / folder / "contacts.csv"
    result = run("contacts", "export", "--output", target, environment=environment_for(sandbox))
    assert (result.exit_code, result.stderr) == (
        2,
        f"callbell-async: --output: {target} can't be written ({fault})\n",
    )
    assert sandbox.requests == []


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
        sandbox.account.seed(SandboxContact(identifier=f"+3460001{index:04}", name=name))
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
    sandbox.account.seed(SandboxContact(identifier=NUMBER, name=name))
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
        while len(sandbox.account.contacts) < count:
            number = len(sandbox.account.contacts)
            # The names alone are 1000 bytes each.
            sandbox.account.seed(SandboxContact(identifier=f"+4477{number:08}", name="x" * 1_000))
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
