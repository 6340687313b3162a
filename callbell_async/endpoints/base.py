"""What the groups of endpoints have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from callbell_async.http.pagination import Paginator
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState, Request, build_path, build_query
from callbell_async.http.responses import Response, read_response
from callbell_async.models.pages import Page
from callbell_async.models.unset import UNSET
from callbell_async.wire import dump_json

__all__ = ["Endpoint", "PipelineProvider"]

T = TypeVar("T")

PipelineProvider = Callable[[], RequestPipeline]
"""Gives the open client's caller, or raises `ClientClosedError`."""

Load = Callable[[Any], T]
"""From an answer's JSON to a model."""


class Endpoint:
    """A group of endpoints of one client.

    Its methods say what goes out and what comes back; each raises what any call raises: `APIError` when Callbell refuses, `TransportError` when no
    answer can be read.
    """

    def __init__(self, caller: PipelineProvider) -> None:
        self._caller = caller

    async def _call(
        self,
        method: str,
        *path: str,
        load: Load[T],
        query: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> T:
        """Send `json` without what is unset to the path of these parts, and load the answer."""
        body = None if json is None else dump_json(_given(json), field="json")
        request = Request(method, build_path(*path) + build_query(query), body)
        return await self._caller().run(
            CallState(request), lambda request, answer: read_response(request, answer, load)
        )

    async def _forget(self, method: str, *path: str) -> None:
        """The same for a call whose answer says nothing but that it succeeded."""
        await self._caller().run(CallState(Request(method, build_path(*path))), _read_nothing)

    def _pages(
        self, *path: str, load: Load[Page[T]], filters: Mapping[str, Any] | None = None, single: bool = False
    ) -> Paginator[T]:
        """The list at this path."""
        return Paginator(lambda query: self._call("GET", *path, load=load, query=query), filters, single=single)


def _given(json: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in json.items() if value is not UNSET}


def _read_nothing(request: Request, answer: Response) -> None:
    if not answer.ok:
        read_response(request, answer, lambda document: document)
