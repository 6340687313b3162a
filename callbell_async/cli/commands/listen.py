"""`callbell-async listen`: the events of a webhook as they come."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

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

_SECRETS = {
    "secret": ("--secret-file", "CALLBELL_WEBHOOK_SECRET"),
    "url_secret": ("--url-secret-file", "CALLBELL_WEBHOOK_URL_SECRET"),
    "header_secret": ("--header-secret-file", "CALLBELL_WEBHOOK_HEADER_SECRET"),
}
"""The receiver's arguments for secrets, and the option and the variable that each is read from."""

_HEADER = "X-Webhook-Secret"

_HELP = "File with {}; the default is {} in the environment."


@click.command(cls=ArgumentErrors, short_help="Print the events of a webhook as they come.")
@click.option("--port", required=True, type=click.IntRange(0, 65535), help="Port to listen on; 0 for a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--path", default="/", show_default=True, help="Path that receives the events.")
@click.option(
    "--secret-file", type=FILE, help=_HELP.format("the webhook secret, which signs the events", _SECRETS["secret"][1])
)
@click.option(
    "--url-secret-file",
    type=FILE,
    help=_HELP.format("a secret that the URL must hold as its parameter secret", _SECRETS["url_secret"][1]),
)
@click.option(
    "--header-secret-file",
    type=FILE,
    help=_HELP.format("a secret that the header must hold", _SECRETS["header_secret"][1]),
)
@click.option("--header", metavar="NAME", help=f"Name of the header with that secret.  [default: {_HEADER}]")
@click.option("--unsigned", is_flag=True, help="Accept events without a signature.")
@json_option
def listen(
    port: int,
    host: str,
    path: str,
    secret_file: Path | None,
    url_secret_file: Path | None,
    header_secret_file: Path | None,
    header: str | None,
    unsigned: bool,
    as_json: bool,
) -> int:
    """Print the events that Callbell sends to a webhook, one per line, until a signal comes.

    Each secret is read from its file or from the environment. A request must have all that are given: the signature, the secret in the
    URL, the secret in the header.

    Exit status: 0 stopped by a signal, 1 output failed, 2 wrong use.
    """
    if not path.startswith("/") or any(character in path for character in "?#{}"):
        raise ConfigurationError("--path: must begin with a slash and be only a path, such as /callbell")
    if unsigned and secret_file is not None:
        raise ConfigurationError("--unsigned: can't be used together with --secret-file")
    files = {"secret": secret_file, "url_secret": url_secret_file, "header_secret": header_secret_file}
    demands = _demands(files, header, unsigned=unsigned)
    with ShutdownSignals() as signals:
        asyncio.run(serve_events(signals, host, port, path, demands, write_json if as_json else write_line))
    return DONE


def _demands(files: Mapping[str, Path | None], header: str | None, *, unsigned: bool) -> dict[str, Any]:
    """Return what the receiver demands of a request, as its arguments."""
    demands: dict[str, Any] = {}
    for argument, (option, variable) in _SECRETS.items():
        if unsigned and argument == "secret":
            continue
        if (file := files[argument]) is not None:
            source, given = f"{option}: {file}", read_secret(file, option)
        else:
            source, given = variable, os.environ.get(variable, "").strip()
        if given:
            secret = check_secret(source, given)
            demands[argument] = (_header(header), secret) if argument == "header_secret" else secret
            _check(argument, demands[argument], source)
    if header is not None and "header_secret" not in demands:
        option, variable = _SECRETS["header_secret"]
        raise ConfigurationError(f"--header: requires {option} or {variable}")
    if not demands and not unsigned:
        raise ConfigurationError(
            "no webhook secret; set CALLBELL_WEBHOOK_SECRET or use --secret-file FILE, or --url-secret-file FILE or --unsigned "
            "if Callbell does not sign the events"
        )
    return demands or {"unsigned": True}


def _header(name: str | None) -> str:
    if name is None:
        return _HEADER
    if not re.fullmatch("[A-Za-z0-9-]+", name):
        raise ConfigurationError(f"--header: must be the name of a header, such as {_HEADER}")
    return name


def _check(argument: str, value: object, source: str) -> None:
    """Raise the error of the receiver for this argument, with the name of its file or variable."""
    # Imported here: `--help` needs no receiver.
    from callbell_async.webhooks import WebhookReceiver

    try:
        WebhookReceiver(**{argument: value})  # type: ignore[arg-type]
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {str(error).removeprefix(f'{argument}: ')}") from None


async def serve_events(
    signals: ShutdownSignals,
    host: str,
    port: int,
    path: str,
    demands: Mapping[str, Any],
    write: Callable[[Event], None],
) -> None:
    """Pass every event to `write` until a signal comes; raises the `OSError` that `write` raises."""
    failures: asyncio.Queue[OSError] = asyncio.Queue()

    def handle(event: Event) -> None:
        try:
            write(event)
        except OSError as error:
            # Standard output has no reader any more.
            failures.put_nowait(error)

    async with _serving(host, port, path, handle, demands) as url:
        if demands.get("unsigned") and is_insecure(url):
            warn(f"--unsigned: anybody who can reach {host} can send events")
        info(f"listening on {url}")
        with signals.cancelling():
            raise await failures.get()


@asynccontextmanager
async def _serving(
    host: str, port: int, path: str, handle: Callable[[Event], None], demands: Mapping[str, Any]
) -> AsyncIterator[str]:
    """Serve until the block is left; yields the URL."""
    from aiohttp import web

    from callbell_async.webhooks import add_webhook_route

    app = web.Application()
    add_webhook_route(app, path, handle, **demands)
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
