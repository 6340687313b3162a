"""The options that several commands share, in groups, so that the help of a command with many options can be read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click

from callbell_async.cli.message_form import MessageForm
from callbell_async.models.messages import WHATSAPP
from callbell_async.recipients.parser import can_check_numbers

__all__ = [
    "DEFAULT_OUTAGE_TIMEOUT",
    "DEFAULT_RATE",
    "FILE",
    "MAX_CONCURRENCY",
    "ArgumentErrors",
    "GroupedCommand",
    "all_options",
    "concurrency_range",
    "exclude_option",
    "json_option",
    "message_options",
    "option",
    "run_options",
]

Command = Callable[..., Any]

FILE = click.Path(path_type=Path)

DEFAULT_RATE = 300
"""Requests per second."""

DEFAULT_OUTAGE_TIMEOUT = 600
"""Seconds for which a run waits for Callbell to come back."""

MAX_CONCURRENCY = 10_000
"""The most messages in flight at once: each needs memory, and Callbell's rate limit keeps far fewer of them busy."""

concurrency_range = click.IntRange(1, MAX_CONCURRENCY)

CHANNELS = ("whatsapp", "facebook", "instagram", "telegram")
"""The kinds of channel that Callbell has."""

_NAMES = [field.name for field in attrs.fields(MessageForm)]


# --- groups ------------------------------------------------------------------------------------------------------------

_OTHER = "Other"


class _GroupedOption(click.Option):
    """An option that belongs to a group of the help."""

    def __init__(self, *arguments: Any, group: str, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.group = group


def option(*names: str, group: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`click.option` in a group of the help; in a plain `click.Command` the group is not shown."""
    return click.option(*names, cls=_GroupedOption, group=group, **attributes)


class ArgumentErrors(click.Command):
    """A command whose errors of arguments name it, so that they point to its own help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments. An option without its value is an error that has no command in click."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise


class GroupedCommand(ArgumentErrors):
    """A command whose help lists its options by group, in the order in which the groups first appear."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group with its title; `--help` and options without a group come last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(param, "group", _OTHER), []).append(record)
        other = groups.pop(_OTHER, [])
        for title, records in [*groups.items(), (_OTHER, other)]:
            with formatter.section(f"{title} options"):
                formatter.write_dl(records)


# --- options -----------------------------------------------------------------------------------------------------------


def message_options(command: Command) -> Command:
    """Give a command the options that describe the message; it gets them as `form`."""

    @all_options(
        option("--text", group="Message", help="Send this text."),
        option("--template", metavar="UUID", group="Message", help="Send an approved WhatsApp template."),
        option("--values", group="Message", help="Values of the template, separated by commas."),
        option(
            "--optin",
            is_flag=True,
            group="Message",
            help="Confirm that every recipient has opted in; required for templates.",
        ),
        option("--image", metavar="URL", group="Message", help="Send an image, or add it to the template."),
        option("--document", metavar="URL", group="Message", help="Send a document, or add it to the template."),
        option("--audio", metavar="URL", group="Message", help="Send an audio file."),
        option("--video", metavar="URL", group="Message", help="Send a video, or add it to the template."),
        option("--caption", group="Message", help="Caption of the image, document or video."),
        option(
            "--channel",
            type=click.Choice(CHANNELS),
            default="whatsapp",
            show_default=True,
            group="Message",
            help="Kind of channel to send through.",
        ),
        option(
            "--channel-uuid", metavar="UUID", group="Message", help="Channel to send from, if it is not the main one."
        ),
        option(
            "--region",
            metavar="XX",
            group="Message",
            help="Region of numbers without + or 00, such as ES; needs the extra phone.",
        ),
        option(
            "--strict/--no-strict",
            default=None,
            group="Message",
            help="Refuse numbers that do not exist, and landlines; the default if the extra phone is installed.",
        ),
        option("--team", metavar="UUID", group="Message", help="Team to assign the conversation to."),
        option("--assigned-user", metavar="EMAIL", group="Message", help="User to assign the conversation to."),
    )
    @functools.wraps(command)
    def with_form(*, metadata: tuple[str, ...], **options: Any) -> Any:
        given = {name: options.pop(name) for name in _NAMES if name in options}
        if given["strict"] is None:
            given["strict"] = given["channel"] == WHATSAPP and can_check_numbers()
        return command(form=MessageForm(metadata=metadata, **given), **options)

    return with_form


def run_options(command: Command) -> Command:
    """Give a command `--concurrency`, `--rate` and `--outage-timeout`."""
    return all_options(
        option(
            "--concurrency",
            type=concurrency_range,
            group="Run",
            help="Most messages in flight at once; by default as many as the rate needs, up to 300.",
        ),
        option(
            "--rate",
            default=DEFAULT_RATE,
            show_default=True,
            type=click.IntRange(min=1),
            group="Run",
            help="Maximum number of requests per second.",
        ),
        option(
            "--outage-timeout",
            default=DEFAULT_OUTAGE_TIMEOUT,
            show_default=True,
            type=click.IntRange(min=0),
            metavar="SECONDS",
            group="Run",
            help="How long a run waits during an outage before it stops; 0 never waits.",
        ),
    )(command)


exclude_option = option(
    "--exclude",
    type=FILE,
    multiple=True,
    group="Input",
    help="File with recipients that get nothing: CSV, a spreadsheet, or one on each line; repeatable.",
)


json_option = option(
    "--json", "as_json", is_flag=True, group="Output", help="Write JSON to standard output, one object per line."
)


def all_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator."""

    def with_options(command: Command) -> Command:
        for add in reversed(options):
            command = add(command)
        return command

    return with_options
