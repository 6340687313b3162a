"""The claims of single messages, written to the journal together."""

from __future__ import annotations

import asyncio
from collections import deque

from callbell_async.asyncio_tools import CancellationShield
from callbell_async.errors import JournalError
from callbell_async.http.requests import Countdown
from callbell_async.journal.store import Claim, ClaimRequest
from callbell_async.journal.writer import JournalWriter
from callbell_async.models.receipts import MessageReceipt

__all__ = ["BATCH_SIZE", "MOST_AHEAD", "ClaimQueue"]

MOST_AHEAD = 35
"""The most messages that are claimed and have not started. A crash leaves them `UNKNOWN`, although they were not sent."""
BATCH_SIZE = 25
"""The most messages in one claim. The next claim is written when there is room for a whole batch."""


class ClaimQueue:
    """Collects the claims of concurrent calls, and writes them in batches: one transaction for many messages.

    All calls of one journal object in one event loop share it, whatever their clients.

    Attributes:
        loop: The event loop, to which all futures belong.
        ahead: Counts the messages that are claimed and have not started.
        sending: A future for each key that a call is sending now. Its result is the receipt and the body that was sent, the error after which
            the others must not send the message, or `None` if they may try it.
    """

    def __init__(self, writer: JournalWriter) -> None:
        self._writer = writer
        self._waiting: deque[tuple[ClaimRequest, asyncio.Future[Claim]]] = deque()
        self._is_writing = False
        self.loop = asyncio.get_running_loop()
        self.ahead = Countdown(mark=MOST_AHEAD - BATCH_SIZE, on_mark=self._write_soon)
        self.sending: dict[str, asyncio.Future[tuple[MessageReceipt, bytes] | BaseException | None]] = {}

    async def claim(self, request: ClaimRequest) -> tuple[Claim, asyncio.CancelledError | None]:
        """Return the journal's decision, and the cancellation that came while the claim was being written.

        The caller must record a granted claim even then. A call that is cancelled earlier raises, and claims nothing.
        """
        await self._writer.reopen()
        claiming: asyncio.Future[Claim] = self.loop.create_future()
        entry = (request, claiming)
        self._waiting.append(entry)
        self._write_soon()

        def withdraw() -> None:
            # After that it is being written.
            if entry in self._waiting:
                self._waiting.remove(entry)
                claiming.cancel()

        shield = CancellationShield()
        await shield.wait(claiming, withdraw)
        if claiming.cancelled() and shield.error is not None:
            raise shield.error
        return claiming.result(), shield.error

    def _write_soon(self) -> None:
        # In the next round of the loop, so that all calls of this round are in one batch.
        if self._waiting and not self._is_writing and self.ahead.count <= self.ahead.mark:
            self._is_writing = True
            self.loop.call_soon(self._write)

    def _write(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH_SIZE, len(self._waiting)))]
        if not batch:
            self._is_writing = False
            return
        try:
            writing = self._writer.claim([request for request, _ in batch])
        except JournalError as error:
            self._end_batch(batch, error)
            return

        def written(writing: asyncio.Future[list[Claim]]) -> None:
            if writing.cancelled():
                self._end_batch(batch, JournalError("the program ends; the message was not sent"))
            elif (error := writing.exception()) is not None:
                self._end_batch(batch, error)
            else:
                for (_, claiming), claim in zip(batch, writing.result(), strict=True):
                    self.ahead.count += claim.granted
                    claiming.set_result(claim)
                self._is_writing = False
                self._write_soon()

        writing.add_done_callback(written)

    def _end_batch(self, batch: list[tuple[ClaimRequest, asyncio.Future[Claim]]], error: BaseException) -> None:
        for _, claiming in batch:
            claiming.set_exception(error)
            # A call that was cancelled does not ask for it.
            claiming.exception()
        self._is_writing = False
        self._write_soon()
