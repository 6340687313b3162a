"""Makes aioresponses work with aiohttp 3.14: pass `response_class=MockResponse` with every mocked response."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import aiohttp

__all__ = ["MockResponse"]


class MockResponse(aiohttp.ClientResponse):
    """A response with the `stream_writer` that aiohttp 3.14 requires and aioresponses 0.7.9 does not pass."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, stream_writer=Mock(output_size=0), **options)
