"""A sandbox, an input file and a journal for the tests of the journal commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from callbell_async.sandbox import Sandbox, faults
from callbell_async.sandbox.clock import Calendar
from callbell_async.sandbox.message_lifecycle import DeliveryFailure, StatusTimings
from tests.support.journal_commands import NUMBERS, TOKEN, send
from tests.support.threaded_sandbox import sandbox_in_a_thread


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with one token and with today's date, as the journal has."""
    with sandbox_in_a_thread(TOKEN) as sandbox:
        sandbox.account.calendar = Calendar(time.monotonic, datetime.now(UTC))
        yield sandbox


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An input file with ten recipients."""
    path = tmp_path / "recipients.csv"
    path.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in NUMBERS))
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The path of a journal that does not exist."""
    return tmp_path / "spring journal.db"


@pytest.fixture
def sent(file: Path, journal: Path, sandbox: Sandbox) -> Path:
    """A journal of ten messages: one rejected, one with a failed delivery, and the others read."""
    sandbox.account.status_timings = StatusTimings(reported=0, sent=0, delivered=0, read=0)
    sandbox.inject(faults.respond(400, {"error": "no"}), when=lambda request: request.to == NUMBERS[1])
    sandbox.inject(
        faults.failed_delivery(DeliveryFailure(reason="no such number")), when=lambda request: request.to == NUMBERS[2]
    )
    assert send(file, journal, sandbox).exit_code == 1
    return journal
