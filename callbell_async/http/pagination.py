"""Lists that are fetched a page at a time, each page when it is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import attrs

from callbell_async.arguments import check_count
from callbell_async.errors import PaginationError
from callbell_async.redaction import json_scalars
from callbell_async.wire import load_items

__all__ = ["MAX_EMPTY_PAGES", "Page", "Pager", "Paginator", "load_page"]

T = TypeVar("T")

MAX_EMPTY_PAGES = 100
"""The most empty pages in a row that a list may have before it ends with `PaginationError`."""


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a list; iterating over it yields its items.

    Attributes:
        items: The items of the page; may be empty.
        number: The number of the page, from 1; `None` if the response has none.
        total_pages: The number of pages in the list; `None` if the response has none.
        cursor: The cursor of the next page; `None` at the end of the list, and for a list without cursors.
        has_cursor: Whether the list is paged by cursor.
        raw: The unchanged JSON of the response.
    """

    items: tuple[T, ...]
    number: int | None = None
    total_pages: int | None = None
    cursor: str | None = None
    has_cursor: bool = False
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def load_page(cls: type[T], key: str) -> Callable[[Any], Page[T]]:
    """Return a reader of one page: `{key: [object], meta: {page, pages, next}}`, where `meta` may be missing."""
    load = load_items(cls, key)

    def read(document: Any) -> Page[T]:
        items = load(document)
        meta = document.get("meta")
        if not isinstance(meta, dict):
            meta = {}
        cursor = meta.get("next")
        return Page(
            items=items,
            number=_integer(meta.get("page")),
            total_pages=_integer(meta.get("pages")),
            cursor=cursor if isinstance(cursor, str) and cursor else None,
            has_cursor="next" in meta,
            raw=document,
        )

    return read


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class Pager:
    """Decides from each page which one to request next.

    The next page is requested by cursor where the response has one (`meta.next`, sent back as `after`), otherwise by number up to
    `meta.pages`, and without `meta` until an empty page. The filters are sent with every request, because the cursor does not include
    them.
    """

    def __init__(self, filters: Mapping[str, Any], *, is_single_page: bool = False) -> None:
        self._filters = dict(filters)
        self._is_single_page = is_single_page
        self._number = 1
        self._empty_pages = 0
        self._cursors: set[str] = set()
        # Only a hash of each page, so that a list of any length costs a few bytes a page.
        self._seen: set[int] = set()
        self.query: dict[str, Any] | None = dict(filters)

    def advance(self, page: Page[Any]) -> None:
        """Set `query` to the request for the page after this one, or to `None` at the end of the list.

        Raises `PaginationError` for a page or a cursor that was received before, for another page than the one requested, and for
        more than `MAX_EMPTY_PAGES` empty pages in a row.
        """
        if page.cursor is None and page.number is not None and page.number != self._number and not self._cursors:
            raise PaginationError(f"page {self._number} was requested, but page {page.number} was received")
        self.query = self._next(page)
        if page.items:
            self._empty_pages = 0
            self._refuse_repetition(page)
        elif self.query is not None:
            self._empty_pages += 1
            if self._empty_pages > MAX_EMPTY_PAGES:
                raise PaginationError(f"{self._empty_pages} empty pages in a row, and the list has no end")

    def _refuse_repetition(self, page: Page[Any]) -> None:
        # Not by `repr`: a server decides how deep the JSON is, and `repr` recurses.
        seen = hash(tuple(json_scalars(page.raw)))
        if seen in self._seen:
            raise PaginationError("a page was received twice: the list repeats itself")
        self._seen.add(seen)

    def _next(self, page: Page[Any]) -> dict[str, Any] | None:
        if self._is_single_page:
            return None
        if page.has_cursor or self._cursors:
            if page.cursor is None:
                return None
            if page.cursor in self._cursors:
                raise PaginationError("a cursor was received twice: the list repeats itself")
            self._cursors.add(page.cursor)
            return {**self._filters, "after": page.cursor}
        if self._number >= page.total_pages if page.total_pages is not None else not page.items:
            return None
        self._number += 1
        return {**self._filters, "page": self._number}


class Paginator(Generic[T]):
    """A list of any length, fetched page by page while it is read.

    ```python
    async for contact in callbell.contacts.list(tags=["lead"]):
        print(contact.name)
    ```

    Each iteration, and each call of a method, starts at the first page. A request that fails raises its exception where the page is
    needed. A list that can't end (a page or a cursor is received twice, or more than 100 empty pages follow each other) raises
    `PaginationError`.
    """

    def __init__(
        self,
        fetch: Callable[[Mapping[str, Any]], Awaitable[Page[T]]],
        filters: Mapping[str, Any] | None = None,
        *,
        is_single_page: bool = False,
    ) -> None:
        self._fetch = fetch
        self._filters = filters or {}
        self._is_single_page = is_single_page

    def __aiter__(self) -> AsyncIterator[T]:
        return self._items()

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Iterate over the pages of the list instead of its items.

        Returns:
            An iterator over the pages; each is fetched when it is needed.
        """
        pager = Pager(self._filters, is_single_page=self._is_single_page)
        while pager.query is not None:
            page = await self._fetch(pager.query)
            pager.advance(page)
            yield page

    async def to_list(self, *, limit: int | None = None) -> list[T]:
        """Return the items as a list.

        Args:
            limit: The most items to return, 1 or more; no page beyond them is requested. `None` returns the whole list.

        Returns:
            The items, in Callbell's order.

        Raises:
            ConfigurationError: `limit` is not a whole number from 1.
            PaginationError: The list can't end.
            APIError: Callbell refused a request.
            TransportError: A request had no readable response.
        """
        if limit is not None:
            check_count("limit", limit)
        pager = Pager(self._filters, is_single_page=self._is_single_page)
        items: list[T] = []
        while pager.query is not None and (limit is None or len(items) < limit):
            page = await self._fetch(pager.query)
            pager.advance(page)
            items.extend(page.items)
        return items[:limit]

    async def first(self) -> T | None:
        """Return the first item, or `None` if the list is empty; raises the same exceptions as `to_list`.

        Returns:
            The first item, or `None`.
        """
        return next(iter(await self.to_list(limit=1)), None)

    async def _items(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item
