"""The arguments of the client: the token, the checks, and the warnings."""

from __future__ import annotations

import math
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector

from callbell_async import (
    CallbellClient,
    ConfigurationError,
    RateLimiter,
    RetryPolicy,
    TextMessage,
)
from callbell_async.sandbox import Sandbox
from tests.support.calls import TOKEN

HELLO = TextMessage(to="+31612345678", text="Hello!")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that accepts the tests' token."""
    async with Sandbox(token=TOKEN) as running:
        yield running


@pytest.mark.parametrize("pasted", [TOKEN, f"Bearer {TOKEN}", f"  bearer   {TOKEN}\n", f"\t{TOKEN} "])
async def test_a_pasted_token_is_cleaned(sandbox: Sandbox, pasted: str) -> None:
    """Blanks around the token, and the `Bearer ` that the dashboard shows before it, are removed."""
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
    """A carriage return or a byte order mark that comes from a file is removed from `CALLBELL_TOKEN`."""
    monkeypatch.setenv("CALLBELL_TOKEN", f"\ufeff{TOKEN}\r\n")
    async with CallbellClient(base_url=sandbox.url) as callbell:
        await callbell.send(HELLO)
    assert len(sandbox.messages) == 1


NO_LIMITS: list[Any] = [0, -300, True, False, 2.5, "300", [], RateLimiter]
NO_POLICIES: list[Any] = [3, None, False, RetryPolicy]


class NoSession:
    """Has the methods of a session, as clients that wrap one do, but is not a session."""

    closed = False

    async def request(self, *arguments: object, **options: object) -> None:
        """Accept any request."""


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
        *(({"max_connections": value}, "max_connections") for value in (0, -1, 1.5, True, "10", math.inf)),
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
    """Return the warnings of building a client, each of which names the line that builds it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CallbellClient(TOKEN, **arguments)
    assert all((warning.category, warning.filename) == (UserWarning, __file__) for warning in caught)
    return [str(warning.message) for warning in caught]


def test_plain_http_to_another_host_gives_one_warning() -> None:
    """If the token would cross the network unencrypted, building the client gives one warning; for this machine it gives none."""
    (text,) = warnings_of(base_url="http://callbell.example.com/v1")
    assert "http://callbell.example.com/v1" in text
    assert "use https" in text
    assert TOKEN not in text
    assert not warnings_of(base_url="http://127.0.0.1:8080/v1")
    assert not warnings_of(base_url="https://callbell.example.com/v1")


def test_too_few_file_descriptors_give_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that needs more sockets than the process may open gives a warning with the limit that is needed."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 4096))
    (text,) = warnings_of(max_connections=256)
    assert "may open 256 files" in text
    assert "ulimit -n 288" in text
    assert not warnings_of(max_connections=224)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not warnings_of(max_connections=10**6)


@pytest.mark.parametrize(
    ("files", "size"), [(332, 300), (10**6, 300), (256, 224), (82, 50), (81, 49), (33, 1), (16, 1)]
)
def test_the_default_pool_fits_the_file_descriptors(files: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default pool has 300 connections, or as many as the process may open; a warning comes if these are fewer than 50."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (files, files))
    texts = warnings_of()
    assert len(texts) == (size < 50)
    for text in texts:
        assert f"may open {files} files, too few for 50 connections" in text
        assert "ulimit -n 332" in text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert CallbellClient(TOKEN)._transport.max_connections == size


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"limit": 20}, 20), ({"limit": 0}, math.inf), ({"limit": 0, "limit_per_host": 7}, 7), ({"limit_per_host": 9}, 9)],
)
async def test_the_connections_of_a_callers_session(limits: dict[str, Any], expected: float) -> None:
    """With a caller's session, the limits of its connector count instead of `max_connections`."""
    async with ClientSession(connector=TCPConnector(**limits)) as session:
        assert CallbellClient(TOKEN, session=session, max_connections=5)._transport.max_connections == expected


async def test_a_callers_session_has_its_own_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """`max_connections` has no effect on a session that was passed to the client, so it gives no warning."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64))
    async with ClientSession() as session:
        assert not warnings_of(session=session)
