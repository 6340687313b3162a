"""The options that several commands have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click

from callbell_async.cli.connection import DEFAULT_CONCURRENCY, DEFAULT_RATE
from callbell_async.cli.message_form import MessageForm

__all__ = [
    "FILE",
    "MAX_CONCURRENCY",
    "concurrency_range",
    "json_option",
    "message_options",
    "output_options",
    "pace_options",
]

Command = Callable[..., Any]

FILE = click.Path(path_type=Path)

MAX_CONCURRENCY = 10_000
"""Messages under way at once at the most: each takes memory, and Callbell's limit keeps far fewer busy."""

concurrency_range = click.IntRange(1, MAX_CONCURRENCY)

CHANNELS = ("whatsapp", "facebook", "instagram", "telegram")
"""The kinds of channel that Callbell has."""

_NAMES = [field.name for field in attrs.fields(MessageForm)]


def message_options(command: Command) -> Command:
    """Give a command the options that say what is sent; it gets them as `form`."""

    @_options(
        click.option("--text", help="A text."),
        click.option("--template", metavar="UUID", help="An approved WhatsApp template."),
        click.option("--values", help="The template's values, with commas between them."),
        click.option("--optin", is_flag=True, help="Confirm that every recipient has opted in; templates need it."),
        click.option("--image", metavar="URL", help="An image; with --template, the template's."),
        click.option("--document", metavar="URL", help="A document; with --template, the template's."),
        click.option("--audio", metavar="URL", help="A sound file."),
        click.option("--video", metavar="URL", help="A video; with --template, the template's."),
        click.option("--caption", help="What stands below an image, a document or a video."),
        click.option(
            "--channel",
            type=click.Choice(CHANNELS),
            default="whatsapp",
            show_default=True,
            help="The kind of channel to send through.",
        ),
        click.option("--channel-uuid", metavar="UUID", help="The channel to send from, if not the main one."),
        click.option("--team", metavar="UUID", help="The team to assign the conversation to."),
        click.option("--assigned-user", metavar="EMAIL", help="The user to assign the conversation to."),
    )
    @functools.wraps(command)
    def with_form(*, metadata: tuple[str, ...], **options: Any) -> Any:
        given = {name: options.pop(name) for name in _NAMES if name in options}
        return command(form=MessageForm(metadata=metadata, **given), **options)

    return with_form


def pace_options(command: Command) -> Command:
    """`--concurrency` and `--rate`."""
    return _options(
        click.option(
            "--concurrency",
            default=DEFAULT_CONCURRENCY,
            show_default=True,
            type=concurrency_range,
            help="Messages under way at once.",
        ),
        click.option(
            "--rate",
            default=DEFAULT_RATE,
            show_default=True,
            type=click.IntRange(min=1),
            help="Requests a second at the most.",
        ),
    )(command)


def output_options(command: Command) -> Command:
    """`--failed-to`, `--failed-unknown` and `--json`."""
    return _options(
        click.option("--failed-to", type=FILE, help="Write the rows that were not accepted to this file."),
        click.option(
            "--failed-unknown", is_flag=True, help="Write to it also those that may have been accepted, marked as such."
        ),
        json_option,
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, an object a line.")


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def with_options(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return with_options
