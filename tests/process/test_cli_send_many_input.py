"""`callbell-async send-many`: its input, from files and standard input to messages."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from callbell_async.cli.input_rows import Row, read_in_thread
from callbell_async.sandbox import Sandbox, SandboxTemplate, faults
from tests.support.command_line import (
    counts_in,
    environment_for,
    json_lines,
    run,
    started,
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


def test_a_template_with_values_of_the_row(file: Path, sandbox: Sandbox) -> None:
    """`--template`, `--values`, `--optin` and `--metadata` become a template message for each row."""
    arguments = [
        "--template",
        "T",
        "--values",
        "{name},now",
        "--optin",
        "--metadata",
        "who=name",
        "--concurrency",
        "1",
        "--no-check",
    ]
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
def test_standard_input_is_sent(sandbox: Sandbox, form: str) -> None:
    """`-` reads CSV or JSONL from standard input; the number of rows is not known before the end."""
    rows = {
        "csv": f"to,name\n{ADA},Ada\n{GRACE},Grace\n",
        "jsonl": f'{{"to":"{ADA}","name":1}}\n{{"to":"{GRACE}","name":"x"}}\n',
    }
    result = run("send-many", "-", "--text", "Hi {name}", environment=environment_for(sandbox), stdin=rows[form])
    assert result.exit_code == 0
    assert recipients(sandbox) == [ADA, GRACE]
    assert "sending messages\n" in result.stderr


def test_rows_of_a_pipe_are_sent_before_it_ends(sandbox: Sandbox) -> None:
    """A row is sent although the next one has not arrived: waiting for input does not stop the sending."""
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


def test_an_input_that_breaks_off_keeps_the_results(sandbox: Sandbox) -> None:
    """Standard input can't be checked beforehand: the rows before the error are sent and counted, and the error names the line."""
    raw = f"to\n{ADA}\n".encode() + b"x" * 9000 + b"\n\xff\n"
    result = run("send-many", "-", "--text", "Hi", environment=environment_for(sandbox), stdin=raw)
    assert result.exit_code == 2
    assert "standard input: is not UTF-8" in result.stderr
    assert counts_in(result.stdout)["accepted"] == len(sandbox.messages) == 1


def test_a_row_with_a_user_id_needs_no_number(tmp_path: Path, sandbox: Sandbox) -> None:
    """With `--bsuid-column` a row has a number, a BSUID, or both. A row with neither is an error, and so is a missing column."""
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
        f"callbell-async: --bsuid-column: there is no column 'who' in {file}; it has to, id; name the right one with --bsuid-column\n",
    )


def test_an_interrupt_before_anything_is_sent(tmp_path: Path) -> None:
    """Ctrl-C ends a command that waits for its input with the status 130."""
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


def test_a_row_that_arrives_after_the_loop_is_dropped() -> None:
    """The thread that waits for a row ends when the event loop is closed."""
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


def test_a_row_that_arrives_after_the_run_is_dropped() -> None:
    """A row that arrives after its run has ended is dropped, and the thread ends."""
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


# --- --dry-run --------------------------------------------------------------------------------------------------------


def test_a_dry_run_checks_every_row_and_sends_nothing(tmp_path: Path, sandbox: Sandbox) -> None:
    """`--dry-run` shows the first messages and every error with its line, contacts nobody and needs no token."""
    file, failed = tmp_path / "in.csv", tmp_path / "failed.csv"
    good = "".join(f"{ADA},Zoë {number}\n" for number in range(30))
    file.write_text(f"to,name\n{good}" + "nobody,x\n" * 30)
    arguments = ["send-many", file, "--text", "Hi {name}", "--dry-run", "--failed-to", failed]
    result = run(*arguments, environment={"CALLBELL_BASE_URL": sandbox.url})
    assert result.exit_code == 1
    shown = result.stdout.splitlines()
    number, body = shown[0].split(": ", 1)
    assert (number, json.loads(body)["content"]) == ("line 2", {"text": "Hi Zoë 0"})
    assert [line.split(":")[0] for line in shown[:5]] == [f"line {number}" for number in range(2, 7)]
    assert [line.split() for line in shown[5:]] == [["good", "30"], ["bad", "30"], ["duplicates", "0"]]
    bad = [
        line for line in result.stderr.splitlines() if ": never_sent: column 'to': is not a telephone number" in line
    ]
    assert [line.split(":")[0] for line in bad] == [f"line {number}" for number in range(32, 62)]
    assert len(failed.read_text().splitlines()) == 31
    assert sandbox.requests == []


def test_a_dry_run_as_json(tmp_path: Path) -> None:
    """With `--json`, messages, errors and counts are objects; without an error the status is 0."""
    file = tmp_path / "in.jsonl"
    file.write_text(f'{{"to": "{ADA}"}}\n{{"to": "x"}}\n')
    result = run("send-many", file, "--text", "Hi", "--dry-run", "--json")
    assert result.exit_code == 1
    body, bad, counts = json_lines(result.stdout)
    assert body == {"line": 1, "body": {"to": ADA, "from": "whatsapp", "type": "text", "content": {"text": "Hi"}}}
    assert (bad["line"], bad["outcome"]) == (2, "never_sent")
    assert counts == {"total": 2, "good": 1, "bad": 1, "duplicates": 0}
    file.write_text(f'{{"to": "{ADA}"}}\n')
    assert run("send-many", file, "--text", "Hi", "--dry-run").exit_code == 0


def test_a_header_row_alone_is_an_error(tmp_path: Path, sandbox: Sandbox) -> None:
    """A file, a pipe and a dry run without any row end with the status 1 and one line that names the cause."""
    file = tmp_path / "in.csv"
    file.write_text("to,name\n\n")
    for source, name, more in ((file, file, []), ("-", "standard input", []), (file, file, ["--dry-run"])):
        result = run(
            "send-many", source, "--text", "Hi", *more, environment=environment_for(sandbox), stdin=file.read_text()
        )
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == f"{name}: has a header row and no other row; nothing was sent"
    assert sandbox.requests == []


def test_encoding_and_delimiter_reach_the_message(tmp_path: Path, sandbox: Sandbox) -> None:
    """A file in cp1252 with bars between its cells is read with `--encoding` and `--delimiter`."""
    file = tmp_path / "in.csv"
    file.write_bytes(f"to|name\n{ADA}|Zoë\n".encode("cp1252"))
    arguments = ["--text", "Hi {name}", "--encoding", "cp1252", "--delimiter", "|"]
    assert run("send-many", file, *arguments, environment=environment_for(sandbox)).exit_code == 0
    assert sandbox.messages[0].body["content"] == {"text": "Hi Zoë"}


def test_resume_reads_the_file_as_before(tmp_path: Path, sandbox: Sandbox) -> None:
    """`resume` has the input options of its run: encoding, delimiter, `--allow-empty`, and the check of the template."""
    file, journal = tmp_path / "in.csv", tmp_path / "spring.db"
    file.write_bytes(f"to|name\n{ADA}|Zoë\n{GRACE}|\n".encode("cp1252"))
    options = ["--encoding", "cp1252", "--delimiter", "|", "--allow-empty", "--template", "T", "--no-check", "--optin"]
    arguments = [file, *options, "--values", "Hi {name}!", "--journal", journal]
    sandbox.inject(faults.respond(400, {"error": "no"}), times=2)
    assert run("send-many", *arguments, environment=environment_for(sandbox)).exit_code == 1
    result = run("resume", journal, "--base-url", sandbox.url, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert sorted(message.body["content"]["text"] for message in sandbox.messages) == ["Hi !", "Hi Zoë!"]


# --- duplicates -------------------------------------------------------------------------------------------------------


@pytest.fixture
def repeating(tmp_path: Path) -> Path:
    """One recipient three times, in different spellings, and once with another text."""
    path = tmp_path / "repeating.csv"
    path.write_text(f"to,name\n{ADA},Ada\n{GRACE},Grace\n{ADA[1:]},Ada\n{ADA},Countess\n+34 600 000-001,Ada\n")
    return path


DUPLICATES = ["line 4: skipped: duplicate of line 2", "line 6: skipped: duplicate of line 2"]


@pytest.mark.parametrize("with_journal", [False, True])
def test_duplicates_are_skipped_and_named(
    repeating: Path, tmp_path: Path, sandbox: Sandbox, with_journal: bool
) -> None:
    """Rows that become the same message are sent once, with a journal and without; each is named with the line of the first."""
    failed = tmp_path / "failed.csv"
    more = ["--journal", tmp_path / "spring.db"] if with_journal else []
    arguments = ["send-many", repeating, "--text", "Hi {name}", "--failed-to", failed, *more]
    result = run(*arguments, environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if "skipped" in line] == DUPLICATES
    counts = counts_in(result.stdout)
    assert (counts["accepted"], counts["skipped"], counts["never_sent"], counts["total"]) == (3, 2, 0, 5)
    assert recipients(sandbox) == [ADA, ADA, GRACE]
    assert failed.read_text() == "to,name,outcome,reason\n"


def test_duplicates_as_json(repeating: Path, sandbox: Sandbox) -> None:
    """With `--json` a duplicate is an object with the outcome `skipped` and the line of the first."""
    result = run("send-many", repeating, "--text", "Hi {name}", "--json", environment=environment_for(sandbox))
    *results, counts = json_lines(result.stdout)
    assert [(one["line"], one["reason"]) for one in results if one["outcome"] == "skipped"] == [
        (4, "duplicate of line 2"),
        (6, "duplicate of line 2"),
    ]
    assert (counts["total"], counts["skipped"], counts["never_sent"], counts["duplicates"]) == (5, 2, 0, 2)


def test_duplicates_can_be_sent(repeating: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    """`--duplicates send` sends each row; with a journal it is refused, because a journal sends a message once."""
    arguments = ["send-many", repeating, "--text", "Hi {name}", "--duplicates", "send"]
    result = run(*arguments, environment=environment_for(sandbox))
    assert (result.exit_code, len(sandbox.messages)) == (0, 5)
    result = run(*arguments, "--journal", tmp_path / "spring.db", environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "--duplicates send: can't be combined with --journal" in result.stderr
    assert len(sandbox.messages) == 5


def test_rows_with_one_key_are_duplicates(tmp_path: Path, sandbox: Sandbox) -> None:
    """With `--key-column` the key decides: equal messages with different keys are sent, different ones with one key are not."""
    file = tmp_path / "in.csv"
    file.write_text(f"to,id\n{ADA},1\n{ADA},2\n{GRACE},1\n")
    result = run("send-many", file, "--text", "Hi", "--key-column", "id", environment=environment_for(sandbox))
    assert result.exit_code == 0
    assert "line 4: skipped: duplicate of line 2" in result.stderr
    assert recipients(sandbox) == [ADA, ADA]


def test_a_dry_run_names_all_duplicates(tmp_path: Path) -> None:
    """`--dry-run` names each duplicate, however many there are; they are not an error."""
    file = tmp_path / "in.csv"
    file.write_text("to\n" + f"{ADA}\n" * 31)
    result = run("send-many", file, "--text", "Hi", "--dry-run")
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if "duplicate of line 2" in line] == [
        f"line {number}: skipped: duplicate of line 2" for number in range(3, 33)
    ]
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["good", "1"],
        ["bad", "0"],
        ["duplicates", "30"],
    ]
    result = run("send-many", file, "--text", "Hi", "--dry-run", "--duplicates", "send", "--json")
    assert json_lines(result.stdout)[-1] == {"total": 31, "good": 31, "bad": 0, "duplicates": 0}


def test_many_duplicates_are_only_counted(tmp_path: Path, sandbox: Sandbox) -> None:
    """A run names the first twenty duplicates, so that other messages stay visible."""
    file = tmp_path / "in.csv"
    file.write_text("to\n" + f"{ADA}\n" * 31)
    result = run("send-many", file, "--text", "Hi", environment=environment_for(sandbox))
    assert result.stderr.count("duplicate of line 2") == 20
    assert "more duplicates follow, which are only counted" in result.stderr
    assert len(sandbox.messages) == 1


def test_a_duplicate_after_the_end_of_a_run_is_not_a_failed_row(tmp_path: Path, sandbox: Sandbox) -> None:
    """A run that stops early does not write the duplicate of an accepted row to `--failed-to`: sent from there it would arrive twice."""
    file, failed = tmp_path / "in.csv", tmp_path / "failed.csv"
    file.write_text(f"to\n{ADA}\n{GRACE}\n{JOAN}\n{ADA}\n")
    sandbox.inject(faults.respond(401, {"error": "no"}), when=lambda request: request.to == GRACE)
    arguments = ["--text", "Hi", "--failed-to", failed, "--concurrency", "1"]
    result = run("send-many", file, *arguments, environment=environment_for(sandbox))
    assert result.exit_code == 1
    assert recipients(sandbox) == [ADA]
    assert [line.split(",")[0] for line in failed.read_text().splitlines()[1:]] == [GRACE, JOAN]


# --- templates --------------------------------------------------------------------------------------------------------

TEMPLATE = "d980fb66fd5043d3ace1aa06ba044342"
"""Every sandbox has it: one placeholder, and the title "Template title"."""


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            ["--template", "T"],
            "--template: the template does not exist; check its identifier (--no-check skips this check)",
        ),
        (["--template", "Template title"], "--template: the template does not exist"),
        (["--template", TEMPLATE], "--values: the template has 1 placeholder, and the message has 0 values"),
        (
            ["--template", TEMPLATE, "--values", "{name},b"],
            "--values: the template has 1 placeholder, and the message has 2 values",
        ),
        (
            ["--template", TEMPLATE, "--values", "a", "--image", "https://example.com/a.png"],
            "--image, --document or --video: the template has text only",
        ),
    ],
)
def test_a_template_that_does_not_fit_is_known_before_anything_is_sent(
    file: Path, tmp_path: Path, sandbox: Sandbox, options: list[str], error: str
) -> None:
    """One request asks for the template: an unknown one, or values or media that do not fit, end the run with the option's name."""
    journal, failed = tmp_path / "spring.db", tmp_path / "failed.csv"
    failed.write_text("to,outcome,reason\nkept,rejected,x\n")
    arguments = ["--optin", *options, "--journal", journal, "--failed-to", failed]
    result = run("send-many", file, *arguments, environment=environment_for(sandbox))
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert result.stderr.startswith(f"callbell-async: {error}")
    assert (len(sandbox.requests), sandbox.messages) == (1, [])
    assert not journal.exists()
    assert "kept" in failed.read_text()


def test_a_template_is_asked_for_once(file: Path, sandbox: Sandbox) -> None:
    """A template that fits costs one request for a run; `--no-check`, and a template in a column, cost none."""
    arguments = ["send-many", file, "--optin", "--values", "{name}"]
    for more, asked in (
        (["--template", TEMPLATE], 1),
        (["--template", "T", "--no-check"], 0),
        (["--template", "{name}"], 0),
    ):
        before = len(sandbox.requests)
        assert run(*arguments, *more, environment=environment_for(sandbox)).exit_code == 0
        assert len(sandbox.requests) - before == 3 + asked


def test_a_refused_template_is_named(file: Path, sandbox: Sandbox) -> None:
    """A template that is not approved is refused before anything is sent."""
    sandbox.account.seed(SandboxTemplate(title="Spring", text="Hello", status="rejected", uuid="t"))
    result = run("send-many", file, "--template", "t", "--optin", environment=environment_for(sandbox))
    assert result.exit_code == 2
    assert "--template: the template is 'rejected'; only an approved one can be sent" in result.stderr
    assert sandbox.messages == []


def test_the_sandbox_knows_a_template_by_its_title(file: Path) -> None:
    """With `--sandbox`, `--template` accepts the title of a template as well; the error for another name lists the titles."""
    arguments = ["send-many", file, "--sandbox", "--optin", "--values", "{name}", "--template"]
    for name in ("Template title", TEMPLATE):
        result = run(*arguments, name)
        assert (result.exit_code, counts_in(result.stdout)["accepted"]) == (0, 3)
    result = run(*arguments, "Welcome")
    assert result.exit_code == 2
    assert "--template: there is no template 'Welcome'; there is 'Template title' (--no-check skips" in result.stderr
