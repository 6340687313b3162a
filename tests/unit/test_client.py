"""The client: arguments, life cycle, and the event loop it belongs to."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import socket
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from callbell_async import (
    CallbellClient,
    ClientClosedError,
    ConfigurationError,
    NotFoundError,
    RateLimiter,
    RetryPolicy,
    TextMessage,
)
from callbell_async.sandbox import Sandbox, faults
from tests.support.calls import ticks, until
from tests.support.clock import current_loop

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
HELLO = TextMessage(to="+31612345678", text="Hello!")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that accepts the tests' token."""
    async with Sandbox(token=TOKEN) as running:
        yield running


async def test_sends_a_message(sandbox: Sandbox) -> None:
    """One message goes out and comes back with its receipt."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        receipt = await callbell.send(HELLO)
    assert [message.uuid for message in sandbox.messages] == [receipt.uuid]


async def test_send_is_a_short_name_for_messages_send(sandbox: Sandbox) -> None:
    """`send` and `messages.send` do the same."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        await callbell.messages.send(HELLO)
        await callbell.send(HELLO)
    first, second = sandbox.messages
    assert first.body == second.body


async def test_request_reaches_what_has_no_method(sandbox: Sandbox) -> None:
    """`request` gives the JSON as it came, and the same exceptions as everywhere."""
    sandbox.account.status_has_contact = False
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        receipt = await callbell.send(HELLO)
        document = await callbell.request("get", f"/messages/status/{receipt.uuid}", query={"unused": None})
        assert document == {"message": {"uuid": receipt.uuid, "status": "enqueued"}}
        with pytest.raises(NotFoundError):
            await callbell.request("GET", "/nowhere", query={"tags": ["a", "b"], "page": 1})


async def test_request_posts_json(sandbox: Sandbox) -> None:
    """`request` sends JSON bodies as well."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        body = {"to": "+31612345678", "from": "whatsapp", "type": "text", "content": {"text": "Hi"}}
        await callbell.request("POST", "/messages/send", json=body)
    assert sandbox.messages[0].body == body


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "channels", "path"),
        ("GET", "", "path"),
        ("GET", 3, "path"),
        ("", "/channels", "method"),
        ("GET /", "/channels", "method"),
        (None, "/channels", "method"),
    ],
)
async def test_request_checks_its_arguments(sandbox: Sandbox, method: Any, path: Any, name: str) -> None:
    """A path without its slash, or a method that is not a word, is refused before anything is sent."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        with pytest.raises(ConfigurationError, match=f"^{name}: "):
            await callbell.request(method, path)
    assert not sandbox.requests


@pytest.mark.parametrize("pasted", [TOKEN, f"Bearer {TOKEN}", f"  bearer   {TOKEN}\n", f"\t{TOKEN} "])
async def test_a_pasted_token_is_cleaned(sandbox: Sandbox, pasted: str) -> None:
    """Blanks around the token and the `Bearer ` that the dashboard shows before it are dropped."""
    async with CallbellClient(pasted, base_url=sandbox.url) as callbell:
        await callbell.send(HELLO)


async def test_token_and_address_come_from_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`CALLBELL_TOKEN` and `CALLBELL_BASE_URL` are used for missing arguments."""
    monkeypatch.setenv("CALLBELL_TOKEN", TOKEN)
    monkeypatch.setenv("CALLBELL_BASE_URL", sandbox.url + "/")
    async with CallbellClient() as callbell:
        await callbell.send(HELLO)
    assert len(sandbox.messages) == 1


@pytest.mark.parametrize("token", [None, "", "   ", "Bearer", "bearer  "])
def test_a_missing_token_is_named_with_the_remedy(token: str | None) -> None:
    """Without a token the client can't be built, and the error names the variable to set."""
    with pytest.raises(ConfigurationError, match="CALLBELL_TOKEN"):
        CallbellClient(token)


@pytest.mark.parametrize(
    ("token", "from_environment"),
    [
        ("nul\0", False),
        (3, False),
        *(
            (token, from_environment)
            for token in ("two\nlines", "tök\x7fen", '"quoted"', "'quoted'", "CALLBELL_TOKEN=quoted")
            for from_environment in (False, True)
        ),
    ],
)
def test_a_token_that_fits_no_header_is_refused_unseen(
    token: Any, from_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token with a line break, quotation marks or `NAME=` is refused, by an error that does not show it."""
    if from_environment:
        monkeypatch.setenv("CALLBELL_TOKEN", token)
    with pytest.raises(ConfigurationError, match=r"^token: ") as caught:
        CallbellClient() if from_environment else CallbellClient(token)
    assert str(token) not in repr(caught.value)


async def test_a_token_from_a_file_is_trimmed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`CALLBELL_TOKEN=$(cat file)` with a trailing carriage return, or a byte-order mark, still is the token."""
    monkeypatch.setenv("CALLBELL_TOKEN", f"\ufeff{TOKEN}\r\n")
    async with CallbellClient(base_url=sandbox.url) as callbell:
        await callbell.send(HELLO)
    assert len(sandbox.messages) == 1


NO_LIMITS: list[Any] = [0, -300, True, False, 2.5, "300", [], RateLimiter]
NO_POLICIES: list[Any] = [3, None, False, RetryPolicy]


class NoSession:
    """Has the methods of a session, as clients that wrap one do, and is none."""

    closed = False

    async def request(self, *arguments: object, **options: object) -> None:
        """Never reached."""


NO_SESSIONS: list[Any] = [NoSession(), "session", 3, False, ClientSession]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        *(
            ({"base_url": url}, "base_url")
            for url in (
                "",
                3,
                b"https://api.callbell.eu/v1",
                "api.callbell.eu",
                "http://[::1",
                "ftp://api.callbell.eu/v1",
                "https://api.callbell.eu/v1?x=1",
                "https://user:secret@api.callbell.eu/v1",
            )
        ),
        *(
            ({name: value}, name)
            for name in ("timeout", "connect_timeout")
            for value in (0, -1, math.nan, math.inf, True, "30", [30])
        ),
        *(({"max_connections": value}, "max_connections") for value in (0, -1, 1.5, True, "10", None, math.inf)),
        *(({"retry": value}, "retry: must be RetryPolicy") for value in NO_POLICIES),
        *(({"rate_limit": value}, "rate_limit") for value in NO_LIMITS),
        *(({"session": value}, "session: must be ClientSession") for value in NO_SESSIONS),
        *(({"user_agent": value}, "user_agent") for value in ("two\nlines", "", " ", "smörgås", 3, b"shop/1")),
    ],
)
def test_arguments_are_checked_by_name(arguments: dict[str, Any], name: str) -> None:
    """An argument of another type or out of range is refused when the client is built, by name."""
    with pytest.raises(ConfigurationError, match=f"^{name}") as caught:
        CallbellClient(TOKEN, **arguments)
    assert "secret" not in str(caught.value)


def warnings_of(**arguments: Any) -> list[str]:
    """The warnings that building a client gives, each at the line that builds it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CallbellClient(TOKEN, **arguments)
    assert all((warning.category, warning.filename) == (UserWarning, __file__) for warning in caught)
    return [str(warning.message) for warning in caught]


def test_plain_http_to_another_host_gives_one_warning() -> None:
    """Where the token would cross the network unencrypted, building the client warns once; on this machine it does not."""
    (text,) = warnings_of(base_url="http://callbell.example.com/v1")
    assert "http://callbell.example.com/v1" in text
    assert "use https" in text
    assert TOKEN not in text
    assert not warnings_of(base_url="http://127.0.0.1:8080/v1")
    assert not warnings_of(base_url="https://callbell.example.com/v1")


def test_too_few_file_descriptors_give_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that needs more sockets than the process may open gives a warning with the number to raise the limit to."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 4096))
    (text,) = warnings_of(max_connections=256)
    assert "may open 256 files" in text
    assert "ulimit -n 288" in text
    assert not warnings_of(max_connections=224)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not warnings_of(max_connections=10**6)


async def test_a_callers_session_has_its_own_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """`max_connections` does not concern a session that was handed in, so nothing is warned of."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64))
    async with ClientSession() as session:
        assert not warnings_of(session=session)


async def test_never_shows_the_token(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the repr nor the log shows the token, and no log a recipient."""
    caplog.set_level(logging.DEBUG)
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        await callbell.send(HELLO)
        await callbell.send_many([HELLO])
    assert TOKEN not in repr(callbell)
    assert TOKEN not in caplog.text
    assert "+31612345678" not in caplog.text


def test_the_repr_shows_the_state() -> None:
    """The repr names the address and the state."""
    assert repr(CallbellClient(TOKEN)) == "<CallbellClient https://api.callbell.eu/v1 not opened yet>"


def test_may_be_built_outside_a_loop() -> None:
    """A module may build its client before there is a loop; the first call opens it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    callbell = CallbellClient(TOKEN, base_url=f"http://127.0.0.1:{port}/v1")

    async def use() -> int:
        async with Sandbox(token=TOKEN, port=port) as sandbox, callbell:
            await callbell.send(HELLO)
        return len(sandbox.messages)

    assert asyncio.run(use()) == 1


async def test_opened_by_the_first_call(sandbox: Sandbox) -> None:
    """Without `async with` the first call opens the client, and `close` ends it."""
    callbell = CallbellClient(TOKEN, base_url=sandbox.url)
    await callbell.send(HELLO)
    assert not callbell.closed
    await callbell.close()
    await callbell.close()
    assert callbell.closed


async def test_a_closed_client_stays_closed(sandbox: Sandbox) -> None:
    """After closing every call raises `ClientClosedError`."""
    callbell = CallbellClient(TOKEN, base_url=sandbox.url)
    await callbell.close()
    with pytest.raises(ClientClosedError):
        await callbell.send(HELLO)
    with pytest.raises(ClientClosedError):
        await callbell.request("GET", "/channels")
    with pytest.raises(ClientClosedError):
        await callbell.send_many([HELLO])
    with pytest.raises(ClientClosedError):
        async with callbell:
            pass


async def test_a_close_that_is_cancelled_still_closes_the_pool() -> None:
    """Cancelled while it waits for a run to end, `close` still closes every connection."""
    read = asyncio.Event()
    async with Sandbox(token=TOKEN) as sandbox:
        sandbox.inject(faults.no_response(read.set))
        callbell = CallbellClient(TOKEN, base_url=sandbox.url)
        run = asyncio.ensure_future(callbell.send_many([HELLO], shutdown_timeout=1000.0))
        await read.wait()
        closing = asyncio.create_task(callbell.close())
        await ticks()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(ClientClosedError):
            await run
        await sandbox.wait_disconnected()


async def test_runs_are_closed_together() -> None:
    """Several runs that are closed share one shutdown time, instead of one after another."""
    async with Sandbox(token=TOKEN) as sandbox:
        sandbox.inject(faults.no_response())
        callbell = CallbellClient(TOKEN, base_url=sandbox.url)
        runs = [asyncio.ensure_future(callbell.send_many([HELLO], shutdown_timeout=30.0)) for _ in range(4)]
        await until(lambda: len(sandbox.requests) == 4)
        closing = asyncio.create_task(callbell.close())
        await ticks()
        current_loop().advance(31)
        await closing
        for run in runs:
            with pytest.raises(ClientClosedError):
                await run


async def test_a_forgotten_close_gives_one_warning(sandbox: Sandbox) -> None:
    """A client that was used and never closed warns once when it is collected, and its pool with it."""
    callbell = CallbellClient(TOKEN, base_url=sandbox.url)
    await callbell.send(HELLO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del callbell
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "unclosed <CallbellClient" in str(caught[0].message)


def test_a_client_that_was_never_used_needs_no_close() -> None:
    """Building a client opens nothing, so there is nothing to warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CallbellClient(TOKEN)
        gc.collect()
    assert not caught


async def test_a_second_event_loop_is_refused(sandbox: Sandbox) -> None:
    """Used on another event loop than its first, a client raises an error that names the cause."""
    async with CallbellClient(TOKEN, base_url=sandbox.url) as callbell:

        def elsewhere() -> None:
            asyncio.run(callbell.send(HELLO))

        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(elsewhere)
    assert not sandbox.messages


async def test_a_callers_session_stays_open(sandbox: Sandbox) -> None:
    """A session that was handed in is used, and is its owner's to close."""
    async with ClientSession() as session:
        async with CallbellClient(TOKEN, base_url=sandbox.url, session=session) as callbell:
            await callbell.send(HELLO)
        assert not session.closed
    assert len(sandbox.messages) == 1


class _RecordingLimiter(RateLimiter):
    """Gives a slot to every request, and records the calls."""

    def __init__(self, *failures: Exception) -> None:
        self.calls: list[str] = []
        self.failures = list(failures)
        self.may_start = asyncio.Event()
        self.may_start.set()

    async def start(self) -> None:
        self.calls.append("start")
        await self.may_start.wait()
        if self.failures:
            raise self.failures.pop(0)

    async def aclose(self) -> None:
        self.calls.append("aclose")

    async def acquire(self) -> None:
        self.calls.append("acquire")

    def release(self, *, answered: bool) -> None:
        self.calls.append(f"release {answered}")

    def refund(self) -> None:
        self.calls.append("refund")


async def test_a_rate_limiter_of_ones_own_is_used(sandbox: Sandbox) -> None:
    """A `RateLimiter` that was handed in is started once, gives each request its slot, hears of its end, and is closed once."""
    limiter = _RecordingLimiter()
    async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter) as callbell:
        assert limiter.calls == []
        await callbell.send(HELLO)
        await callbell.send(HELLO)
    await callbell.close()
    assert limiter.calls == ["start", *(["acquire", "release True"] * 2), "aclose"]


async def test_a_rate_limiter_that_was_not_used_is_left_alone() -> None:
    """A client that made no call neither starts nor closes its rate limiter."""
    limiter = _RecordingLimiter()
    async with CallbellClient(TOKEN, rate_limit=limiter):
        pass
    assert limiter.calls == []


async def test_first_calls_wait_for_the_rate_limiter_together(sandbox: Sandbox) -> None:
    """Calls that come while the rate limiter starts wait for that one start."""
    limiter = _RecordingLimiter()
    limiter.may_start.clear()
    async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter) as callbell:
        sending = [asyncio.create_task(callbell.send(HELLO)) for _ in range(3)]
        await ticks()
        assert limiter.calls == ["start"]
        limiter.may_start.set()
        await asyncio.gather(*sending)
    assert limiter.calls.count("start") == limiter.calls.count("aclose") == 1
    assert len(sandbox.messages) == 3


async def test_a_rate_limiter_that_did_not_start_is_started_again(sandbox: Sandbox) -> None:
    """Where the start fails, the call fails with that error and sends nothing; the next call tries the start again."""
    limiter = _RecordingLimiter(ConfigurationError("no server for the shared limit"))
    async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter) as callbell:
        with pytest.raises(ConfigurationError, match="no server for the shared limit"):
            await callbell.send(HELLO)
        assert not sandbox.requests
        await callbell.send(HELLO)
    assert limiter.calls == ["start", "start", "acquire", "release True", "aclose"]


async def test_closing_waits_for_a_rate_limiter_that_starts(sandbox: Sandbox) -> None:
    """A client that is closed while its rate limiter starts closes it afterwards; the calls that wait for it send nothing."""
    limiter = _RecordingLimiter()
    limiter.may_start.clear()
    callbell = CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter)
    sending = [asyncio.create_task(callbell.send(HELLO)) for _ in range(2)]
    await ticks()
    closing = asyncio.create_task(callbell.close())
    await ticks()
    limiter.may_start.set()
    await closing
    for sent in await asyncio.gather(*sending, return_exceptions=True):
        assert isinstance(sent, ClientClosedError)
    assert limiter.calls.count("start") == limiter.calls.count("aclose") == 1
    assert not sandbox.requests


async def test_clients_that_share_a_rate_limiter_start_and_close_it_each(sandbox: Sandbox) -> None:
    """Each client that used a limiter awaits its `start` and its `aclose` once."""
    limiter = _RecordingLimiter()
    for _ in range(2):
        async with CallbellClient(TOKEN, base_url=sandbox.url, rate_limit=limiter) as callbell:
            await callbell.send(HELLO)
    assert limiter.calls == ["start", "acquire", "release True", "aclose"] * 2


async def test_many_calls_share_a_small_pool(sandbox: Sandbox) -> None:
    """More calls than connections wait for one; all succeed."""
    async with CallbellClient(
        TOKEN, base_url=sandbox.url, max_connections=2, retry=RetryPolicy(attempts=1)
    ) as callbell:
        receipts = await asyncio.gather(*(callbell.send(HELLO) for _ in range(50)))
    assert len({receipt.uuid for receipt in receipts}) == 50
