"""Recipients that are never sent to: the list, its files, a run, and `--exclude`."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook  # type: ignore[import-untyped]

from callbell_async import (
    CallbellClient,
    CallbellError,
    ConfigurationError,
    InvalidMessageError,
    Journal,
    OptedOutError,
    OptOutList,
    Outcome,
    RecipientParser,
    RetryPolicy,
    TextMessage,
)
from callbell_async.cli.exits import DONE, NOT_ALL_DONE, WRONG_USE
from callbell_async.sandbox import Fault, Sandbox, SandboxRequest, faults
from tests.support.command_line import json_lines, run
from tests.support.threaded_sandbox import sandbox_in_a_thread

ADA, GRACE, JOAN = "+34600000001", "+34600000002", "+34600000003"


def text_to(to: str | None = None, **changes: Any) -> TextMessage:
    """Return a message for this recipient."""
    return TextMessage(**{"to": to, "text": "Hi", **changes})


def file_of(folder: Path, content: str, name: str = "opt-outs.csv") -> Path:
    """Write a file, and return its path."""
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


# --- the list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "recipient"),
    [
        (ADA, ADA),
        ("0034 600-000-001", ADA),
        (ADA, "34600000001"),
        ("+551187654321", "+5511987654321"),
        ("+5511987654321", "+551187654321"),
        ("+525512345678", "5215512345678"),
        ("+541143214321", "+5491143214321"),
        # As broad as possible: WhatsApp could correct one to the other.
        ("+551123456789", "+5511923456789"),
    ],
)
def test_numbers_are_compared_in_all_forms(listed: str, recipient: str) -> None:
    """A recipient is excluded however its number is written, also in a form to which WhatsApp corrects it."""
    opt_outs = OptOutList([listed])
    assert opt_outs.excludes(text_to(recipient))
    assert recipient in opt_outs
    assert not opt_outs.excludes(text_to(GRACE))


def test_bsuids_are_recipients() -> None:
    """A BSUID in the list excludes messages to it, also beside a number."""
    opt_outs = OptOutList(["US.13491208655302741918"])
    assert opt_outs.excludes(text_to(bsuid="US.13491208655302741918"))
    assert opt_outs.excludes(text_to(ADA, bsuid="US.13491208655302741918"))
    assert not opt_outs.excludes(text_to(ADA, bsuid="US.1"))


def test_a_list_belongs_to_a_channel() -> None:
    """Identifiers of another channel are compared as they are, and exclude nothing on WhatsApp."""
    opt_outs = OptOutList(["user-1", "34600000001"], channel="telegram")
    assert opt_outs.excludes(text_to("user-1", channel="telegram"))
    assert opt_outs.excludes(text_to("34600000001", channel="telegram"))
    assert not opt_outs.excludes(text_to("+34600000001", channel="telegram"))
    assert not opt_outs.excludes(text_to("34600000001"))


def test_a_list_reads_national_numbers() -> None:
    """A parser with a region reads the numbers of the list."""
    assert ADA in OptOutList(["600 000 001"], parser=RecipientParser("ES"))


@pytest.mark.parametrize(
    ("recipients", "text"),
    [
        ([ADA, "600"], r"^exclude\[1\]: is not a telephone number"),
        ([ADA, ""], r"^exclude\[1\]: must not be blank"),
        (ADA, "^exclude: must be an OptOutList, or a collection"),
        (3, "^exclude: must be an OptOutList, or a collection"),
    ],
)
def test_a_recipient_that_can_not_be_read_is_an_error(recipients: Any, text: str) -> None:
    """The error names the position, and nothing is sent: `send_many` raises it at once."""
    with pytest.raises(ConfigurationError, match=text):
        OptOutList(recipients)
    client = CallbellClient("token")
    with pytest.raises(ConfigurationError, match=text):
        client.send_many([text_to(ADA)], exclude=recipients)


def test_a_list_hides_its_recipients() -> None:
    """Neither the repr nor an error has a number."""
    assert repr(OptOutList([ADA])) == "<OptOutList whatsapp>"
    with pytest.raises(ConfigurationError) as caught:
        OptOutList(["60000000199999999"])
    assert "600000" not in str(caught.value)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        f"{ADA}\n{GRACE}\n",
        f"\ufeffphone\r\n{ADA}\r\n\r\n{GRACE}",
        f"to\n{ADA}\n0034600000002\n",
        f'name,to\n"Lovelace, Ada",{ADA}\nGrace,{GRACE}\n',
        f"name;to\nAda;{ADA}\n;{GRACE}\n",
        f'"name, first, last";to\nAda;{ADA}\n;{GRACE}\n',
    ],
    ids=["plain", "one column", "header", "quoted", "semicolon", "commas in a name"],
)
def test_a_file_is_read(tmp_path: Path, content: str) -> None:
    """A list has one recipient on each line, with or without a header row, or a column `to` among others."""
    opt_outs = OptOutList.read(file_of(tmp_path, content))
    assert (ADA in opt_outs, GRACE in opt_outs, JOAN in opt_outs) == (True, True, False)


def test_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """Numbers in cells are recipients; `column` and `sheet` name where they are."""
    workbook = Workbook()
    sheet = workbook.create_sheet("Stop")
    for row in (["phone", "since"], [34600000001, "2026"], [], [GRACE, None]):
        sheet.append(row)
    workbook.save(tmp_path / "people.xlsx")
    opt_outs = OptOutList.read(tmp_path / "people.xlsx", column="phone", sheet="Stop")
    assert (ADA in opt_outs, GRACE in opt_outs) == (True, True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (f"{ADA}\n600\n", "line 2: is not a telephone number"),
        (f"to\n\n{ADA}\nx\n", "line 4: is not a telephone number"),
        (f"60000000x\n{ADA}\n", "line 1: is not a telephone number"),
        (f"name,to\nAda,{ADA}\nGrace,\n", "line 3: must not be blank"),
        (f"name,to\nLovelace, Ada,{ADA}\n", "line 2: the number of its cells is 3, and must be 2"),
        (f"{ADA},Ada\n", "line 1: has several cells, and none is 'to'"),
        (
            f"phone,name\n{ADA},Ada\n",
            "line 1: has several cells, and none is 'to'; name the column of the recipients 'to'",
        ),
        (f"to,to\n{ADA},{GRACE}\n", "line 1: has several columns 'to'"),
        (f"{ADA}\n{GRACE},Grace\n", "line 2: the number of its cells is 2, and must be 1"),
        (f'to\n"{ADA}\n', "is not CSV from line 2 on (a quotation mark is never closed)"),
    ],
)
def test_an_unreadable_row_is_an_error(tmp_path: Path, content: str, text: str) -> None:
    """No row is passed over: the error names the line, and does not quote it."""
    path = file_of(tmp_path, content)
    with pytest.raises(ConfigurationError) as caught:
        OptOutList.read(path)
    assert str(caught.value).startswith(f"{path}: {text}")
    assert ADA not in str(caught.value)


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A file that is missing, or in another encoding, is an error with its name."""
    with pytest.raises(ConfigurationError, match=r"none.csv: can't be read \(No such file"):
        OptOutList.read(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("to,name\n+34600000001,Jörg\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"latin.csv: is not UTF-8"):
        OptOutList.read(tmp_path / "latin.csv")


@pytest.mark.parametrize("content", ["", "\ufeff", "\n \n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str) -> None:
    """A file without any row may be the output of a command that failed; a header row alone is a list of nobody."""
    with pytest.raises(ConfigurationError, match="is empty; a list without recipients has a header row, such as: to"):
        OptOutList.read(file_of(tmp_path, content))
    assert not OptOutList.read(file_of(tmp_path, "to\n"))


def test_a_first_line_with_a_user_id_is_no_header_row(tmp_path: Path) -> None:
    """A BSUID without digits on the first line is a recipient."""
    opt_outs = OptOutList.read(file_of(tmp_path, "ES.abcdefgh\n"))
    assert opt_outs.excludes(TextMessage(bsuid="ES.abcdefgh", text="Hi"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_is_read(tmp_path: Path) -> None:
    """A list can come from a pipe, such as the output of a query in a shell."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # A daemon, because it waits for a reader.
    writing = threading.Thread(target=pipe.write_text, args=(f"name,to\nAda,{ADA}\n",), daemon=True)
    writing.start()
    assert ADA in OptOutList.read(pipe)
    writing.join()


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_journal", [False, True])
async def test_a_run_skips_the_recipients(tmp_path: Path, with_journal: bool) -> None:
    """Their messages are `SKIPPED` with an `OptedOutError`, counted, no failure, and never stop the run."""
    journal = Journal(tmp_path / "journal.db") if with_journal else None
    messages = [text_to(ADA), text_to(GRACE), text_to(JOAN)]
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        report = await callbell.send_many(messages, exclude=[GRACE], journal=journal, stop_on=(CallbellError,))
        assert [result.outcome for result in report.results] == [Outcome.ACCEPTED, Outcome.SKIPPED, Outcome.ACCEPTED]
        skipped = report.results[1]
        assert isinstance(skipped.error, OptedOutError)
        assert (skipped.is_opted_out, skipped.is_duplicate, skipped.attempts) == (True, False, 0)
        assert (report.skipped, report.opted_out, report.duplicates) == (1, 1, 0)
        report.raise_for_failures()
        assert sorted(message.recipient for message in sandbox.messages) == [ADA, JOAN]
        if journal is not None:
            async with journal:
                (entry,) = [entry async for entry in journal.entries(Outcome.SKIPPED)]
                assert entry.attempts == 0
            # A recipient who wants messages again gets them.
            assert (await callbell.send_many(messages, journal=journal)).accepted == 1


async def test_an_opt_out_during_a_run_counts(tmp_path: Path) -> None:
    """A recipient that is added while the run sends gets nothing after that."""
    opt_outs = OptOutList()
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        run = callbell.send_many(
            [text_to(ADA), text_to(GRACE)], exclude=opt_outs, concurrency=1, on_result=lambda _: opt_outs.add(GRACE)
        )
        report = await run
    assert (report.accepted, report.opted_out) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (faults.respond(429, headers={"Retry-After": "0"}), Outcome.SKIPPED),
        (faults.close_after_reading(), Outcome.UNKNOWN),
    ],
)
async def test_an_opt_out_ends_the_retries_of_a_message(fault: Fault, outcome: Outcome) -> None:
    """A recipient that is added while a message waits for a retry gets nothing; one that may have been accepted stays `UNKNOWN`."""
    opt_outs = OptOutList()

    def reply_stop(_: SandboxRequest) -> bool:
        opt_outs.add(ADA)
        return True

    retry = RetryPolicy(wait_initial=0.0, resend_unknown=True)
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url, retry=retry) as callbell:
        sandbox.inject(fault, when=reply_stop)
        report = await callbell.send_many([text_to(ADA)], exclude=opt_outs)
        assert len(sandbox.requests) == 1
    assert report.results[0].outcome is outcome
    assert isinstance(report.results[0].error, OptedOutError)


async def test_a_message_in_doubt_stays_in_doubt(tmp_path: Path) -> None:
    """A message that may be sent again is not sent to an excluded recipient, and its outcome stays `UNKNOWN`."""
    journal = Journal(tmp_path / "journal.db")
    message = text_to(ADA, key="1")
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        sandbox.inject(faults.close_after_reading(), times=1)
        assert (await callbell.send_many([message], journal=journal)).unknown == 1
        async with journal:
            await journal.allow_resend("1")
        report = await callbell.send_many([message], journal=journal, exclude=[ADA])
    assert (report.unknown, report.opted_out) == (1, 0)


async def test_a_run_that_stops_names_the_opt_outs() -> None:
    """After an error that stops the run, the excluded messages of the rest are opted out, and the others are not."""
    async with Sandbox() as sandbox, CallbellClient("wrong", base_url=sandbox.url) as callbell:
        report = await callbell.send_many([text_to(ADA), text_to(GRACE), text_to(JOAN)], exclude=[JOAN], concurrency=1)
    assert (report.rejected, report.skipped, report.opted_out) == (1, 2, 1)
    assert report.results[2].is_opted_out


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file with three recipients."""
    return file_of(tmp_path, f"to\n{ADA}\n{GRACE}\n{JOAN}\n", "rows.csv")


def test_exclude_skips_the_rows(rows: Path, tmp_path: Path) -> None:
    """Excluded rows are skipped with their line, counted, not in the failed rows, and leave the exit status 0."""
    first, second = file_of(tmp_path, f"{GRACE}\n"), file_of(tmp_path, f"name,to\nJoan,{JOAN}\n", "more.csv")
    failed = tmp_path / "failed.csv"
    command = ("send-many", rows, "--text", "Hi", "--sandbox", "--exclude", first, "--exclude", second)
    result = run(*command, "--failed-to", failed)
    assert result.exit_code == DONE
    assert "line 3: skipped: the recipient has opted out\n" in result.stderr
    assert "skipped     2 (2 of them opted out)\n" in result.stdout
    assert failed.read_text(encoding="utf-8") == "to,outcome,reason\n"
    *results, counts = json_lines(run(*command, "--json").stdout)
    assert (counts["accepted"], counts["skipped"], counts["duplicates"], counts["opted_out"]) == (1, 2, 0, 2)
    assert [one["reason"] for one in results if one["line"] == 3] == ["the recipient has opted out"]


@pytest.mark.parametrize("more", [("--sandbox",), ("--dry-run",)], ids=str)
def test_the_failed_rows_never_replace_a_list(rows: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    """A list of opt-outs, which may be an earlier `--failed-to` itself, is not overwritten, with `--force` neither."""
    text = f"to,outcome,reason\n{GRACE},skipped,x\n"
    opt_outs = file_of(tmp_path, text)
    for force in ((), ("--force",)):
        command = ("send-many", rows, "--text", "Hi", "--exclude", opt_outs, "--failed-to", opt_outs, *force, *more)
        result = run(*command)
        assert result.exit_code == WRONG_USE
        assert f"--failed-to: {opt_outs} is a file of --exclude; give another file" in result.stderr
        assert opt_outs.read_text(encoding="utf-8") == text


def test_a_dry_run_shows_the_opt_outs(rows: Path, tmp_path: Path) -> None:
    """`--dry-run` names and counts excluded rows."""
    result = run("send-many", rows, "--text", "Hi", "--dry-run", "--exclude", file_of(tmp_path, GRACE))
    assert result.exit_code == DONE
    assert "line 3: skipped: the recipient has opted out\n" in result.stderr
    assert "opted out   1\n" in result.stdout


def test_resume_excludes_the_same_rows_and_more(rows: Path, tmp_path: Path) -> None:
    """The files are stored with the run and read again by resume, which can be given further ones."""
    journal, opt_outs = tmp_path / "journal.db", file_of(tmp_path, f"{GRACE}\n{JOAN}\n")
    command = ("send-many", rows, "--text", "Hi", "--sandbox", "--journal", journal, "--exclude", opt_outs, "--json")
    assert json_lines(run(*command).stdout)[-1]["opted_out"] == 2
    file_of(tmp_path, f"{GRACE}\n")
    more = file_of(tmp_path, f"{JOAN}\n", "more.csv")
    counts = json_lines(run("resume", journal, "--exclude", more, "--json").stdout)[-1]
    assert (counts["accepted"], counts["duplicates"], counts["opted_out"]) == (0, 1, 2)
    counts = json_lines(run("resume", journal, "--json").stdout)[-1]
    assert (counts["accepted"], counts["opted_out"]) == (0, 2)
    more.unlink()
    result = run("resume", journal)
    assert result.exit_code == WRONG_USE
    assert f"--exclude: {more}: can't be read" in result.output


def test_an_unreadable_list_sends_nothing(rows: Path, tmp_path: Path) -> None:
    """A row that can't be read ends the command, and dry runs too, before anything is sent."""
    opt_outs = file_of(tmp_path, f"{ADA}\n600 000 002\n")
    for mode in ("--sandbox", "--dry-run"):
        result = run("send-many", rows, "--text", "Hi", mode, "--exclude", opt_outs)
        assert result.exit_code == WRONG_USE
        assert f"--exclude: {opt_outs}: line 2: has a 0 that is not dialled from abroad" in result.output
        assert "accepted" not in result.stdout


def test_a_national_number_in_the_list_needs_the_region(rows: Path, tmp_path: Path) -> None:
    """With the extra, a national number that looks like one of another country stops the run; with `--region` it is read."""
    opt_outs = file_of(tmp_path, "612345678\n")
    command = ("send-many", rows, "--text", "Hi", "--sandbox", "--exclude", opt_outs)
    result = run(*command)
    assert result.exit_code == WRONG_USE
    assert "no number with country code 61 begins like this" in result.output
    assert run(*command, "--region", "ES").exit_code == DONE


def test_a_landline_in_the_list_is_read(rows: Path, tmp_path: Path) -> None:
    """A list may have landlines, although rows may not."""
    opt_outs = file_of(tmp_path, "+34912345678\n")
    assert run("send-many", rows, "--text", "Hi", "--sandbox", "--exclude", opt_outs).exit_code == DONE


def test_a_run_that_stops_keeps_opt_outs_out_of_the_failed_rows(rows: Path, tmp_path: Path) -> None:
    """After a run that was stopped, the failed rows have every row that was not sent, but not the excluded ones."""
    failed = tmp_path / "failed.csv"
    command = ("send-many", rows, "--text", "Hi", "--exclude", file_of(tmp_path, GRACE), "--failed-to", failed)
    with sandbox_in_a_thread("token") as sandbox:
        # A token that is refused stops the run at its first row.
        result = run(*command, "--token", "wrong", "--base-url", sandbox.url, "--concurrency", "1")
    assert result.exit_code == NOT_ALL_DONE
    assert len(sandbox.requests) == 1
    written = failed.read_text(encoding="utf-8")
    assert (ADA in written, GRACE in written, JOAN in written) == (True, False, True)


async def test_an_invalid_message_is_not_opted_out() -> None:
    """An error in place of a message is reported as such."""
    async with Sandbox() as sandbox, CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        report = await callbell.send_many([InvalidMessageError("to", "x")], exclude=[ADA])
    assert (report.never_sent, report.opted_out) == (1, 0)
