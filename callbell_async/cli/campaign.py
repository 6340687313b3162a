"""One run over one input: send each row, show the progress, write the results, and end in order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import AsyncExitStack

import attrs

from callbell_async.bulk import SendRun
from callbell_async.cli.connection import Connection, same_address
from callbell_async.cli.duplicates import DuplicateRowError, DuplicateRows
from callbell_async.cli.exits import DONE, NOT_ALL_DONE, ShutdownSignals
from callbell_async.cli.input_rows import Row, RowFile, read_in_thread
from callbell_async.cli.message_form import MessagePlan, check_template, plan_for_rows
from callbell_async.cli.options import DEFAULT_OUTAGE_TIMEOUT
from callbell_async.cli.output import OUTPUT_FAILED, info, result_json
from callbell_async.cli.output_files import FailedRows, Outputs
from callbell_async.cli.places import JournalPlace
from callbell_async.cli.progress import View, view_for
from callbell_async.cli.results import (
    Counts,
    Rest,
    RowResult,
    error_text,
    explain_no_rows,
    explain_rest,
    explain_withheld,
    row_result,
    write_counts,
)
from callbell_async.cli.saved_run import SendJob, allow_resend, attach_journal
from callbell_async.client import CallbellClient
from callbell_async.errors import JournalError, Outcome
from callbell_async.journal import Journal
from callbell_async.models.messages import Message
from callbell_async.models.results import Item, SendReport, SendResult
from callbell_async.recipients.opt_outs import OptOutList
from callbell_async.wire import dump_keyed_message

__all__ = ["SHOWN_FAILURES", "FileRun", "open_input", "run_job"]

SHOWN_FAILURES = 20
"""The number of failures that are printed one by one: if every message fails, the reason must stay on the screen."""

SHOW_EVERY = 1.0
"""Seconds after which the progress is shown again, also when no result comes."""

SHUTDOWN_TIMEOUT = 30.0
"""Seconds that the first Ctrl-C leaves to requests in flight: the time that one attempt may take."""


def open_input(job: SendJob) -> tuple[RowFile, MessagePlan]:
    """The rows of a job, and how each becomes a message; raises `ConfigurationError` for options that contradict each other."""
    plan = plan_for_rows(job.form, to_column=job.to_column, bsuid_column=job.bsuid_column, key_column=job.key_column)
    rows = RowFile(job.file, encoding=job.encoding, delimiter=job.delimiter, sheet=job.sheet)
    for option, columns in plan.required_columns():
        rows.require(columns, option)
    plan.check_options()
    return rows, plan


def run_job(
    job: SendJob,
    connection: Connection,
    outputs: Outputs,
    *,
    journal: JournalPlace | None = None,
    resend: tuple[str, ...] = (),
) -> int:
    """Run a job, and return the exit status. Raises `ConfigurationError` before anything is sent, and `JournalError`."""
    rows, plan = open_input(job)
    connection = attrs.evolve(connection, sandbox=job.sandbox, base_url=job.base_url).ready()
    failed = outputs.failed_rows(rows, lists=job.exclude, journal=journal)
    exclude = job.opt_outs()
    total = rows.count()
    with ShutdownSignals() as signals:
        file_run = FileRun(
            rows,
            plan,
            view=view_for(total),
            signals=signals,
            total=total,
            failed=failed,
            exclude=exclude,
            as_json=outputs.as_json,
        )
        try:
            asyncio.run(file_run.run(job, connection, journal=journal, resend=resend))
        except OSError as error:
            # A terminal that was closed takes no output either: then the signal is the reason.
            if error.filename != OUTPUT_FAILED or not signals.count:
                raise
        finally:
            if failed is not None:
                explain_withheld(failed.kept_back)
            if file_run.output_failed:
                info(f"{OUTPUT_FAILED}; so far: {file_run.counts.words() or 'no row was tried'}")
            if file_run.unread_from is not None:
                info(f"stopped at once: rows from line {file_run.unread_from} on were not written to --failed-to")
            if file_run.stop_reason is not None:
                info(f"the run was stopped: {file_run.stop_reason}")
            if reason := _reason_for_rest(file_run, signals, failed):
                rest = Rest(
                    last_line=file_run.last_line,
                    not_sent=file_run.counts.not_sent,
                    is_stream=rows.is_stream,
                    failed_to=outputs.failed_to,
                    journal=journal,
                    base_url=None if same_address(job.base_url, None) else job.base_url,
                    rate_limiter=connection.rate_limiter,
                    missing=0 if failed is None else failed.missing,
                    first_missing=0 if failed is None else failed.first_missing,
                )
                explain_rest(reason, rest)
    if file_run.input_exhausted and not file_run.counts.total:
        explain_no_rows(rows.name)
        return signals.status or NOT_ALL_DONE
    return signals.status or (DONE if file_run.counts.complete == file_run.counts.total else NOT_ALL_DONE)


def _reason_for_rest(file_run: FileRun, signals: ShutdownSignals, failed: FailedRows | None) -> str | None:
    """The reason why the run ended early; `None` if it did not."""
    if file_run.output_failed and not (file_run.input_exhausted and file_run.counts.complete == file_run.counts.total):
        return OUTPUT_FAILED
    if signals.count:
        return "interrupted"
    return "stopped" if file_run.stop_reason is not None or (failed is not None and failed.missing) else None


class FileRun:
    """One run over one input.

    Attributes:
        counts: The results so far.
        last_line: The line of the last row that was read.
        output_failed: Standard output can't be written any more: its reader has ended, or a disk is full.
        input_exhausted: Every row has its result.
        stop_reason: The error that stopped the run, such as a refused token, on one line; `None` if none did.
        unread_from: The line of the first row that a second signal kept from being read; `None` if there is none.
    """

    def __init__(
        self,
        rows: RowFile,
        plan: MessagePlan,
        *,
        view: View,
        signals: ShutdownSignals,
        total: int | None = None,
        failed: FailedRows | None = None,
        exclude: OptOutList | None = None,
        as_json: bool = False,
    ) -> None:
        self._rows = rows
        self._plan = plan
        self._view = view
        self._signals = signals
        self._total = total
        self._failed = failed
        self._exclude = exclude
        self._duplicates: DuplicateRows | None = None
        self._as_json = as_json
        self._journal: Journal | None = None
        self._shown: Counter[str] = Counter()
        # By index, only until their results come.
        self._rows_in_run: dict[int, Row] = {}
        self.counts = Counts()
        self.last_line = 0
        self.output_failed = self.input_exhausted = False
        self.stop_reason: str | None = None
        self.unread_from: int | None = None

    async def run(
        self, job: SendJob, connection: Connection, *, journal: JournalPlace | None = None, resend: tuple[str, ...] = ()
    ) -> None:
        """Send every row, and write the counts at the end, also when the run is interrupted."""
        async with AsyncExitStack() as stack:
            callbell = await stack.enter_async_context(connection.open(rate=job.rate, concurrency=job.concurrency))
            if job.check_template:
                with self._signals.cancelling():
                    self._plan = await check_template(callbell, self._plan, by_title=job.sandbox)
                if self._signals.count:
                    return
            if job.duplicates == "skip":
                self._duplicates = stack.enter_context(DuplicateRows())
            opened = None
            if journal is not None:
                opened = await stack.enter_async_context(journal.journal())
                await attach_journal(job, opened)
                await allow_resend(opened, resend)
            if self._failed is not None:
                # Only now that the journal is open: another process may be writing this file.
                stack.enter_context(self._failed)
            await self.send(
                callbell, concurrency=job.concurrency, journal=opened, outage_timeout=float(job.outage_timeout)
            )

    async def send(
        self,
        callbell: CallbellClient,
        *,
        concurrency: int | None = None,
        journal: Journal | None = None,
        outage_timeout: float = DEFAULT_OUTAGE_TIMEOUT,
    ) -> None:
        """Send every row with this client."""
        self._journal = journal
        run = callbell.send_many(
            self._messages(),
            concurrency=concurrency,
            journal=journal,
            on_result=self._on_result,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            outage_timeout=outage_timeout,
            exclude=self._exclude,
        )
        showing = asyncio.create_task(self._show_progress(run))
        try:
            with self._signals.cancelling(self._announce_end), self._view:
                async for _ in run:
                    self._view.show(self.counts, run.paused_for)
                self.input_exhausted = True
        except OSError:
            # The other file that is written here: its error is not one of standard output, which has the counts.
            self.output_failed = self._failed is None or not self._failed.missing
            raise
        finally:
            showing.cancel()
            if run.stop_error is not None:
                self.stop_reason = error_text(run.stop_error)
            if not self.output_failed:
                self._write_counts(run.report)

    async def _show_progress(self, run: SendRun) -> None:
        """During an outage no result comes that would show it."""
        while True:
            await asyncio.sleep(SHOW_EVERY)
            self._view.show(self.counts, run.paused_for)

    # --- the input ----------------------------------------------------------------------------------------------------

    def _messages(self) -> Iterable[Item] | AsyncIterable[Item]:
        if self._rows.is_stream:
            return self._stream()
        # Only the failed rows need the rest of the file: without them it is not read.
        return self._items() if self._failed is None or self._total is None else _SizedItems(self._items(), self._total)

    def _items(self) -> Iterator[Item]:
        for index, row in enumerate(self._rows.rows()):
            if self._signals.count > 1:
                self.unread_from = row.line
                return
            yield self._item(index, row)

    async def _stream(self) -> AsyncIterator[Item]:
        index = 0
        async for row in read_in_thread(self._rows.rows()):
            yield self._item(index, row)
            index += 1

    def _item(self, index: int, row: Row) -> Item:
        self._rows_in_run[index] = row
        self.last_line = row.line
        item = self._plan.item(row)
        return item if self._duplicates is None else self._duplicates.checked(item, row.line)

    # --- the results --------------------------------------------------------------------------------------------------

    def _on_result(self, result: SendResult) -> Awaitable[None] | None:
        row = self._rows_in_run.pop(result.index)
        found = row_result(row.line, result)
        if isinstance(result.message, DuplicateRowError):
            self._add(row, found if self._journal is None else attrs.evolve(found, key=result.message.key))
            self._show(found, "duplicates")
            return None
        untried = result.outcome is Outcome.SKIPPED and result.error is None
        if untried and result.key is None and self._journal is not None:
            return self._add_untried(row, found, result.message, self._journal)
        self._add(row, found)
        if found.opted_out:
            self._show(found, "opt-outs")
        elif not found.complete and not untried:
            self._show(found, "failures")
        return None

    async def _add_untried(self, row: Row, found: RowResult, message: Item, journal: Journal) -> None:
        """Add a row that was not looked up before the run ended: an earlier run may have sent it."""
        # This holds if the lookup fails: the row must not be sent again unasked.
        outcome: Outcome | None = Outcome.UNKNOWN
        try:
            outcome = await _earlier_outcome(message, journal)
        finally:
            complete, may_be_accepted = outcome is Outcome.ACCEPTED, outcome is Outcome.UNKNOWN
            self._add(row, attrs.evolve(found, complete=complete, may_be_accepted=may_be_accepted))

    def _add(self, row: Row, found: RowResult) -> None:
        self.counts.add(found)
        # First, because standard output may have no reader any more.
        if self._failed is not None:
            self._failed.add(row, found)
        if self._as_json and not self.output_failed:
            try:
                result_json(found.as_json())
            except OSError:
                self.output_failed = True
                raise

    def _show(self, found: RowResult, kind: str) -> None:
        self._shown[kind] += 1
        if self._shown[kind] <= SHOWN_FAILURES:
            self._view.info(f"line {found.line}: {found.outcome.value}: {found.reason}")
        elif self._shown[kind] == SHOWN_FAILURES + 1:
            self._view.info(f"more {kind} follow, which are only counted")

    def _write_counts(self, report: SendReport) -> None:
        try:
            write_counts(report, self.counts, as_json=self._as_json)
        except OSError:
            self.output_failed = True
            raise

    def _announce_end(self) -> None:
        self._view.info(
            f"interrupted: waiting up to {SHUTDOWN_TIMEOUT:.0f} s for requests in flight; interrupt again to stop at once"
        )


async def _earlier_outcome(message: Item, journal: Journal) -> Outcome | None:
    """The outcome of this message in earlier runs; `None` if there is none."""
    if not isinstance(message, Message):
        return None
    key, _ = dump_keyed_message(message, journal=None)
    try:
        entry = await journal.entry(key)
    except JournalError:
        # The journal is what ended the run.
        return Outcome.UNKNOWN
    return None if entry is None else entry.outcome


@attrs.frozen
class _SizedItems:
    """Messages with a length: a run that ends early reads the rest of such an input, and reports it as skipped."""

    items: Iterator[Item]
    length: int

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Item]:
        return self.items
