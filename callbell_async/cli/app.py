"""`callbell-async`: its commands and its exit statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import click
from rich.console import Console

from callbell_async._version import __version__
from callbell_async.bulk import SendRun
from callbell_async.cli.progress import View, view_for
from callbell_async.cli.rows import RowFile, TextTemplate, text_message
from callbell_async.cli.sandbox import sandbox as sandbox_command
from callbell_async.client import CallbellClient
from callbell_async.errors import CallbellError, ConfigurationError, Outcome
from callbell_async.models.results import Item, SendReport, SendResult
from callbell_async.sandbox import Sandbox

__all__ = ["app"]

NOT_ALL_ACCEPTED = 1
WRONG_USE = 2
INTERRUPTED = 130

SHOWN_FAILURES = 20
"""How many failures are told one by one; a campaign whose every message fails should not scroll the reason away."""


@click.group()
@click.version_option(__version__, prog_name="callbell-async")
def app() -> None:
    """Send messages through Callbell.

    Exit status: 0 all accepted, 1 some were not, 2 wrong use, 130 interrupted.
    """


app.add_command(sandbox_command)


@app.command("send-many")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--text", required=True, help="The message; {column} stands for a cell of the row.")
@click.option("--to-column", default="to", show_default=True, help="The column with the recipients.")
@click.option("--channel", default="whatsapp", show_default=True, help="The kind of channel to send through.")
@click.option("--sandbox", is_flag=True, help="Send to a Callbell on this machine instead; needs no account.")
@click.option(
    "--token", envvar="CALLBELL_TOKEN", help="The API key; better set CALLBELL_TOKEN, which other users can't see."
)
@click.option("--base-url", envvar="CALLBELL_BASE_URL", help="Another address of the API.")
@click.option(
    "--concurrency", default=50, show_default=True, type=click.IntRange(min=1), help="Messages under way at once."
)
@click.option(
    "--rate", default=300, show_default=True, type=click.IntRange(min=1), help="Requests a second at the most."
)
def send_many(
    file: Path,
    text: str,
    to_column: str,
    channel: str,
    sandbox: bool,
    token: str | None,
    base_url: str | None,
    concurrency: int,
    rate: int,
) -> None:
    """Send a text to each recipient in FILE, a CSV file whose first line names its columns."""
    try:
        if not token and not sandbox:
            raise ConfigurationError("no token; set CALLBELL_TOKEN or give --token, or try it out with --sandbox")
        template = TextTemplate(text)
        rows = RowFile(file)
        rows.need([to_column], "--to-column")
        rows.need(template.columns, "--text")
        campaign = _Campaign(rows, template, to_column=to_column, channel=channel)
        report = asyncio.run(
            campaign.run(sandbox=sandbox, token=token, base_url=base_url, concurrency=concurrency, rate=rate)
        )
    except CallbellError as error:
        click.echo(f"callbell-async: {error}", err=True)
        raise SystemExit(WRONG_USE) from None
    except KeyboardInterrupt:
        click.echo("callbell-async: interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(0 if report.accepted == report.total else NOT_ALL_ACCEPTED)


class _Campaign:
    """One run over one file."""

    def __init__(self, rows: RowFile, template: TextTemplate, *, to_column: str, channel: str) -> None:
        self._rows = rows
        self._template = template
        self._to_column = to_column
        self._channel = channel
        # The lines of the messages under way, by index: what is done is forgotten.
        self._lines: dict[int, int] = {}

    async def run(
        self, *, sandbox: bool, token: str | None, base_url: str | None, concurrency: int, rate: int
    ) -> SendReport:
        """Send them all, show how it goes, and end with the counts, also when interrupted."""
        async with AsyncExitStack() as stack:
            if sandbox:
                local = await stack.enter_async_context(Sandbox())
                token, base_url = local.token, local.url
            client = await stack.enter_async_context(
                CallbellClient(token, base_url=base_url, rate_limit=rate, max_connections=max(concurrency, 100))
            )
            run = client.send_many(self._items(), concurrency=concurrency)
            try:
                with view_for(Console(stderr=True), self._rows.count()) as view:
                    await self._follow(run, view)
            finally:
                _tell_counts(run.report)
        return run.report

    async def _follow(self, run: SendRun, view: View) -> None:
        done = failed = 0
        async for result in run:
            done += 1
            line = self._lines.pop(result.index)
            if result.outcome is not Outcome.ACCEPTED:
                failed += 1
                _tell_failure(view, line, result, failed)
            view.show(done=done, failed=failed)

    def _items(self) -> Iterator[Item]:
        for index, row in enumerate(self._rows.rows()):
            self._lines[index] = row.line
            yield text_message(row, self._template, to_column=self._to_column, channel=self._channel)


def _tell_failure(view: View, line: int, result: SendResult, failed: int) -> None:
    if failed <= SHOWN_FAILURES:
        view.say(f"line {line}: {result.outcome.value}: {result.error}")
    elif failed == SHOWN_FAILURES + 1:
        view.say("further failures are only counted")


def _tell_counts(report: SendReport) -> None:
    for outcome in Outcome:
        click.echo(f"{outcome.value:<12}{getattr(report, outcome.value)}")
    click.echo(f"{'total':<12}{report.total} in {report.elapsed:.1f} s, {report.rate:.0f} a second")
