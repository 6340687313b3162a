"""A sandbox, a client, a journal's path and a launcher of processes for the tests of a journal's files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callbell_async import CallbellClient, RetryPolicy
from callbell_async.sandbox import Sandbox
from tests.support.campaign_process import CampaignLauncher


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a rate limit."""
    async with Sandbox(limit=None) as sandbox:
        yield sandbox


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox."""
    retry = RetryPolicy(wait_initial=0.0)
    async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=retry, rate_limit=None) as client:
        yield client


@pytest.fixture
async def launcher() -> AsyncIterator[CampaignLauncher]:
    """A launcher of the campaign's processes."""
    async with CampaignLauncher() as launcher:
        yield launcher


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that does not exist."""
    return tmp_path / "spring.db"
