"""Posts to a webhook: the only module of the sandbox that knows aiohttp's client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import attrs
import orjson
from yarl import URL

__all__ = ["Response", "WebhookClient"]

KEPT = 64 * 1024
"""The number of bytes of a response's body that are kept."""

IDLE = 2.0
"""The number of seconds after which an idle connection is closed: less than common servers wait (5 s)."""


@attrs.frozen
class Response:
    """A webhook's response, in a form that JSON can hold; `body` is JSON, or else a text, and `{}` if it is empty."""

    code: int
    headers: Mapping[str, str]
    body: Any

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.code < 300


class WebhookClient:
    """Connections to webhooks. The first post opens them; after `close` it can be used again."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Response | None:
        """Post a body and return the response; `None` without a complete one in `timeout` seconds.

        Redirects are not followed.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            # An encoded URL stays unchanged: a receiver may compare the secret in it.
            address = URL(url, encoded=re.fullmatch("[!-~]+", url) is not None)
            async with self._session.post(
                address, data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                received = {str(name): _text(value) for name, value in response.headers.items()}
                return Response(response.status, received, _document(await _read_begin(response)))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            # `ValueError`: the URL can't be called, for example because its port is too large.
            return None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _read_begin(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) >= KEPT:
            # The body may be endless.
            response.close()
            break
    return bytes(body[:KEPT])


def _text(value: str) -> str:
    # aiohttp decodes bytes that are not UTF-8 into surrogates, which JSON can't hold.
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _document(body: bytes) -> Any:
    if not body:
        return {}
    try:
        document = orjson.loads(body)
        # orjson reads deeper JSON than it writes, and the API nests the document some levels deeper.
        orjson.dumps([[[[[[[[document]]]]]]]])
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return body.decode("utf-8", "replace")
    return document
