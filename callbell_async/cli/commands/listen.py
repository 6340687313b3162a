"""`callbell-async listen`: the events of a webhook as they come."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import click

from callbell_async.arguments import check_secret, is_insecure
from callbell_async.cli.connection import read_secret
from callbell_async.cli.exits import DONE, ShutdownSignals
from callbell_async.cli.options import FILE, ArgumentErrors, json_option
from callbell_async.cli.output import LogLines, escape_control, info, json_text, result_json, warn, write
from callbell_async.errors import ConfigurationError
from callbell_async.models.contacts import Contact
from callbell_async.models.events import (
    AgentSessionUpdated,
    AgentStatusUpdated,
    ContactCreated,
    ContactDeleted,
    ContactUpdated,
    ConversationClosed,
    ConversationOpened,
    Event,
    MessageCreated,
    MessageStatusUpdated,
    TeamMembershipUpdated,
    UnknownEvent,
)

__all__ = ["colour_of", "event_line", "listen", "serve_events"]

_SECRET = "CALLBELL_WEBHOOK_SECRET"  # noqa: S105 - a variable's name


@click.command(cls=ArgumentErrors, short_help="Print the events of a webhook as they come.")
@click.option("--port", required=True, type=click.IntRange(0, 65535), help="Port to listen on; 0 for a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--path", default="/", show_default=True, help="Path that receives the events.")
@click.option(
    "--secret-file", type=FILE, help=f"File with the webhook secret; the default is {_SECRET} in the environment."
)
@click.option("--unsigned", is_flag=True, help="Accept events without a signature, from anybody.")
@json_option
def listen(port: int, host: str, path: str, secret_file: Path | None, unsigned: bool, as_json: bool) -> int:
    """Print the events that Callbell sends to a webhook, one per line, until a signal comes.

    The webhook secret is read from --secret-file, or from CALLBELL_WEBHOOK_SECRET in the environment.

    Exit status: 0 stopped by a signal, 1 output failed, 2 wrong use.
    """
    if not path.startswith("/") or any(character in path for character in "?#{}"):
        raise ConfigurationError("--path: must begin with a slash and be only a path, such as /callbell")
    secret = _secret(secret_file, unsigned=unsigned)
    with ShutdownSignals() as signals:
        asyncio.run(serve_events(signals, host, port, path, secret, write_json if as_json else write_line))
    return DONE


def _secret(file: Path | None, *, unsigned: bool) -> str | None:
    if unsigned:
        if file is not None:
            raise ConfigurationError("--unsigned: can't be used together with --secret-file")
        return None
    if file is not None:
        return check_secret(f"--secret-file: {file}", read_secret(file, "--secret-file"))
    if not (secret := os.environ.get(_SECRET, "").strip()):
        raise ConfigurationError(
            f"no webhook secret; set {_SECRET} or use --secret-file FILE, or --unsigned if Callbell does not sign the events"
        )
    return check_secret(_SECRET, secret)


async def serve_events(
    signals: ShutdownSignals, host: str, port: int, path: str, secret: str | None, write: Callable[[Event], None]
) -> None:
    """Pass every event to `write` until a signal comes; raises the `OSError` that `write` raises."""
    failures: asyncio.Queue[OSError] = asyncio.Queue()

    def handle(event: Event) -> None:
        try:
            write(event)
        except OSError as error:
            # Standard output has no reader any more.
            failures.put_nowait(error)

    async with _serving(host, port, path, handle, secret) as url:
        if secret is None and is_insecure(url):
            warn(f"--unsigned: anybody who can reach {host} can send events")
        info(f"listening on {url}")
        with signals.cancelling():
            raise await failures.get()


@asynccontextmanager
async def _serving(
    host: str, port: int, path: str, handle: Callable[[Event], None], secret: str | None
) -> AsyncIterator[str]:
    """Serve until the block is left; yields the URL."""
    from aiohttp import web

    from callbell_async.webhooks import add_webhook_route

    app = web.Application()
    add_webhook_route(app, path, handle, secret=secret, unsigned=secret is None)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, logger=_server_logger())
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(f"--port: {port} on {host} can't be used ({error.strerror})") from None
        bound = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}{path}"
    finally:
        await runner.cleanup()


def _server_logger() -> logging.Logger:
    """A logger for aiohttp's server that writes one line for a request that is not HTTP, instead of a traceback."""
    logger = logging.getLogger("callbell_async.cli.listen")
    logger.propagate = False
    # aiohttp logs bytes that are not HTTP at all as debug messages.
    logger.setLevel(logging.DEBUG)
    logger.handlers = [LogLines()]
    return logger


# --- events as lines --------------------------------------------------------------------------------------------------

_LONGEST = 300

_FAMILIES = {"message": "green", "contact": "cyan", "conversation": "blue", "agent": "magenta", "team": "magenta"}


def write_line(event: Event) -> None:
    """Write the event as a line for people to standard output."""
    line = event_line(event, now=datetime.now().astimezone())
    # `color=None` lets click decide: only a terminal gets colours.
    write(click.style(line, fg=colour_of(event)) + "\n", color=False if os.environ.get("NO_COLOR") else None)


def write_json(event: Event) -> None:
    """Write the event's document as a line to standard output."""
    result_json(event.raw)


def event_line(event: Event, *, now: datetime) -> str:
    """Return the event as one line with its time of arrival: control characters are escaped, and a long line is cut."""
    line = escape_control(f"{event.name} {_details(event)}".rstrip())
    return f"{now:%H:%M:%S} {line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'}"


def colour_of(event: Event) -> str:
    """Return the colour of an event: one for each family, one for failures, one for unknown events."""
    if isinstance(event, UnknownEvent):
        return "yellow"
    if isinstance(event, MessageStatusUpdated) and event.failure is not None:
        return "red"
    return _FAMILIES.get(event.name.partition("_")[0], "yellow")


def _details(event: Event) -> str:
    """Return the most important values of an event, without its name."""
    match event:
        case MessageCreated(is_incoming=True):
            return f"{event.channel} from {event.sender}: {_content(event)}"
        case MessageCreated():
            return f"{event.channel} to {event.recipient}: {_content(event)}"
        case MessageStatusUpdated():
            failure = event.failure
            why = "" if failure is None else f" ({_joined(failure.code, failure.reason) or 'no reason given'})"
            return f"{event.uuid} {event.status}{why}"
        case ContactCreated() | ContactUpdated():
            return _person(event.contact)
        case ContactDeleted():
            return str(event.uuid)
        case ConversationOpened():
            return f"with {_person(event.contact)}"
        case ConversationClosed():
            return _joined(f"with {_person(event.contact)}", event.conversation.closing_reason)
        case AgentStatusUpdated():
            available = {True: "available", False: "away"}.get(event.user.available)  # type: ignore[arg-type]
            custom = event.user.user_custom_status
            return _joined(event.user.email, available, custom and custom.name)
        case AgentSessionUpdated():
            return _joined(event.user and event.user.email, event.action)
        case TeamMembershipUpdated():
            return _joined(event.team and event.team.name, event.reason, event.user and event.user.email)
        case UnknownEvent():
            return json_text(event.payload)


def _content(message: MessageCreated) -> str:
    others = {
        f"{len(message.attachments)} attachments": message.attachments,
        "a location": message.location,
        f"{len(message.contact_cards)} contact cards": message.contact_cards,
    }
    return _joined(message.text, *(f"[{name}]" for name, there in others.items() if there))


def _person(contact: Contact | None) -> str:
    return "nobody" if contact is None else _joined(contact.name, contact.phone_number, contact.uuid)


def _joined(*parts: object) -> str:
    return " ".join(str(part) for part in parts if part not in (None, ""))
