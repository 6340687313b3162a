"""One run over one input: sent, shown, written down, and ended in good order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import attrs

from callbell_async.bulk import DEFAULT_STOP_ON
from callbell_async.cli.connection import Connection
from callbell_async.cli.exit_codes import DONE, NOT_ALL_DONE
from callbell_async.cli.failed_rows import FailedRows, Outputs
from callbell_async.cli.input_rows import Row, RowFile, read_in_thread
from callbell_async.cli.message_form import MessagePlan, plan_for_rows
from callbell_async.cli.notes import Order
from callbell_async.cli.output import UNWRITABLE, say, tell_json
from callbell_async.cli.progress import View, view_for
from callbell_async.cli.row_results import NOT_TRIED, Tally, Verdict, verdict_on
from callbell_async.cli.saved_run import go_on, send_again
from callbell_async.cli.signals import Interrupts
from callbell_async.cli.summary import tell_counts, tell_how_to_go_on, tell_kept_back
from callbell_async.client import CallbellClient
from callbell_async.errors import JournalError, Outcome
from callbell_async.journal import Journal
from callbell_async.models.messages import Message
from callbell_async.models.results import Item, SendReport, SendResult
from callbell_async.wire import dump_keyed_message

__all__ = ["SHOWN_FAILURES", "Campaign", "conduct", "open_input"]

SHOWN_FAILURES = 20
"""How many failures are told one by one; a campaign whose every message fails should not scroll the reason away."""

GRACE = 30.0
"""Seconds that the first Ctrl-C gives to what is under way: as long as one attempt may take."""


def open_input(order: Order) -> tuple[RowFile, MessagePlan]:
    """The rows of an order and what becomes of each; raises `ConfigurationError` for what doesn't go together."""
    plan = plan_for_rows(
        order.form, to_column=order.to_column, bsuid_column=order.bsuid_column, key_column=order.key_column
    )
    rows = RowFile(order.file)
    for option, columns in plan.required_columns():
        rows.require(columns, option)
    return rows, plan


def conduct(
    order: Order,
    connection: Connection,
    outputs: Outputs,
    *,
    journal: Path | None = None,
    resend: tuple[str, ...] = (),
) -> int:
    """Carry out an order, and give the exit status. Raises `ConfigurationError` before anything is sent, and `JournalError`."""
    rows, plan = open_input(order)
    connection = attrs.evolve(connection, sandbox=order.sandbox, base_url=order.base_url).ready()
    failed = outputs.failed_rows(rows, journal=journal)
    total = rows.count()
    with Interrupts() as interrupts:
        campaign = Campaign(
            rows, plan, view=view_for(total), interrupts=interrupts, failed=failed, as_json=outputs.as_json
        )
        try:
            asyncio.run(campaign.run(order, connection, journal=journal, resend=resend))
        finally:
            if failed is not None:
                tell_kept_back(failed.kept_back)
            if campaign.is_broken_off:
                say(f"{UNWRITABLE}; so far: {campaign.tally.words() or 'nothing was tried'}")
            if ended_by := _ended_by(campaign, interrupts, journal):
                tell_how_to_go_on(
                    ended_by,
                    last_line=campaign.last_line,
                    not_sent=campaign.tally.not_sent,
                    journal=journal,
                    is_stream=rows.is_stream,
                    failed_to=outputs.failed_to,
                )
    return interrupts.status or (DONE if campaign.tally.done == campaign.tally.total else NOT_ALL_DONE)


def _ended_by(campaign: Campaign, interrupts: Interrupts, journal: Path | None) -> str | None:
    """What keeps the rest from being sent; `None` where there is no rest, or where nothing is to be said of it."""
    if campaign.is_broken_off and not (campaign.is_through and campaign.tally.done == campaign.tally.total):
        return UNWRITABLE
    if interrupts.count:
        return "interrupted"
    return "the sending was stopped" if campaign.is_stopped and journal is not None else None


class Campaign:
    """One run over one input; `tally` counts its results, and `last_line` is the line of the last row that was given out.

    `is_broken_off` says that results could not be written any more: nobody reads them, or a disk is full. `is_through`: the whole input was
    read and has its results. `is_stopped`: Callbell refused the token, or the wallet is empty, so that the rest was not tried.
    """

    def __init__(
        self,
        rows: RowFile,
        plan: MessagePlan,
        *,
        view: View,
        interrupts: Interrupts,
        failed: FailedRows | None = None,
        as_json: bool = False,
    ) -> None:
        self._rows = rows
        self._unread = rows.rows()
        self._plan = plan
        self._view = view
        self._interrupts = interrupts
        self._failed = failed
        self._as_json = as_json
        self._told_failures = 0
        self.last_line = 0
        self.is_broken_off = self.is_through = self.is_stopped = False
        # The rows of the messages under way, by index: what is done is forgotten.
        self._under_way: dict[int, Row] = {}
        self.tally = Tally()

    async def run(
        self, order: Order, connection: Connection, *, journal: Path | None = None, resend: tuple[str, ...] = ()
    ) -> None:
        """Send them all, and tell the counts at the end, also of a run that was interrupted."""
        async with AsyncExitStack() as stack:
            callbell = await stack.enter_async_context(connection.open(rate=order.rate, concurrency=order.concurrency))
            kept = None
            if journal is not None:
                kept = await stack.enter_async_context(Journal(journal))
                await go_on(order, kept)
                await send_again(kept, resend)
            if self._failed is not None:
                # Not before the journal is ours: another process may be writing this file.
                stack.enter_context(self._failed)
            await self.send(callbell, concurrency=order.concurrency, journal=kept)

    async def send(self, callbell: CallbellClient, *, concurrency: int, journal: Journal | None = None) -> None:
        """Send what the input has through this client."""
        run = callbell.send_many(
            self._waited_for() if self._rows.is_stream else self._items(),
            concurrency=concurrency,
            journal=journal,
            on_result=self._settled,
            shutdown_timeout=GRACE,
        )
        self._interrupts.watch(self._say_that_it_ends)
        try:
            with self._view:
                async for _ in run:
                    self._view.show(self.tally)
            self.is_through = True
        except asyncio.CancelledError:
            if not self._interrupts.count:
                raise
        except OSError:
            self.is_broken_off = True
            raise
        finally:
            # What comes now is closing the journal and the connections, which a signal must not break off.
            self._interrupts.release()
            await self._settle_the_rest(journal)
            if not self.is_broken_off:
                self._tell_counts(run.report)

    # --- what goes in -------------------------------------------------------------------------------------------------

    def _items(self) -> Iterator[Item]:
        for index, row in enumerate(self._unread):
            yield self._item(index, row)

    async def _waited_for(self) -> AsyncIterator[Item]:
        index = 0
        async for row in read_in_thread(self._unread):
            yield self._item(index, row)
            index += 1

    def _item(self, index: int, row: Row) -> Item:
        self._under_way[index] = row
        self.last_line = row.line
        return self._plan.item(row)

    # --- what comes out -----------------------------------------------------------------------------------------------

    def _tell_counts(self, report: SendReport) -> None:
        try:
            tell_counts(report, self.tally, as_json=self._as_json)
        except OSError:
            self.is_broken_off = True
            raise

    def _settled(self, result: SendResult) -> None:
        row = self._under_way.pop(result.index)
        verdict = verdict_on(row.line, result)
        self.is_stopped = self.is_stopped or isinstance(result.error, DEFAULT_STOP_ON)
        self._take(row, verdict)
        if not verdict.done:
            self._tell_failure(verdict)

    def _take(self, row: Row, verdict: Verdict) -> None:
        self.tally.add(verdict)
        # First, because who reads the results may be gone.
        if self._failed is not None:
            self._failed.add(row, verdict)
        if self._as_json and not self.is_broken_off:
            try:
                tell_json(verdict.as_json())
            except OSError:
                self.is_broken_off = True
                raise

    async def _settle_the_rest(self, journal: Journal | None) -> None:
        """Account for the rows of a run that was ended: those that were fetched and not tried, and those still in the file."""
        for _, row in sorted(self._under_way.items()):
            self._take(row, await self._not_tried(row, journal))
        if self._failed is None or self._rows.is_stream or not (self._interrupts.count or self.is_broken_off):
            return
        for row in self._unread:
            if self._interrupts.count > 1:
                say(f"left at once: the rows from line {row.line} on were not written to --failed-to")
                return
            self._failed.add(row, await self._not_tried(row, journal))

    async def _not_tried(self, row: Row, journal: Journal | None) -> Verdict:
        """The verdict on a row that was not tried in this run: it may have been in an earlier one."""
        before = None if journal is None else await self._known(row, journal)
        return Verdict(
            line=row.line,
            outcome=Outcome.SKIPPED,
            done=before is Outcome.ACCEPTED,
            unsure=before is Outcome.UNKNOWN,
            reason=NOT_TRIED,
        )

    async def _known(self, row: Row, journal: Journal) -> Outcome | None:
        item = self._plan.item(row)
        if not isinstance(item, Message):
            return None
        key, _ = dump_keyed_message(item, journal=None)
        try:
            entry = await journal.entry(key)
        except JournalError:
            # It is the journal that ended the run.
            return Outcome.UNKNOWN
        return None if entry is None else entry.outcome

    def _tell_failure(self, verdict: Verdict) -> None:
        self._told_failures += 1
        if self._told_failures <= SHOWN_FAILURES:
            self._view.say(f"line {verdict.line}: {verdict.outcome.value}: {verdict.reason}")
        elif self._told_failures == SHOWN_FAILURES + 1:
            self._view.say("further failures are only counted")

    def _say_that_it_ends(self) -> None:
        self._view.say(
            f"interrupted: finishing what is under way, in {GRACE:.0f} s at the most; once more leaves at once"
        )
