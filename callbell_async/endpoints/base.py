"""The base class of the endpoint groups: one call, and one list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from callbell_async.arguments import UNSET
from callbell_async.http.pagination import Page, Paginator
from callbell_async.http.pipeline import RequestPipeline
from callbell_async.http.requests import CallState, Request, build_path, build_query
from callbell_async.http.responses import Response, read_response
from callbell_async.wire import dump_arguments

__all__ = ["Endpoint", "PipelineProvider"]

T = TypeVar("T")

PipelineProvider = Callable[[], RequestPipeline]
"""Returns the open client's pipeline, or raises `ClientClosedError`."""

Load = Callable[[Any], T]
"""Reads a model from a response's JSON."""


class Endpoint:
    """A group of endpoints of one client.

    Every method raises `APIError` when Callbell refuses the request, `TransportError` when no readable response came, `ConfigurationError`
    for a blank identifier, and `ClientClosedError` after the client was closed.
    """

    def __init__(self, pipeline: PipelineProvider) -> None:
        self._pipeline = pipeline

    async def _call(
        self,
        method: str,
        *path: str,
        load: Load[T],
        query: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> T:
        """Send `json`, without the values that are `UNSET`, to the path of these parts, and read the response with `load`."""
        request = Request(
            method,
            build_path(*path) + build_query(query),
            None if json is None else dump_arguments(_without_unset(json)),
        )
        # A traceback shows the local variables of this frame, and the request hides its body.
        del json
        return await self._pipeline().run(
            CallState(request), lambda request, response: read_response(request, response, load)
        )

    async def _call_without_result(self, method: str, *path: str) -> None:
        """Send a request whose response has no content."""
        await self._pipeline().run(CallState(Request(method, build_path(*path))), _check_success)

    def _pages(
        self, *path: str, load: Load[Page[T]], filters: Mapping[str, Any] | None = None, single: bool = False
    ) -> Paginator[T]:
        """Return the list at this path."""
        return Paginator(lambda query: self._call("GET", *path, load=load, query=query), filters, is_single_page=single)


def _without_unset(json: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in json.items() if value is not UNSET}


def _check_success(request: Request, response: Response) -> None:
    if not response.ok:
        read_response(request, response, lambda document: document)
