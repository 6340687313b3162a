"""`callbell-async sandbox`: a mock Callbell server for programs in any language."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime

import click

from callbell_async.cli.output import counted
from callbell_async.errors import ConfigurationError
from callbell_async.sandbox import Sandbox

__all__ = ["sandbox"]

WRONG_USE = 2


@click.command(short_help="Run a mock Callbell server on this machine.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="The port on 127.0.0.1; 0 for a free one.")
@click.option("--token", help="The only accepted token. Without it, any token is accepted.")
@click.option("--limit", default=300, show_default=True, type=click.IntRange(min=1), help="Requests in any second.")
@click.option(
    "--webhook-secret",
    envvar="CALLBELL_WEBHOOK_SECRET",
    help="The secret that signs webhook events; better set CALLBELL_WEBHOOK_SECRET. Without it, events are not signed.",
)
def sandbox(port: int, token: str | None, limit: int, webhook_secret: str | None) -> None:
    """Run a mock Callbell server on this machine, in memory, until SIGINT or SIGTERM.

    The first line of output is its base URL. Messages reach no customer. Webhook events are posted to a webhook on this machine only.
    """
    now = datetime.now(UTC)
    try:
        server = Sandbox(token=token, port=port, limit=limit, start=now, webhook_secret=webhook_secret)
    except ConfigurationError as error:
        click.echo(f"callbell-async: --webhook-secret: {error}", err=True)
        raise SystemExit(WRONG_USE) from None
    try:
        asyncio.run(_serve(server))
    except OSError as error:
        click.echo(f"callbell-async: --port: {port} can't be used ({error.strerror})", err=True)
        raise SystemExit(WRONG_USE) from None


async def _serve(server: Sandbox) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    try:
        async with server:
            click.echo(server.url)
            await stop.wait()
        requests, messages = counted(len(server.requests), "request"), counted(len(server.messages), "message")
        click.echo(f"stopped; {requests}, {messages} accepted")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
