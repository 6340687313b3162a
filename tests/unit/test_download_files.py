"""The files that downloads are saved to: whole or absent, and never in place of another unasked."""

from __future__ import annotations

import asyncio
import gzip
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from callbell_async import CallbellClient, ConfigurationError, DownloadError
from callbell_async.sandbox import Sandbox, faults
from tests.support.calls import ticks
from tests.support.clock import current_loop
from tests.unit.test_download import PHOTO, callbell, served

if sys.platform != "win32":
    import resource

__all__ = ["callbell"]


async def test_the_file_appears_when_it_is_complete(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """While the file is incomplete, no file has its name; a call that is cancelled leaves nothing."""
    begun = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    url = served(sandbox, faults.no_response(begun.set, after=head))

    async def save() -> None:
        async with callbell.download(url, allow_private_hosts=True) as download:
            await download.save(tmp_path / "photo.jpg")

    task = asyncio.create_task(save())
    await begun.wait()
    while not list(tmp_path.iterdir()):  # noqa: ASYNC110 - until the thread has created the temporary file
        await asyncio.sleep(0)
    assert not (tmp_path / "photo.jpg").exists()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []


async def test_a_call_that_is_cancelled_while_the_file_is_opened(
    callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A cancelled call waits until the file is open, and removes it."""
    release = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        current_loop().set_default_executor(executor)
        async with callbell.download(sandbox.add_file(PHOTO), allow_private_hosts=True) as download:
            busy = current_loop().run_in_executor(None, release.wait)
            saving = asyncio.create_task(download.save(tmp_path))
            await ticks()
            saving.cancel()
            await ticks()
            assert not saving.done()
            release.set()
            with pytest.raises(asyncio.CancelledError):
                await saving
            assert await busy
    assert list(tmp_path.iterdir()) == []


async def test_a_file_is_not_replaced_unasked(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A file of the same name is kept, unless `overwrite` is true."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"older")
    url = sandbox.add_file(PHOTO)
    async with callbell.download(url, allow_private_hosts=True) as download:
        with pytest.raises(ConfigurationError, match="path: a file of this name exists"):
            await download.save(tmp_path)
    assert path.read_bytes() == b"older"
    async with callbell.download(url, allow_private_hosts=True) as download:
        assert await download.save(path, overwrite=True) == path
    assert path.read_bytes() == PHOTO
    assert list(tmp_path.iterdir()) == [path]


async def test_a_file_that_appears_meanwhile_is_kept(
    callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A file that another program creates during the download is not replaced either."""
    path, release = tmp_path / "photo.jpg", asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
    end = faults.raw(b"abc")
    url = served(sandbox, faults.no_response(after=head, until=release, then=end))
    async with callbell.download(url, allow_private_hosts=True) as download:
        saving = asyncio.create_task(download.save(path))
        while not list(tmp_path.iterdir()):  # noqa: ASYNC110 - until the thread has created the temporary file
            await asyncio.sleep(0)
        path.write_bytes(b"other")
        release.set()
        with pytest.raises(ConfigurationError, match="a file of this name exists"):
            await saving
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"other"


async def test_a_file_system_without_hard_links(
    callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file can't have two names, it is renamed, and a file that exists is still kept."""

    def refuse(path: Path, target: Path) -> None:
        (tmp_path / "other.jpg").write_bytes(b"other")
        raise PermissionError("no hard links")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    url = sandbox.add_file(PHOTO)
    async with callbell.download(url, allow_private_hosts=True) as download:
        assert (await download.save(tmp_path / "photo.jpg")).read_bytes() == PHOTO
    (tmp_path / "other.jpg").unlink()
    async with callbell.download(url, allow_private_hosts=True) as download:
        with pytest.raises(ConfigurationError, match="a file of this name exists"):
            await download.save(tmp_path / "other.jpg")
    assert (tmp_path / "other.jpg").read_bytes() == b"other"
    assert len(list(tmp_path.iterdir())) == 2


async def test_a_file_that_is_too_large_leaves_nothing(
    callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A file that becomes too large while it is saved is removed."""
    url = served(sandbox, faults.respond(200, gzip.compress(bytes(1_000_000)), {"Content-Encoding": "gzip"}))
    with pytest.raises(DownloadError, match="larger than"):
        async with callbell.download(url, max_bytes=500_000, allow_private_hosts=True) as download:
            await download.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_path_that_ends_with_a_slash_is_a_folder(
    callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """If the folder does not exist, that is an error, and no file gets its name."""
    (tmp_path / "received").mkdir()
    url = sandbox.add_file(PHOTO, name="beach.jpg")
    async with callbell.download(url, allow_private_hosts=True) as download:
        with pytest.raises(FileNotFoundError):
            await download.save(f"{tmp_path}/missing/")
        assert not (tmp_path / "missing").exists()
        assert await download.save(f"{tmp_path}/received/") == tmp_path / "received" / "beach.jpg"


async def test_a_folder_that_does_not_exist(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """An error of the disk is raised as it is."""
    async with callbell.download(sandbox.add_file(PHOTO), allow_private_hosts=True) as download:
        with pytest.raises(FileNotFoundError):
            await download.save(tmp_path / "missing" / "photo.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of a file")
async def test_a_disk_that_is_full_leaves_nothing(callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """If the file can't be written to its end, the error of the disk is raised and nothing is left."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with callbell.download(sandbox.add_file(PHOTO), allow_private_hosts=True) as download:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                await download.save(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
