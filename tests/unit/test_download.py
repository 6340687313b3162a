"""Downloads of attachments over real HTTP: bounded in bytes and time, without the token, and never from a private address unasked."""

from __future__ import annotations

import asyncio
import gzip
import sys
import traceback
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

import callbell_async
from callbell_async import (
    Attachment,
    AttachmentKind,
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    MessageCreated,
)
from callbell_async.http.download import open_download
from callbell_async.http.download_guards import PIECE, Inflater
from callbell_async.sandbox import Fault, Sandbox, SandboxResponse, faults
from callbell_async.webhooks import parse_event
from tests.fixtures.sandbox import Clock
from tests.support.calls import client_for, half_a_minute_passes, nobody_listening
from tests.support.clock import current_loop
from tests.support.webhook_listener import Listen

if sys.platform != "win32":
    pass

PHOTO = bytes(range(256)) * 1000
PACKAGE = str(Path(callbell_async.__file__).parent)


@pytest.fixture
async def callbell(sandbox: Sandbox) -> AsyncIterator[CallbellClient]:
    """A client of the sandbox."""
    async with client_for(sandbox.url) as client:
        yield client


async def fetch(callbell: CallbellClient, url: str | Attachment, *, max_bytes: int = 1_000_000) -> bytes:
    """Download a file of this machine into memory."""
    async with callbell.download(url, max_bytes=max_bytes, allow_private_hosts=True) as download:
        return await download.read()


def served(sandbox: Sandbox, *faults: Fault) -> str:
    """Return the URL of a file whose requests get these faults."""
    sandbox.inject(*faults, when=lambda request: not request.below_v1)
    return sandbox.add_file(PHOTO)


# --- what is downloaded -----------------------------------------------------------------------------------------------


async def test_a_received_photo_is_saved(
    callbell: CallbellClient, sandbox: Sandbox, listen: Listen, tmp_path: Path
) -> None:
    """The attachment of an event is saved in a folder, under its name, and has its kind and its type."""
    listener = await listen()
    sandbox.account.receive_message(sender="+31612345678", attachments=[sandbox.add_file(PHOTO, name="beach.jpg")])
    await sandbox.wait_delivered()
    (event,) = [
        event
        for request in listener.posts
        if isinstance(event := parse_event(request.body), MessageCreated) and event.attachments
    ]
    async with callbell.download(event.attachments[0], allow_private_hosts=True) as download:
        path = await download.save(tmp_path)
    assert path == tmp_path / "beach.jpg"
    assert path.read_bytes() == PHOTO
    assert (download.kind, download.content_type) == (AttachmentKind.IMAGE, "image/jpeg")
    assert download.size == len(PHOTO)


async def test_a_file_is_read_in_pieces(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A download can be iterated over, piece by piece, without holding the whole file."""
    async with callbell.download(sandbox.add_file(PHOTO), allow_private_hosts=True) as download:
        pieces = [piece async for piece in download]
    assert b"".join(pieces) == PHOTO
    assert max(map(len, pieces)) <= PIECE


async def test_the_suffix_comes_from_the_content_type(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A URL without a suffix gets that of the content type, and a name that misleads gets the right one too."""
    url = sandbox.add_file(b"%PDF", name="invoice.exe", content_type="application/pdf; charset=binary")
    async with callbell.download(url, allow_private_hosts=True) as download:
        assert (download.name, download.kind) == ("invoice.exe.pdf", AttachmentKind.DOCUMENT)


async def test_the_attachment_s_own_name_and_type_count(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """The file name of the attachment is used, and its type where the server sends none that means anything."""
    url = sandbox.add_file(b"ID3", name="x", content_type="application/octet-stream")
    attachment = Attachment(url=url, file_name="../voice note.mp3", content_type="audio/mpeg")
    async with callbell.download(attachment, allow_private_hosts=True) as download:
        assert (download.name, download.kind) == ("voice note.mp3", AttachmentKind.AUDIO)
        assert download.content_type == "audio/mpeg"


async def test_a_signed_url_is_sent_as_it_is(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """The percent-encoding of a URL is not changed, because the signature in it covers it."""
    url = sandbox.add_file(PHOTO) + "?signature=a%2Fb%7Ec+d%20e&expires=600"
    assert await fetch(callbell, url) == PHOTO
    assert sandbox.requests[0].target == url.removeprefix(sandbox.url.removesuffix("/v1"))


async def test_the_token_is_never_sent(sandbox: Sandbox) -> None:
    """Neither the token nor the headers and cookies of a caller's session go to the server of the file."""
    session = aiohttp.ClientSession(headers={"X-Secret": "s"}, cookies={"c": "s"})
    async with session, client_for(sandbox.url, session=session) as callbell:
        await fetch(callbell, sandbox.add_file(PHOTO))
    sent = {name.lower() for name, _ in sandbox.requests[0].raw_headers}
    assert sent == {"host", "user-agent", "accept", "accept-encoding", "connection"}


async def test_a_download_is_read_once(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """Reading a download a second time is an error, not an empty file."""
    async with callbell.download(sandbox.add_file(PHOTO), allow_private_hosts=True) as download:
        await download.read()
        with pytest.raises(ConfigurationError, match="read once"):
            await download.read()


# --- the link ---------------------------------------------------------------------------------------------------------


async def test_the_link_expires(callbell: CallbellClient, sandbox: Sandbox, clock: Clock) -> None:
    """After 10 minutes the error shows that the link has expired."""
    url = sandbox.add_file(PHOTO)
    clock.now += 599
    assert await fetch(callbell, url) == PHOTO
    clock.now += 1
    with pytest.raises(DownloadError, match=r"the link has expired.*within 10 minutes") as caught:
        await fetch(callbell, url)
    assert (caught.value.status, caught.value.expired) == (403, True)


@pytest.mark.parametrize(
    ("status", "expired"), [(404, True), (410, True), (400, False), (500, False), (204, False), (302, False)]
)
async def test_other_statuses(callbell: CallbellClient, sandbox: Sandbox, status: int, expired: bool) -> None:
    """A file that was removed counts as expired; any other status is an error that names it."""
    url = served(sandbox, faults.respond(status))
    with pytest.raises(DownloadError, match=str(status)) as caught:
        await fetch(callbell, url)
    assert (caught.value.status, caught.value.expired) == (status, expired)


async def test_the_error_does_not_show_the_url(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A link can be used by anybody who reads it in a log, so no error quotes it, nor what lies beneath the error."""
    with nobody_listening() as nobody, pytest.raises(DownloadError, match="no connection") as caught:
        await fetch(callbell, f"{nobody}/secret-path?signature=secret-path")
    assert "secret-path" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.respond(404), "expired"),
        (faults.respond(200, b"secret", headers={"Content-Encoding": "br"}), "not asked for"),
        (faults.respond(200, b"secret" * 9), "larger"),
        (faults.respond(200, gzip.compress(b"secret" * 9), headers={"Content-Encoding": "gzip"}), "larger"),
        (faults.respond(302, headers={"Location": "ftp://secret"}), "can't be used"),
        (faults.truncated_response(SandboxResponse(200, raw=b"secret" * 8)), "broke"),
    ],
)
async def test_local_variables_of_the_package_do_not_show_the_file(
    callbell: CallbellClient, sandbox: Sandbox, fault: Fault, reason: str
) -> None:
    """Error reporters show local variables: no frame of the package holds the URL, the response or a piece of the file."""
    with pytest.raises(DownloadError, match=reason) as caught:
        await fetch(callbell, served(sandbox, fault) + "?secret", max_bytes=50)
    summary = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = [frame for frame in summary.stack if PACKAGE in frame.filename and "secret" in str(frame.locals)]
    assert not shown


# --- the addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"])
async def test_this_machine_is_refused_by_default(callbell: CallbellClient, sandbox: Sandbox, host: str) -> None:
    """Without `allow_private_hosts` no connection is made to this machine, neither by address nor by name."""
    url = sandbox.add_file(PHOTO).replace("127.0.0.1", host)
    with pytest.raises(DownloadError, match="private address; allow_private_hosts=True"):
        async with callbell.download(url):
            pass
    assert sandbox.connections == 0


async def test_a_redirect_is_followed(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A redirect leads to the file, with a relative address too."""
    target = sandbox.add_file(PHOTO)
    url = served(sandbox, faults.respond(302, headers={"Location": target.partition("/files/")[2]}), faults.no_fault())
    assert await fetch(callbell, url.rpartition("/files/")[0] + "/files/moved") == PHOTO


async def test_a_redirect_to_a_private_address_is_refused(sandbox: Sandbox) -> None:
    """The address of each redirect is checked, not only the first one."""
    url = served(sandbox, faults.respond(307, headers={"Location": "http://127.0.0.2:9/internal"}))
    with pytest.raises(DownloadError, match="private address"):
        async with open_download(
            Attachment(url=url), max_bytes=10, timeout=60, is_allowed=lambda address: address == "127.0.0.1"
        ):
            pass
    assert len(sandbox.requests) == 1


async def test_a_name_that_changes_its_address_is_refused(sandbox: Sandbox) -> None:
    """The address is checked at each connection, so a name can't have a public address first and a private one later."""
    answers = iter([True, False])
    url = served(sandbox, faults.respond(302, headers={"Location": "/files/again"}))
    with pytest.raises(DownloadError, match="private address"):
        async with open_download(Attachment(url=url), max_bytes=10, timeout=60, is_allowed=lambda _: next(answers)):
            pass
    assert sandbox.connections == 1


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/file", "http://127.0.0.1:99999/", "http://[::1"]
)
async def test_a_redirect_to_something_else_is_refused(
    callbell: CallbellClient, sandbox: Sandbox, location: str
) -> None:
    """Only http and https URLs are followed."""
    url = served(sandbox, faults.respond(302, headers={"Location": location}))
    with pytest.raises(DownloadError, match="URL can't be used"):
        await fetch(callbell, url)
    assert len(sandbox.requests) == 1


async def test_redirects_have_an_end(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """After five redirects the download ends."""
    url = served(sandbox, faults.respond(302, headers={"Location": "/files/again"}))
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        await fetch(callbell, url)
    assert len(sandbox.requests) == 6


@pytest.mark.parametrize(
    "url",
    ["", "photo.jpg", "file:///etc/passwd", "ftp://example.com/a", "http://exa mple.com/", "http://.example.com/"],
)
async def test_a_url_that_is_not_http(callbell: CallbellClient, url: str) -> None:
    """A URL of another kind is refused before anything is requested."""
    with pytest.raises(DownloadError, match="the URL can't be used"):
        await fetch(callbell, url)


# --- the bytes --------------------------------------------------------------------------------------------------------


async def test_a_file_of_exactly_max_bytes(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """The limit itself is allowed."""
    assert await fetch(callbell, sandbox.add_file(PHOTO), max_bytes=len(PHOTO)) == PHOTO


async def test_a_larger_file_is_refused_before_it_is_read(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A file that announces more bytes than `max_bytes` is not read."""
    with pytest.raises(DownloadError, match=f"larger than max_bytes={len(PHOTO) - 1}"):
        async with callbell.download(sandbox.add_file(PHOTO), max_bytes=len(PHOTO) - 1, allow_private_hosts=True):
            raise AssertionError("not reached")


async def test_a_file_without_a_length_is_bounded(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A body without a length ends at `max_bytes`, and not when the server ends it."""
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 100
    url = served(sandbox, faults.no_response(after=endless))
    with pytest.raises(DownloadError, match="larger than max_bytes=100000"):
        await fetch(callbell, url, max_bytes=100_000)


async def test_more_bytes_than_announced(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A server that sends more bytes than it announced gets none of them into the file."""
    url = served(sandbox, faults.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"))
    with pytest.raises(DownloadError, match="the response is not HTTP"):
        await fetch(callbell, url, max_bytes=3)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate", "identity"])
async def test_a_compressed_file_is_decompressed(callbell: CallbellClient, sandbox: Sandbox, encoding: str) -> None:
    """A file that is stored in compressed form is decompressed."""
    packed = {"deflate": zlib.compress(PHOTO), "identity": PHOTO}.get(encoding, gzip.compress(PHOTO))
    url = served(sandbox, faults.respond(200, packed, {"Content-Encoding": encoding}))
    assert await fetch(callbell, url) == PHOTO


async def test_a_decompression_bomb_is_bounded(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A small body that grows beyond `max_bytes` is refused as soon as it does."""
    bomb = gzip.compress(bytes(50_000_000))
    url = served(sandbox, faults.respond(200, bomb, {"Content-Encoding": "gzip"}))
    with pytest.raises(DownloadError, match="larger than max_bytes=100000"):
        await fetch(callbell, url, max_bytes=100_000)


async def test_other_tasks_run_during_decompression(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """A small body that becomes a large file does not keep the event loop to itself."""
    bomb = gzip.compress(bytes(100 * PIECE))
    url = served(sandbox, faults.respond(200, bomb, {"Content-Encoding": "gzip"}))
    async with callbell.download(url, allow_private_hosts=True) as download:
        reading = asyncio.ensure_future(download.read())
        rounds = 0
        while not reading.done():
            rounds += 1
            await asyncio.sleep(0)
        assert len(reading.result()) == 100 * PIECE
    assert rounds >= 100


def inflated(*parts: bytes) -> list[bytes]:
    """Return the pieces into which a compressed body is decompressed that arrives in these parts."""
    inflater = Inflater("gzip")
    pieces = [piece for part in parts for piece in inflater.feed(part)]
    inflater.finish()
    return pieces


def test_decompression_goes_in_small_steps() -> None:
    """However much a body grows, it is decompressed in pieces of 64 KiB, and files of several members are read to the end."""
    pieces = inflated(gzip.compress(bytes(5_000_000)) + gzip.compress(b"end"))
    assert max(map(len, pieces)) == PIECE
    assert b"".join(pieces) == bytes(5_000_000) + b"end"


@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, PIECE + 1, PIECE + 258, 2 * PIECE])
def test_no_byte_is_lost_between_two_steps(size: int) -> None:
    """A file is complete whatever its size and the parts in which it arrives."""
    body = gzip.compress(bytes(size))
    assert b"".join(inflated(body)) == bytes(size)
    assert b"".join(inflated(*(bytes([byte]) for byte in body))) == bytes(size)


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"not gzip at all", "gzip", "damaged"),
        (gzip.compress(PHOTO)[:-9], "gzip", "not complete"),
        (b"", "gzip", "not complete"),
        (b"packed", "br", "not asked for"),
    ],
)
async def test_a_wrong_compression(
    callbell: CallbellClient, sandbox: Sandbox, body: bytes, encoding: str, reason: str
) -> None:
    """A file that can't be decompressed completely is an error."""
    url = served(sandbox, faults.respond(200, body, {"Content-Encoding": encoding}))
    with pytest.raises(DownloadError, match=reason):
        await fetch(callbell, url)


# --- the time and the connection --------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_the_time_is_limited(callbell: CallbellClient, sandbox: Sandbox, after: bytes) -> None:
    """A server that does not respond, or stops in the middle of the file, is left after `timeout` seconds."""
    url = served(sandbox, faults.no_response(half_a_minute_passes, after=after))
    with pytest.raises(DownloadError, match="not complete after 30 s"):
        async with callbell.download(url, timeout=30.0, allow_private_hosts=True) as download:
            await download.read()
    await sandbox.wait_disconnected()


async def test_a_slow_file_ends_at_the_timeout(callbell: CallbellClient, sandbox: Sandbox) -> None:
    """The time counts for the whole file: a byte now and then does not extend it."""
    url = served(sandbox, faults.no_response(after=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"))
    async with callbell.download(url, timeout=30.0, allow_private_hosts=True) as download:
        pieces = aiter(download)
        assert await anext(pieces) == b"abc"
        current_loop().advance(30)
        with pytest.raises(DownloadError, match="not complete after 30 s"):
            await anext(pieces)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.truncated_response(), "the connection broke during the response"),
        (faults.truncated_response(reset=True), "the connection broke during the response"),
        (faults.close_before_reading(), "the connection broke"),
        (faults.raw(b"not HTTP\r\n\r\n"), "the response is not HTTP"),
    ],
)
async def test_a_broken_connection(
    callbell: CallbellClient, sandbox: Sandbox, tmp_path: Path, fault: Fault, reason: str
) -> None:
    """A file whose connection breaks is an error, and nothing of it is left in the folder."""
    url = served(sandbox, fault)
    with pytest.raises(DownloadError, match=reason):
        async with callbell.download(url, allow_private_hosts=True) as download:
            await download.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- the arguments ----------------------------------------------------------------------------------------------------


async def test_wrong_arguments_are_refused_at_once(sandbox: Sandbox) -> None:
    """Each argument is checked when `download` is called, and a closed client downloads nothing."""
    async with client_for(sandbox.url) as callbell:
        with pytest.raises(ConfigurationError, match="attachment: must be Attachment, not int"):
            callbell.download(5)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="max_bytes=0"):
            callbell.download("https://example.com/a", max_bytes=0)
        with pytest.raises(ConfigurationError, match="timeout"):
            callbell.download("https://example.com/a", timeout=0)
        with pytest.raises(ConfigurationError, match="allow_private_hosts='no'"):
            callbell.download("https://example.com/a", allow_private_hosts="no")  # type: ignore[arg-type]
    with pytest.raises(ClientClosedError):
        callbell.download("https://example.com/a")
