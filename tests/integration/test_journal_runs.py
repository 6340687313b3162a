"""The promises of runs with a journal, kept with a journal in PostgreSQL too: the tests are those of the file."""

from __future__ import annotations

import inspect
import secrets

import pytest

from callbell_async import Journal
from tests.support.services import Service
from tests.unit import test_journal_send_many
from tests.unit.test_journal_send_many import callbell, sandbox

__all__ = ["callbell", "journal", "sandbox"]

NOT_SHARED = {
    # Another process may use a journal in PostgreSQL at the same time.
    "test_a_journal_in_use_sends_nothing",
}


@pytest.fixture
def journal(postgres_service: Service) -> Journal:
    """A journal that does not exist yet."""
    return Journal.connect(postgres_service.url, name=secrets.token_hex(4))


globals().update(
    {
        name: test
        for name, test in vars(test_journal_send_many).items()
        if name.startswith("test_") and name not in NOT_SHARED and "journal" in inspect.signature(test).parameters
    }
)
