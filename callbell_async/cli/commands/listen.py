"""`callbell-async listen`: the webhook's events as they come."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import click

from callbell_async.cli.connection import read_secret
from callbell_async.cli.event_format import colour_of, event_line
from callbell_async.cli.exit_codes import DONE
from callbell_async.cli.options import FILE, json_option
from callbell_async.cli.output import put, say, tell_json
from callbell_async.cli.signals import Interrupts
from callbell_async.errors import ConfigurationError
from callbell_async.models.events import Event

__all__ = ["listen"]


@click.command(short_help="Write the events of a webhook as they come.")
@click.option("--port", required=True, type=click.IntRange(0, 65535), help="The port to listen on; 0 for a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--path", default="/", show_default=True, help="The path that takes the events.")
@click.option("--secret-file", type=FILE, help="A file with the webhook's secret; or set CALLBELL_WEBHOOK_SECRET.")
@click.option("--unsigned", is_flag=True, help="Take events that nobody has signed, from whoever sends them.")
@json_option
def listen(port: int, host: str, path: str, secret_file: Path | None, unsigned: bool, as_json: bool) -> int:
    """Write the events that Callbell sends to a webhook to standard output, a line each, until SIGINT or SIGTERM.

    The webhook's secret is read from CALLBELL_WEBHOOK_SECRET or from --secret-file.

    Exit status: 0 stopped, 2 wrong use.
    """
    if not path.startswith("/") or any(character in path for character in "?#{}"):
        raise ConfigurationError("--path: must begin with a slash, and be a path only, such as /callbell")
    secret = _secret(secret_file, unsigned=unsigned)
    with Interrupts() as interrupts:
        asyncio.run(serve_events(interrupts, host, port, path, secret, write_json if as_json else write_line))
    return DONE


def _secret(file: Path | None, *, unsigned: bool) -> str | None:
    if unsigned:
        if file is not None:
            raise ConfigurationError("--unsigned: does not go with --secret-file")
        return None
    if file is not None:
        return read_secret(file, "--secret-file")
    if not (secret := os.environ.get("CALLBELL_WEBHOOK_SECRET")):
        raise ConfigurationError(
            "no webhook secret; set CALLBELL_WEBHOOK_SECRET or give --secret-file FILE, or --unsigned where Callbell does not sign"
        )
    return secret


async def serve_events(
    interrupts: Interrupts, host: str, port: int, path: str, secret: str | None, write: Callable[[Event], None]
) -> None:
    """Hand every event to `write` until a signal comes, or until `write` raises an `OSError`, which is raised."""
    failures: asyncio.Queue[OSError] = asyncio.Queue()

    def handle(event: Event) -> None:
        try:
            write(event)
        except OSError as error:
            # Nobody reads any more.
            failures.put_nowait(error)

    async with _serving(host, port, path, handle, secret) as url:
        say(f"listening on {url}")
        interrupts.watch(lambda: None)
        try:
            raise await failures.get()
        except asyncio.CancelledError:
            if not interrupts.count:
                raise
        finally:
            interrupts.release()


@asynccontextmanager
async def _serving(
    host: str, port: int, path: str, handle: Callable[[Event], None], secret: str | None
) -> AsyncIterator[str]:
    """Serve until the block is left; gives the URL."""
    from aiohttp import web

    from callbell_async.webhooks import add_webhook_route

    app = web.Application()
    add_webhook_route(app, path, handle, secret=secret, unsigned=secret is None)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(f"--port: {port} on {host} can't be used ({error.strerror})") from None
        taken = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{taken}{path}"
    finally:
        await runner.cleanup()


def write_line(event: Event) -> None:
    """The event on a line for people, on standard output."""
    line = event_line(event, now=datetime.now().astimezone())
    # Colours are for terminals; what is no terminal gets none.
    put(click.style(line, fg=colour_of(event)) + "\n", color=False if os.environ.get("NO_COLOR") else None)


def write_json(event: Event) -> None:
    """The event's document on a line."""
    tell_json(event.raw)
