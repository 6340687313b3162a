"""`callbell-async sandbox`: a mock Callbell server for programs in any language."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from callbell_async.cli.exits import DONE, ShutdownSignals
from callbell_async.cli.options import ArgumentErrors
from callbell_async.cli.output import pluralize, result
from callbell_async.errors import ConfigurationError
from callbell_async.sandbox import Sandbox

__all__ = ["sandbox"]


@click.command(cls=ArgumentErrors, short_help="Run a mock Callbell server on this machine.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port on 127.0.0.1; 0 for a free one.")
@click.option("--token", help="The only token that it accepts; any by default.")
@click.option(
    "--limit", default=300, show_default=True, type=click.IntRange(min=1), help="Maximum number of requests per second."
)
@click.option(
    "--seed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file with the records of the account, such as contacts and templates.",
)
@click.option(
    "--webhook-secret",
    envvar="CALLBELL_WEBHOOK_SECRET",
    help="Sign webhook events with this secret. Other users can see it in the list of processes: "
    "prefer CALLBELL_WEBHOOK_SECRET in the environment.",
)
def sandbox(port: int, token: str | None, limit: int, seed: Path | None, webhook_secret: str | None) -> int:
    """Run a mock Callbell server on this machine, in memory, until a signal comes.

    The first line of its output is its base URL, the second one the address of its inbox for a browser. It sends nothing but webhook
    events to this machine.

    Exit status: 0 stopped by a signal, 2 wrong use.
    """
    try:
        server = Sandbox(
            token=token,
            port=port,
            limit=limit,
            start=datetime.now(UTC),
            webhook_secret=webhook_secret,
            records=None if seed is None else _read_json(seed),
        )
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"--seed: {seed}: {error}") from None
    with ShutdownSignals() as signals:
        asyncio.run(_serve(server, port, signals))
    return DONE


async def _serve(server: Sandbox, port: int, signals: ShutdownSignals) -> None:
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise ConfigurationError(f"--port: {port} can't be used ({error.strerror})") from None
        result(server.url)
        result(f"inbox: {server.inbox_url}")
        with signals.cancelling():
            await asyncio.Event().wait()
    requests, messages = pluralize(len(server.requests), "request"), pluralize(len(server.messages), "message")
    result(f"stopped; {requests}, {messages} accepted")


def _read_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON") from None
    except OSError as error:
        raise ValueError(error.strerror) from None
