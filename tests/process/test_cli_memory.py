"""The memory a run of the command line takes, whatever the number of rows; and what its start brings in."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from callbell_async.cli.campaign import Campaign
from callbell_async.cli.exits import ShutdownSignals
from callbell_async.cli.input_rows import Row, RowFile
from callbell_async.cli.message_form import MessageForm, plan_for_rows
from callbell_async.cli.output_files import FailedRows
from callbell_async.cli.progress import LineView
from tests.support.clock import VirtualTimeLoop
from tests.support.command_line import FakeClient, run
from tests.support.fake_callbell import Behaviour
from tests.support.memory import traced_memory

FEW, MANY = 1_000, 3_000


def written(path: Path, count: int, form: str) -> Path:
    """A file with this number of rows, one in fifty of them bad."""
    with path.open("w") as file:
        if form == "csv":
            file.write("to,name\n")
        for number in range(count):
            to = "nobody" if number % 50 == 0 else f"+44{number:010}"[:13].replace("+440", "+447")
            file.write(f"{to},Ada\n" if form == "csv" else f'{{"to": "{to}", "name": "Ada"}}\n')
    return path


def peak(act: Callable[[], object]) -> int:
    """The most bytes there were at once."""
    with traced_memory():
        act()
        return tracemalloc.get_traced_memory()[1]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_checking_takes_no_memory_for_each_row(tmp_path: Path, form: str) -> None:
    """`--dry-run` of three times the rows takes no more memory: rows are read, checked and let go."""

    def check(count: int) -> Callable[[], object]:
        file = written(tmp_path / f"{count}.{form}", count, form)
        target = tmp_path / f"failed.{form}"

        def act() -> None:
            rows, plan = RowFile(file), plan_for_rows(MessageForm(text="Hi {name}"))
            assert rows.count() == count
            with FailedRows(target, rows) as failed:
                assert failed is not None
                for row in rows.rows():
                    plan.item(row)

        return act

    few, many = peak(check(FEW)), peak(check(MANY))
    assert few > 5_000
    assert many - few < 20_000


@attrs.frozen
class Generated:
    """Rows that nobody keeps, as a file has them."""

    count: int
    is_stream: bool = False

    def rows(self) -> Iterator[Row]:
        """The rows, one in fifty of them bad."""
        for number in range(self.count):
            to = "nobody" if number % 50 == 0 else "+34600000001"
            yield Row(number + 2, {"to": to, "name": str(number)}, [to, str(number)])


def test_sending_takes_no_memory_for_each_row() -> None:
    """A run with three times the rows takes no more memory: only messages in flight are kept."""

    def send(count: int) -> Callable[[], object]:
        async def main() -> None:
            rows: RowFile = Generated(count)  # type: ignore[assignment]
            plan = plan_for_rows(MessageForm(text="{name}"))
            view = LineView(count, clock=lambda: 0.0)
            campaign = Campaign(rows, plan, view=view, signals=ShutdownSignals())
            await campaign.send(FakeClient(lambda number, attempt: Behaviour(response_time=0.1)), concurrency=20)
            assert (campaign.counts.total, campaign.counts.complete) == (count, count * 49 // 50)

        def act() -> None:
            with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
                runner.run(main())

        return act

    few, many = peak(send(FEW)), peak(send(MANY))
    assert few > 50_000
    assert many - few < 20_000


def test_the_start_brings_in_no_more_than_it_needs() -> None:
    """`--version` loads neither aiohttp nor rich nor any command's module: a shell's completion waits for this."""
    code = (
        "import sys\nfrom callbell_async.cli.program import app\n"
        "try: app(['--version'])\nexcept SystemExit: print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {name.partition(".")[0] for name in loaded}.isdisjoint({"aiohttp", "rich", "sqlite3", "cattrs"})
    assert "callbell_async.cli.commands.send_many" not in loaded


@pytest.mark.parametrize("command", ["me", "send-many"])
def test_a_command_brings_in_no_other(command: str) -> None:
    """A command that sends loads no server: only `--sandbox` does."""
    code = (
        f"import sys\nfrom callbell_async.cli.program import app\n"
        f"try: app(['{command}', '--help'])\nexcept SystemExit: print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not [name for name in loaded if name.startswith(("aiohttp.web", "callbell_async.sandbox", "rich"))]


def test_a_row_is_what_a_spreadsheet_shows(tmp_path: Path) -> None:
    """The same file through the whole command: what is counted is what is sent."""
    file = written(tmp_path / "rows.csv", 200, "csv")
    result = run("send-many", file, "--text", "Hi {name}", "--dry-run")
    assert [line.split() for line in result.stdout.splitlines()[-3:]] == [
        ["good", "196"],
        ["bad", "4"],
        ["duplicates", "0"],
    ]
