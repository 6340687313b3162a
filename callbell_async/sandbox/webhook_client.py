"""Posts to a webhook: the one part of the sandbox that knows aiohttp's client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import attrs
import orjson
from yarl import URL

__all__ = ["Answer", "Courier"]

KEPT = 64 * 1024
"""How much of an answer's body is kept, in bytes."""

IDLE = 2.0
"""After how many seconds an idle connection is closed: before the shortest wait of common servers (5 s) is over."""


@attrs.frozen
class Answer:
    """What a webhook answered, as it can be told in JSON again; `body` is JSON, or else text, and `{}` when it is empty."""

    code: int
    headers: Mapping[str, str]
    body: Any

    @property
    def good(self) -> bool:
        """Whether it is one of the 2xx."""
        return 200 <= self.code < 300


class Courier:
    """Connections to webhooks, opened by the first post and kept until `close`; then it can be used again."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer | None:
        """Post a body, and give the answer; `None` if there was no whole one in `timeout` seconds. Redirects are not followed."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            # What is encoded is left as it is: a receiver may compare the secret in its URL.
            address = URL(url, encoded=re.fullmatch("[!-~]+", url) is not None)
            async with self._session.post(
                address, data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                answered = {str(name): _text(value) for name, value in response.headers.items()}
                return Answer(response.status, answered, _document(await _begin_of(response)))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            # The last is for a URL that can't be called, such as one whose port is too large.
            return None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _begin_of(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) >= KEPT:
            # An answer without end must not keep the delivery from its own.
            response.close()
            break
    return bytes(body[:KEPT])


def _text(value: str) -> str:
    # aiohttp keeps bytes that are no UTF-8 as halves of characters, which can't be written.
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _document(body: bytes) -> Any:
    if not body:
        return {}
    try:
        document = orjson.loads(body)
        # Less deep can be written than can be read, and it will be told some levels deeper.
        orjson.dumps([[[[[[[[document]]]]]]]])
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return body.decode("utf-8", "replace")
    return document
