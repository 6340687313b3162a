"""A bot that replies to customers on every channel, and to each message once.

Run it with `python aiohttp_bot.py`. The environment has CALLBELL_TOKEN and the webhook's secret as
CALLBELL_WEBHOOK_SECRET.
"""

import os
import re
from collections.abc import AsyncIterator

from aiohttp import web

from callbell_async import BotStatus, CallbellClient, Event, Journal, MessageCreated, TextMessage
from callbell_async.webhooks import add_webhook_route

CALLBELL = web.AppKey("callbell", CallbellClient)
JOURNAL = web.AppKey("journal", Journal)


def reply_to(event: Event) -> TextMessage | None:
    """Return the reply to an event; `None` if it needs none."""
    match event:
        case MessageCreated(is_incoming=True, sender=str(to), channel=channel, text=received):
            words = (received or "").lower()
        case _:
            return None
    status = None
    if found := re.search(r"order\s+(\d+)", words):
        text = f"Order {found[1]} is on its way."
    elif "open" in words:
        text = "We are open from nine to five, Monday to Friday."
    else:
        text, status = "A colleague will reply soon.", BotStatus.BOT_END
    # Callbell may send an event twice: the key of the event makes its reply one message to the journal.
    return TextMessage(to=to, channel=channel or "whatsapp", text=text, bot_status=status, key=f"reply-{event.key}")


async def open_callbell(app: web.Application) -> AsyncIterator[None]:
    """Open the journal and the client with the application, and close them with it."""
    async with Journal(os.environ.get("BOT_JOURNAL", "bot.db")) as journal, CallbellClient() as callbell:
        app[CALLBELL], app[JOURNAL] = callbell, journal
        yield


def create_app() -> web.Application:
    """Return the application."""
    app = web.Application()
    app.cleanup_ctx.append(open_callbell)

    async def handler(event: Event) -> None:
        if message := reply_to(event):
            await app[CALLBELL].send(message, journal=app[JOURNAL])

    # With this option Callbell sends an event again if the bot ends before it has replied.
    add_webhook_route(
        app, "/callbell", handler, secret=os.environ["CALLBELL_WEBHOOK_SECRET"], respond_after="handler", concurrency=10
    )
    return app


if __name__ == "__main__":
    web.run_app(create_app(), port=8000)
