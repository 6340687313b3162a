"""Lists that are fetched a page at a time, when it is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from callbell_async.errors import PaginationError
from callbell_async.models.pages import Page

__all__ = ["Pager", "Paginator"]

T = TypeVar("T")


class Pager:
    """Decides which page to ask for next, by what the last one said; never goes round in a circle.

    By cursor where the answers have one (`meta.next`, sent back as `after`), else by number until `meta.pages`, and without `meta` until an
    empty page. The filters go with every request: they are not in the cursor. Raises `PaginationError` for a page or a cursor
    that comes again.
    """

    def __init__(self, filters: Mapping[str, Any], *, single: bool = False) -> None:
        self._filters = dict(filters)
        self._single = single
        self._number = 1
        self._cursors: set[str] = set()
        # Of each page only a hash, so that a list of any length costs a few bytes a page.
        self._seen: set[int] = set()
        self.query: dict[str, Any] | None = dict(filters)

    def turn(self, page: Page[Any]) -> None:
        """Take note of a page; `query` asks for the next one then, or is `None` at the end."""
        if page.cursor is None and page.number is not None and page.number != self._number and not self._cursors:
            raise PaginationError(f"asked for page {self._number} and got page {page.number}")
        seen = hash(repr(page.raw))
        if page.items and seen in self._seen:
            raise PaginationError("a page came a second time: the list goes round in a circle")
        self._seen.add(seen)
        self.query = self._next(page)

    def _next(self, page: Page[Any]) -> dict[str, Any] | None:
        if self._single:
            return None
        if page.has_cursor or self._cursors:
            if page.cursor is None:
                return None
            if page.cursor in self._cursors:
                raise PaginationError("a cursor came a second time: the list goes round in a circle")
            self._cursors.add(page.cursor)
            return {**self._filters, "after": page.cursor}
        if (page.pages is not None and self._number >= page.pages) or (page.pages is None and not page.items):
            return None
        self._number += 1
        return {**self._filters, "page": self._number}


class Paginator(Generic[T]):
    """A list: `async for item in …` fetches page after page, each when it is needed; `pages()` gives whole pages.

    Each iteration begins anew with the first page. Raises what any call raises, and `PaginationError` for a list that goes
    round in a circle.
    """

    def __init__(
        self,
        fetch: Callable[[Mapping[str, Any]], Awaitable[Page[T]]],
        filters: Mapping[str, Any] | None = None,
        *,
        single: bool = False,
    ) -> None:
        self._fetch = fetch
        self._filters = filters or {}
        self._single = single

    def __aiter__(self) -> AsyncIterator[T]:
        return self._items()

    async def pages(self) -> AsyncIterator[Page[T]]:
        """The list page by page."""
        pager = Pager(self._filters, single=self._single)
        while pager.query is not None:
            page = await self._fetch(pager.query)
            pager.turn(page)
            yield page

    async def _items(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item
