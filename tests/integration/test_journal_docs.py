"""The pages about a journal in PostgreSQL describe the tables as they are, and their example runs."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import Any

import pytest

from callbell_async import CallbellClient, Outcome
from callbell_async.journal import Row, State
from callbell_async.journal.postgres_sql import SCHEMA
from callbell_async.sandbox import Sandbox
from tests.support.services import Service

DOCS = Path(__file__).parents[2] / "docs"


def test_the_schema_is_documented() -> None:
    """The page has the statements that create the tables, every column of a message, and every state."""
    page = (DOCS / "reference" / "journal-schema.md").read_text(encoding="utf-8")
    assert f"```sql\n{SCHEMA}```" in page
    for name in (*Row._fields, "owner", *(state.value for state in State)):
        assert f"`{name}`" in page


async def test_the_example_sends_each_message_once(
    postgres_service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes that run the example of the page send each message once between them."""
    page = (DOCS / "how-to" / "shared-journal.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    code = found[1].replace('"spring"', repr(secrets.token_hex(4)))

    example: dict[str, Any] = {}
    exec(code, example)
    async with Sandbox(limit=None) as sandbox:
        monkeypatch.setenv("CALLBELL_BASE_URL", sandbox.url)
        example["CallbellClient"] = lambda _: CallbellClient(sandbox.token)
        send = example["send_with_others"]
        await asyncio.gather(send(postgres_service.url), send(postgres_service.url))
        assert len(sandbox.messages) == 100
    async with example["open_journal"](postgres_service.url) as journal:
        assert (await journal.counts())[Outcome.ACCEPTED] == 100
    assert len(capsys.readouterr().out.splitlines()) == 2
