"""Fixtures for pytest over the sandbox: installed with the package, and nothing is imported until a test asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

try:
    # pytest itself has imported it by now, if it is there. In its strict mode an async fixture has to be one of its own.
    from pytest_asyncio import fixture
except ModuleNotFoundError:
    # Another plugin that runs async tests takes async fixtures as they are.
    fixture = pytest.fixture  # type: ignore[assignment]

if TYPE_CHECKING:
    from callbell_async import CallbellClient
    from callbell_async.sandbox import Sandbox


@fixture
async def callbell_sandbox() -> AsyncIterator[Sandbox]:
    """A mock Callbell server on 127.0.0.1, new for each test."""
    from callbell_async.sandbox import Sandbox

    async with Sandbox() as sandbox:
        yield sandbox


@fixture
async def callbell_client(callbell_sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of `callbell_sandbox`, closed after the test."""
    from callbell_async.client import CallbellClient

    async with CallbellClient(callbell_sandbox.token, base_url=callbell_sandbox.url) as client:
        yield client
