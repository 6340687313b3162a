"""The two paths of an own session's requests: directly over its connections, and over aiohttp's session."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

__all__ = ["count_session_requests", "wrap_sessions"]

_REQUEST = aiohttp.ClientSession._request


def wrap_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrap the method of aiohttp's sessions, as tracers do; so every request goes over the session."""

    async def request(session: aiohttp.ClientSession, *arguments: Any, **options: Any) -> aiohttp.ClientResponse:
        return await _REQUEST(session, *arguments, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", request)


def count_session_requests(monkeypatch: pytest.MonkeyPatch) -> list[aiohttp.ClientRequest]:
    """Return a list to which every request is added that is sent over a session."""
    sent: list[aiohttp.ClientRequest] = []
    send = aiohttp.ClientRequest.send

    async def send_and_add(request: aiohttp.ClientRequest, connection: Any) -> aiohttp.ClientResponse:
        sent.append(request)
        return await send(request, connection)

    monkeypatch.setattr(aiohttp.ClientRequest, "send", send_and_add)
    return sent
