"""Downloading and saving a file from a URL that comes from outside: bounded, without the token, and only from allowed addresses."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from callbell_async.asyncio_tools import wait_uncancelled
from callbell_async.errors import EXPIRED, ConfigurationError, DownloadError, Outcome
from callbell_async.http.download_guards import PIECE, Inflater
from callbell_async.http.failures import classify
from callbell_async.http.options import MAX_HEADER, MAX_HEADERS, default_user_agent
from callbell_async.models.file_names import media_type, safe_file_name
from callbell_async.models.message_parts import Attachment, AttachmentKind
from callbell_async.models.validation import check_url
from callbell_async.redaction import HiddenFrames, hide_frames

__all__ = ["Download", "open_download"]

T = TypeVar("T")

MAX_REDIRECTS = 5
_UNUSABLE = "the URL can't be used; it must be an absolute http or https URL"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _Sockets:
    """Makes the sockets of a connector, for allowed addresses only.

    It sees the address of each connection, after every redirect and every resolution of a name, so that no name can have
    one address when it is checked and another when it is used.
    """

    def __init__(self, is_allowed: Callable[[str], bool]) -> None:
        self._is_allowed = is_allowed
        self.has_refused = False

    def __call__(self, address: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, where = address
        if not self._is_allowed(where[0]):
            self.has_refused = True
            raise OSError("this address is not allowed")
        return socket.socket(family, kind, protocol)


class _Deadline:
    """The end of a download's time: runs what is awaited until then, and raises aiohttp's errors as `DownloadError`."""

    def __init__(self, timeout: float, sockets: _Sockets) -> None:
        self._timeout = timeout
        self._at = asyncio.get_running_loop().time() + timeout
        self._sockets = sockets

    async def run(self, work: Awaitable[T], *, response_started: bool = False) -> T:
        try:
            async with asyncio.timeout_at(self._at):
                return await work
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            hide_frames(error)
            failure = DownloadError(self._reason(error, response_started=response_started))
        try:
            # Outside the handler: aiohttp's error would be the context, and it holds the URL.
            raise failure
        finally:
            del failure

    def _reason(self, error: Exception, *, response_started: bool) -> str:
        if isinstance(error, TimeoutError):
            return f"the file is not complete after {self._timeout:g} s"
        if isinstance(error, ValueError):
            return _UNUSABLE
        if isinstance(error, aiohttp.ClientConnectorError) and self._sockets.has_refused:
            return "the URL leads to a private address; allow_private_hosts=True allows it, if you trust the sender of the URL"
        return classify(error, Outcome.UNKNOWN, response_started=response_started, session_closed=False)[1]


class Download:
    """A file that is being downloaded: iterate over its pieces (`bytes`), `read` it, or `save` it; once.

    Attributes:
        name: A safe file name with the suffix of the content type: without folders and control characters, at most 120 bytes.
        kind: The kind of the file, from its content type or its suffix; `None` if it is not known.
        content_type: The media type that the server sent, or that the attachment has, such as `image/jpeg`; `None` if it is not known.
        size: The bytes of the file as the server announced them; `None` if it did not.
    """

    def __init__(
        self, attachment: Attachment, response: aiohttp.ClientResponse, *, max_bytes: int, deadline: _Deadline
    ) -> None:
        self.content_type = media_type(response.headers.get("Content-Type")) or media_type(attachment.content_type)
        self._response = response
        self._max_bytes = max_bytes
        self._deadline = deadline
        self._is_read = False
        self._inflater = Inflater(response.headers.get("Content-Encoding", ""))
        self.name = safe_file_name(attachment.file_name, URL(attachment.url, encoded=True).raw_path, self.content_type)
        self.kind: AttachmentKind | None = Attachment(url="", content_type=self.content_type, file_name=self.name).kind
        self.size = None if self._inflater.is_compressed else response.content_length
        if response.content_length is not None and response.content_length > max_bytes:
            raise _too_large(max_bytes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.content_type}>"

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the file in pieces, as they arrive.

        Raises:
            DownloadError: The connection broke, the time is over, or the file is larger than `max_bytes`.
            ConfigurationError: The file was read before.
        """
        if self._is_read:
            raise ConfigurationError("download: it can be read once; keep what read() returned, or download it again")
        self._is_read = True
        total = 0
        with HiddenFrames():
            while data := await self._next():
                for piece in self._inflater.feed(data):
                    total += len(piece)
                    if total > self._max_bytes:
                        raise _too_large(self._max_bytes)
                    yield piece
                    if self._inflater.is_compressed:
                        # A small body can become many pieces: other tasks run in between.
                        await asyncio.sleep(0)
            self._inflater.finish()

    async def read(self) -> bytes:
        """Return the whole file.

        Raises:
            DownloadError: The connection broke, the time is over, or the file is larger than `max_bytes`.
            ConfigurationError: The file was read before.
        """
        with HiddenFrames():
            return b"".join([piece async for piece in self])

    async def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save the file: it appears under its name when it is complete, and nothing is left if it can't be completed.

        Args:
            path: The file; or a folder that exists, in which the file gets the name `name`. A string that ends with a slash is a folder.
            overwrite: Whether a file that exists is replaced.

        Returns:
            The path of the file.

        Raises:
            ConfigurationError: A file of this name exists, or the download was read before.
            DownloadError: The connection broke, the time is over, or the file is larger than `max_bytes`.
            OSError: The folder does not exist, the disk is full, or the file can't be written for another reason.
        """
        file = _SavedFile(path, self.name, overwrite=overwrite)
        with HiddenFrames():
            try:
                await _in_thread(file.open)
                async with aclosing(aiter(self)) as pieces:
                    async for piece in pieces:
                        await _in_thread(partial(file.write, piece))
                await _in_thread(file.commit)
            finally:
                await _in_thread(file.discard)
        return file.path

    def close(self) -> None:
        """Close the connection; nothing can be read after this."""
        self._response.close()

    async def _next(self) -> bytes:
        return await self._deadline.run(self._response.content.read(PIECE), response_started=True)


@asynccontextmanager
async def open_download(
    attachment: Attachment, *, max_bytes: int, timeout: float, is_allowed: Callable[[str], bool]
) -> AsyncIterator[Download]:
    """Request an attachment and yield its download; `is_allowed` decides on each address; see `CallbellClient.download`."""
    sockets = _Sockets(is_allowed)
    deadline = _Deadline(timeout, sockets)
    # A session of its own: the client's has the token, and a caller's may have cookies, credentials and a proxy.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, use_dns_cache=False, socket_factory=sockets),
        headers={"User-Agent": default_user_agent(), "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
        max_headers=MAX_HEADERS,
    ) as session:
        with HiddenFrames():
            download = await _start(session, attachment, max_bytes, deadline)
        try:
            yield download
        finally:
            download.close()


async def _start(
    session: aiohttp.ClientSession, attachment: Attachment, max_bytes: int, deadline: _Deadline
) -> Download:
    response = await _request(session, attachment.url, deadline)
    try:
        return Download(attachment, response, max_bytes=max_bytes, deadline=deadline)
    except DownloadError:
        response.close()
        raise


async def _request(session: aiohttp.ClientSession, url: str, deadline: _Deadline) -> aiohttp.ClientResponse:
    """Follow the redirects to a response with status 200; each URL is checked."""
    target = _checked(url)
    for _ in range(MAX_REDIRECTS + 1):
        response = await deadline.run(session.get(target, allow_redirects=False))
        location = response.headers.get("Location") if response.status in _REDIRECTS else None
        if location is None:
            return _checked_response(response)
        response.close()
        target = _checked(location, target)
    raise DownloadError(f"more than {MAX_REDIRECTS} redirects")


def _checked(url: str, base: URL | None = None) -> URL:
    try:
        # A signed URL must be sent as it is.
        target = URL(url, encoded=url.isascii())
        if base is not None:
            target = base.join(target)
        check_url("url", str(target))
    except ValueError:
        # Its text quotes the URL.
        target = None
    if target is None:
        raise DownloadError(_UNUSABLE)
    return target


def _checked_response(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    status = response.status
    if status == 200:
        return response
    response.close()
    if status in EXPIRED:
        raise DownloadError(
            f"the link has expired, or the file was removed (status {status}); download attachments within 10 minutes of their event",
            status=status,
        )
    raise DownloadError(f"the server responded with status {status}", status=status)


def _too_large(max_bytes: int) -> DownloadError:
    return DownloadError(f"the file is larger than max_bytes={max_bytes}")


async def _in_thread(work: Callable[[], T]) -> T:
    """Do blocking work in a thread to its end, also if the task is cancelled: two steps of one file never overlap."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled = await wait_uncancelled(running)
    result = running.result()
    if cancelled is not None:
        raise cancelled
    return result


class _SavedFile:
    """A new file: written under a temporary name in the same folder, then renamed. Its methods block.

    Args:
        target: The file; or a folder, in which the file is called `name`. With a slash at the end it is a folder.
        name: A safe file name.
        overwrite: Whether a file that exists is replaced.

    Attributes:
        path: The path of the complete file.
    """

    def __init__(self, target: str | Path, name: str, *, overwrite: bool) -> None:
        self.path = Path(target)
        # A folder by its name, which may be missing: then it is an error, and not a file of this name.
        self._is_folder = str(target).endswith(("/", os.sep))
        self._name = name
        self._overwrite = overwrite
        self._file: BufferedWriter | None = None

    def open(self) -> None:
        """Create the temporary file; raises `ConfigurationError` if the file exists, and `OSError` if the folder can't be written."""
        if self._is_folder or self.path.is_dir():
            self.path = self.path / self._name
        if not self._overwrite and os.path.lexists(self.path):
            raise _name_taken()
        self._file = self.path.with_name(f".{secrets.token_hex(8)}.part").open("xb")

    def write(self, data: bytes) -> None:
        """Add data to the file."""
        self._open_file().write(data)

    def commit(self) -> None:
        """Give the complete file its name."""
        file = self._open_file()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        temporary = Path(file.name)
        if self._overwrite:
            temporary.replace(self.path)
            return
        try:
            # Unlike a rename, it never replaces a file.
            self.path.hardlink_to(temporary)
        except FileExistsError:
            raise _name_taken() from None
        except OSError:
            # A file system without hard links.
            if os.path.lexists(self.path):
                raise _name_taken() from None
            temporary.rename(self.path)

    def discard(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._file is not None:
            try:
                # Fails when the disk is full.
                self._file.close()
            finally:
                Path(self._file.name).unlink(missing_ok=True)

    def _open_file(self) -> BufferedWriter:
        if self._file is None:
            raise ValueError("the file is not open")
        return self._file


def _name_taken() -> ConfigurationError:
    return ConfigurationError("path: a file of this name exists; give another path, or overwrite=True to replace it")
