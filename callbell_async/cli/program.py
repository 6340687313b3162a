"""The program itself: its commands are loaded when they are called, and whatever ends one is one line and an exit status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from callbell_async.cli.exit_codes import DONE, INTERRUPTED, JOURNAL_UNUSABLE, NOT_ALL_DONE, WRONG_USE
from callbell_async.cli.output import printable, say
from callbell_async.errors import CallbellError, ConfigurationError, InvalidMessageError, JournalError

__all__ = ["Program"]


class Program(click.Group):
    """A group of commands, each imported from its home (`module:name`) when it is asked for, so that one costs no other's imports.

    A command gives back its exit status. Errors of this library, of options and of files end it with one line on standard error.
    """

    def __init__(self, *arguments: Any, homes: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._homes = homes

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which one meets them."""
        del ctx
        return list(self._homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported."""
        del ctx
        if cmd_name not in self._homes:
            return None
        module, _, name = self._homes[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **options: Any) -> Any:  # type: ignore[override]
        """Run the command line, and exit with its status."""
        raise SystemExit(self._status(args, prog_name, **{**options, "standalone_mode": False}))

    def _status(self, args: Sequence[str] | None, prog_name: str | None, **options: Any) -> int:
        try:
            return super().main(args, prog_name, **options) or DONE
        except click.UsageError as error:
            message = error.format_message()
            if "\n" in message:
                # The help, where no command was given.
                say(message)
                return WRONG_USE
            return _complain(WRONG_USE, f"{message.rstrip('.')} (see {_path(error.ctx)} --help)")
        except click.Abort:
            return _complain(INTERRUPTED, "interrupted")
        except JournalError as error:
            return _complain(JOURNAL_UNUSABLE, str(error))
        except (ConfigurationError, InvalidMessageError) as error:
            return _complain(WRONG_USE, str(error))
        except CallbellError as error:
            return _complain(NOT_ALL_DONE, str(error))
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            return _complain(NOT_ALL_DONE, f"{place}{error.strerror or error}")


def _complain(status: int, what: str) -> int:
    say(f"callbell-async: {printable(what)}")
    return status


def _path(ctx: click.Context | None) -> str:
    return ctx.command_path if ctx else "callbell-async"
