"""Campaigns with and without a journal. No message is sent twice, and each is built when it is needed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

from callbell_async import Journal, TextMessage
from callbell_async.errors import Outcome
from tests.benchmarks.contenders.base import recipient, text
from tests.benchmarks.contenders.ours import IteratedSendMany


class Unjournalled(IteratedSendMany):
    """A campaign in slices, without a journal."""

    sent = 0

    async def send_all(self, count: int) -> int:
        """Send the next part of the campaign."""
        accepted = 0
        async for result in self._client.send_many(
            self.next_messages(count), concurrency=self.setup.concurrency, journal=self.journal()
        ):
            accepted += result.outcome is Outcome.ACCEPTED
            if self.progress is not None:
                self.progress(accepted)
        return accepted

    def next_messages(self, count: int) -> Iterator[TextMessage]:
        """Yield the next messages of the campaign, each built when it is needed."""
        first, self.sent = self.sent, self.sent + count
        for index in range(first, first + count):
            yield TextMessage(to=recipient(index), text=text(index))

    def journal(self) -> Journal | None:
        """Return the journal of the campaign; `None` without one."""
        return None


class Tagged(Unjournalled):
    """The same campaign with the bytes that a journal adds to each request."""

    def next_messages(self, count: int) -> Iterator[TextMessage]:
        """Yield the next messages, each with a key in its metadata."""
        first, self.sent = self.sent, self.sent + count
        for index in range(first, first + count):
            yield TextMessage(to=recipient(index), text=text(index), metadata={"callbell_async_key": f"{index:032x}"})


class Journalled(Unjournalled):
    """The campaign with a journal, which is open all the time and grows."""

    risk_power_loss = False

    async def open(self) -> None:
        """Open a client, and a journal in a new directory."""
        await super().open()
        self._directory = tempfile.TemporaryDirectory()
        path = Path(self._directory.name, "campaign.db")
        self._journal = await Journal(path, risk_power_loss=self.risk_power_loss).open()

    def journal(self) -> Journal | None:
        """Return the journal."""
        return self._journal

    async def close(self) -> None:
        """Close the journal and the client."""
        await self._journal.close()
        self._directory.cleanup()
        await super().close()


class JournalledFaster(Journalled):
    """The campaign with a journal that does not wait for the disk."""

    risk_power_loss = True


class SinglesJournalled(Journalled):
    """Concurrent calls of `send` with a journal, one for each message."""

    async def send_all(self, count: int) -> int:
        """All at once."""
        calls = (self._client.send(message, journal=self._journal) for message in self.next_messages(count))
        return len(await asyncio.gather(*calls))


class PacedUnjournalled(Unjournalled):
    """A campaign without a journal at Callbell's rate."""

    rate_limit = 300


class PacedJournalled(Journalled):
    """A campaign with a journal at Callbell's rate."""

    rate_limit = 300
