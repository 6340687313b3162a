"""The sandbox's files: what customers send, under URLs that need no token and expire."""

from __future__ import annotations

import aiohttp
import pytest

from callbell_async.sandbox import Sandbox
from tests.fixtures.sandbox import Clock


async def status(url: str, method: str = "GET") -> int:
    """Return the status of a request without a token."""
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        return response.status


async def test_a_file_needs_no_token(sandbox: Sandbox) -> None:
    """A file is served with its type, whatever its name, to everybody who has the URL."""
    url = sandbox.add_file(b"...", name="my photo / 1é.png", content_type="image/png")
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert (await response.read(), response.content_type) == (b"...", "image/png")
    assert await status(url, "POST") == 404
    assert await status(url.replace("/files/", "/files/x")) == 404


async def test_a_url_expires(sandbox: Sandbox, clock: Clock) -> None:
    """A URL works for 10 minutes of the sandbox's clock, and then returns 403, as a storage with signed URLs does."""
    url = sandbox.add_file(b"...")
    clock.now += 599.9
    assert await status(url) == 200
    sandbox.advance(0.1)
    assert await status(url) == 403


async def test_files_do_not_count_within_the_limit() -> None:
    """Requests for files are not requests to the API."""
    async with Sandbox(limit=1) as sandbox:
        url = sandbox.add_file(b"...")
        assert [await status(url) for _ in range(3)] == [200, 200, 200]


async def test_a_reset_removes_the_files(sandbox: Sandbox) -> None:
    """After `reset` no file is left."""
    url = sandbox.add_file(b"...")
    await sandbox.reset()
    assert await status(url) == 404


def test_a_file_needs_a_running_sandbox() -> None:
    """The URL is that of the server, so the sandbox must be running."""
    with pytest.raises(RuntimeError, match="not running"):
        Sandbox().add_file(b"...")
