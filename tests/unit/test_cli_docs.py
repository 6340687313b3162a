"""The page on the command line describes the commands as they are."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from callbell_async.cli import exits
from callbell_async.cli.program import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")


def commands(group: click.Group = app, *before: str) -> dict[str, click.Command]:
    """Every command by its full name, such as `contacts export`."""
    found = {}
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                found.update(commands(command, *before, name))
            else:
                found[" ".join([*before, name])] = command
    return found


COMMANDS = commands()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_section_with_all_options(name: str) -> None:
    """Each command has a section with its arguments in the heading and its options in the table, and no other."""
    command = COMMANDS[name]
    arguments = [
        f" {argument.name.upper()}"
        for argument in command.params
        if isinstance(argument, click.Argument) and argument.name
    ]
    heading = f"\n## `callbell-async {name}{''.join(arguments)}`\n"
    assert PAGE.count(heading) == 1
    section = PAGE.split(heading)[1].split("\n## ")[0]
    told = re.findall(r"`(--[a-z-]+)", "".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)))
    options = [option for option in command.params if isinstance(option, click.Option)]
    known = [word for option in options for word in (*option.opts, *option.secondary_opts)]
    assert sorted(told) == sorted(known)
    assert f"| option of `{name}` |" in section or not options


@pytest.mark.parametrize("name", COMMANDS)
def test_each_default_is_documented(name: str) -> None:
    """A default that `--help` shows is in the table."""
    section = PAGE.split(f"| option of `{name}` |")[1].split("\n## ")[0] if COMMANDS[name].params else ""
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option) and option.show_default:
            row = next(line for line in section.splitlines() if f"`{option.opts[0]} " in line)
            assert row.rstrip("| ").endswith((f"{option.default}", f"`{option.default}`"))


def test_each_exit_status_is_documented() -> None:
    """The table of exit statuses has those of the commands, and no other."""
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    told = {int(number) for cell in re.findall(r"^\| ([0-9, ]+) \|", page, re.MULTILINE) for number in cell.split(",")}
    assert told == {getattr(exits, name) for name in exits.__all__ if name.isupper()}


def test_the_overview_leads_to_each_section() -> None:
    """The links of the first table lead to the headings."""
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE.split("## The API key")[0]))
    headings = re.findall(r"^## (`callbell-async .+`)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^a-z -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert links == anchors
