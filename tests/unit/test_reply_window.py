"""The reply window: whether messages other than templates may be sent to a contact now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from callbell_async import HistoryMessage, ReplyWindow
from callbell_async.models.contacts import reply_window
from tests.support.recorder import recorded_client

NOW = datetime(2026, 9, 10, 12, tzinfo=UTC)


def history_message(status: str, hours_ago: float) -> HistoryMessage:
    """A message in a contact's history."""
    return HistoryMessage(uuid=f"{status} {hours_ago}", status=status, created_at=NOW - timedelta(hours=hours_ago))


async def window(*history: HistoryMessage) -> tuple[ReplyWindow, int]:
    """The window in a history, newest first, and the number of messages that were read."""
    read = 0

    async def messages() -> AsyncIterator[HistoryMessage]:
        nonlocal read
        for message in history:
            read += 1
            yield message

    return await reply_window(messages(), now=NOW), read


async def test_open_until_a_day_after_the_customer_s_last_message() -> None:
    """The newest received message decides, not the messages and notes after it."""
    newest = history_message("received", 3)
    found, _ = await window(
        history_message("note", 1), history_message("sent", 2), newest, history_message("received", 4)
    )
    assert found == ReplyWindow(is_open=True, until=NOW + timedelta(hours=21), message=newest)


@pytest.mark.parametrize(("hours_ago", "is_open"), [(23.99, True), (24, False), (24.01, False)])
async def test_closed_a_day_after_to_the_moment(hours_ago: float, is_open: bool) -> None:
    """At the end of the 24 hours the window is closed, and `until` is that moment."""
    found, _ = await window(history_message("received", hours_ago))
    assert found.is_open is is_open
    assert found.until == NOW + timedelta(hours=24 - hours_ago)


async def test_reads_no_further_back_than_it_must() -> None:
    """The history is read only as far back as one day."""
    found, read = await window(
        history_message("sent", 1),
        history_message("sent", 24),
        history_message("sent", 25),
        history_message("received", 26),
    )
    assert (found, read) == (ReplyWindow(is_open=False), 2)


async def test_an_empty_history_is_closed() -> None:
    """A contact that never wrote has a closed window."""
    assert await window() == (ReplyWindow(is_open=False), 0)


async def test_a_message_without_a_date_decides_nothing() -> None:
    """A message without a date is skipped."""
    found, _ = await window(HistoryMessage(status="received"), history_message("received", 1))
    assert found.is_open


async def test_asks_for_the_contact_s_history() -> None:
    """`contacts.reply_window` requests the history, and no more pages than it needs."""
    just_now = datetime.now(UTC)
    async with recorded_client() as (callbell, recorder):
        recorder.respond_with({"messages": [{"status": "received", "createdAt": just_now.isoformat()}]})
        found = await callbell.contacts.reply_window("u")
    assert found.is_open
    assert found.until == just_now + timedelta(hours=24)
    assert [request.target for request in recorder.requests] == ["/v1/contacts/u/messages"]
