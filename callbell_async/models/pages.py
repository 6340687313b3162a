"""One page of a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import attrs

__all__ = ["Page"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a list: its `items`, its `number` (from 1) and how many `pages` there are, where the answer says so.

    `cursor` leads to the next page, where the list goes by cursor: `has_cursor` tells `None` for the end of it from an answer that knows no
    cursors. `raw` is the untouched JSON of the whole answer.
    """

    items: tuple[T, ...]
    number: int | None = None
    pages: int | None = None
    cursor: str | None = None
    has_cursor: bool = False
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
