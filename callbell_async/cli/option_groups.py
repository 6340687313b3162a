"""Options in groups, so that the help of a command with many options can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["GroupedCommand", "option"]

_OTHER = "Other"


class _GroupedOption(click.Option):
    """An option that belongs to a group of the help."""

    def __init__(self, *arguments: Any, group: str, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.group = group


def option(*names: str, group: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`click.option` in a group of the help; in a plain `click.Command` the group is not shown."""
    return click.option(*names, cls=_GroupedOption, group=group, **attributes)


class GroupedCommand(click.Command):
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
