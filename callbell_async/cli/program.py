"""`callbell-async`: its commands, loaded when they are called, and the exit status of each error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from callbell_async._version import __version__
from callbell_async.cli.exits import DONE, INTERRUPTED, JOURNAL_UNUSABLE, NOT_ALL_DONE, WRONG_USE
from callbell_async.cli.output import fail, warnings_shown
from callbell_async.errors import CallbellError, ConfigurationError, InvalidMessageError, JournalError

__all__ = ["Program", "app"]

_COMMANDS = {
    "send": "callbell_async.cli.commands.send:send",
    "send-many": "callbell_async.cli.commands.send_many:send_many",
    "resume": "callbell_async.cli.commands.send_many:resume",
    "status": "callbell_async.cli.commands.journal:status",
    "reconcile": "callbell_async.cli.commands.journal:reconcile",
    "export": "callbell_async.cli.commands.journal:export",
    "me": "callbell_async.cli.commands.account:me",
    "templates": "callbell_async.cli.commands.account:templates",
    "channels": "callbell_async.cli.commands.account:channels",
    "contacts": "callbell_async.cli.commands.account:contacts",
    "listen": "callbell_async.cli.commands.listen:listen",
    "sandbox": "callbell_async.cli.commands.sandbox:sandbox",
}


class Program(click.Group):
    """A group whose commands are imported when they are called, each from `module:name`, so that none costs the imports of others.

    A command returns its exit status. Errors of this library, of options and of files end the program with one line on standard error.
    """

    def __init__(self, *arguments: Any, commands_in: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._commands_in = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, the most common ones first."""
        del ctx
        return list(self._commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command with this name."""
        del ctx
        if cmd_name not in self._commands_in:
            return None
        module, _, name = self._commands_in[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **options: Any) -> Any:  # type: ignore[override]
        """Run the command line, and exit with its status."""
        raise SystemExit(self._status(args, prog_name, **{**options, "standalone_mode": False}))

    def _status(self, args: Sequence[str] | None, prog_name: str | None, **options: Any) -> int:
        try:
            with warnings_shown():
                return super().main(args, prog_name, **options) or DONE
        except click.UsageError as error:
            message = error.format_message()
            if "\n" in message:
                # The help, where no command was given.
                click.echo(message, err=True)
                return WRONG_USE
            if isinstance(error, click.NoSuchOption | click.NoSuchCommand):
                message = f"{error.message.rstrip('.')}{_suggestion(error)}"
            if message.startswith("Got unexpected extra argument"):
                message += "; write each value after its option, and one with blanks in quotation marks"
            # click's name of a type of numbers with a range
            message = message.rstrip(".").removesuffix(" range")
            return fail(WRONG_USE, f"{message} (see {_path(error.ctx)} --help)")
        except click.Abort:
            return fail(INTERRUPTED, "interrupted")
        except JournalError as error:
            return fail(JOURNAL_UNUSABLE, str(error))
        except (ConfigurationError, InvalidMessageError) as error:
            return fail(WRONG_USE, str(error))
        except CallbellError as error:
            return fail(NOT_ALL_DONE, str(error))
        except OSError as error:
            prefix = f"{error.filename}: " if error.filename else ""
            return fail(NOT_ALL_DONE, f"{prefix}{error.strerror or error}")


def _suggestion(error: click.NoSuchOption | click.NoSuchCommand) -> str:
    """The names that the user may have meant, as a part of the error's line."""
    names = error.possibilities
    if isinstance(error, click.NoSuchCommand) and error.ctx is not None and isinstance(error.ctx.command, click.Group):
        # click knows only the commands that are imported.
        names = get_close_matches(error.command_name, error.ctx.command.list_commands(error.ctx))
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _path(ctx: click.Context | None) -> str:
    return ctx.command_path if ctx else "callbell-async"


@click.group("callbell-async", cls=Program, commands_in=_COMMANDS)
@click.version_option(__version__, prog_name="callbell-async")
def app() -> None:
    """Send messages with Callbell, with a definite outcome for each.

    Exit status: 0 success, 1 partial failure, 2 wrong use, 3 journal unusable, 129, 130 or 143 ended by a signal.
    """
