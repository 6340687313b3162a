"""aiogram: one `Bot`, whose session uses a custom API server on loopback."""

from __future__ import annotations

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer

from tests.benchmarks.contenders.base import text
from tests.benchmarks.contenders.worker_pool import WorkerPoolContender


class Aiogram(WorkerPoolContender):
    """`bot.send_message`."""

    async def open(self) -> None:
        """Open the bot, with as many connections as workers."""
        server = TelegramAPIServer.from_base(self.setup.root)
        self._bot = Bot("42:benchmark", session=AiohttpSession(api=server, limit=self.setup.concurrency))

    async def send_one(self, index: int) -> bool:
        """Send the message."""
        message = await self._bot.send_message(index + 1, text(index))
        return bool(message.message_id)

    async def close(self) -> None:
        """Close the session."""
        await self._bot.session.close()
