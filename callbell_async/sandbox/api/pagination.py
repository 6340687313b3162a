"""Pages by number and by cursor."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from callbell_async.sandbox.collections import ContactBook
from callbell_async.sandbox.exchange import refusal
from callbell_async.sandbox.records import SandboxContact

__all__ = ["PAGE_LIMIT", "PAGE_SIZE", "contacts_page", "page_of", "positive_integer"]

PAGE_SIZE = 20
PAGE_LIMIT = 500
"""The last page of contacts that can be requested by its number."""

T = TypeVar("T")


def positive_integer(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a number from 1 in the query, or refuse the request with 400."""
    text = query.get(name, str(default))
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise refusal(400, {name: ["must be a whole number from 1"]})
    # Python refuses to read thousands of digits, leading zeros included.
    return int(text.lstrip("0"))


def page_of(items: Sequence[T], query: Mapping[str, str], size: int = PAGE_SIZE) -> tuple[list[T], dict[str, Any]]:
    """Return the requested page and its `meta`; a page after the last one is empty."""
    page = positive_integer(query, "page", 1)
    return list(items[(page - 1) * size : page * size]), {"page": page, "pages": _pages(len(items), size)}


def contacts_page(
    contacts: ContactBook,
    query: Mapping[str, str],
    *,
    matches: Callable[[SandboxContact], bool],
    cursors: bool,
) -> tuple[list[SandboxContact], dict[str, Any]]:
    """Return the requested page of contacts and its `meta`.

    A walk by cursor keeps the order it began with: contacts that are created later are left out, and later messages move no contact.

    Args:
        contacts: All contacts.
        query: The query, with `page` or with the cursor `after`.
        matches: Whether a contact passes the filters.
        cursors: Whether `meta` has the cursor of the `next` page.
    """
    began, last = contacts.sequence, None
    if "after" in query and cursors:
        began, last = _read_cursor(query["after"])
    elif positive_integer(query, "page", 1) > PAGE_LIMIT:
        raise refusal(400, "Pagination limit exceeded")
    found = [(activity, contact) for activity, contact in contacts.as_of(began) if matches(contact)]
    if last is None:
        start = (positive_integer(query, "page", 1) - 1) * PAGE_SIZE
    else:
        start = sum(activity >= last for activity, _ in found)
    page = found[start : start + PAGE_SIZE]
    meta: dict[str, Any] = {"page": start // PAGE_SIZE + 1, "pages": _pages(len(found), PAGE_SIZE)}
    if cursors:
        meta["next"] = _write_cursor(began, page[-1][0]) if start + PAGE_SIZE < len(found) else None
    return [contact for _, contact in page], meta


def _pages(count: int, size: int) -> int:
    return max(1, -(-count // size))


def _write_cursor(began: int, last: int) -> str:
    plain = f"contacts:{began}:{last}".encode()
    return base64.urlsafe_b64encode(plain + zlib.crc32(plain).to_bytes(4, "big")).decode().rstrip("=")


def _read_cursor(token: str) -> tuple[int, int]:
    """Return when the walk began, and the activity of the last contact of the page before."""
    bad = refusal(400, "Invalid pagination cursor")
    try:
        data = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (UnicodeEncodeError, binascii.Error):
        raise bad from None
    found = re.fullmatch(rb"contacts:([0-9]{1,12}):([0-9]{1,12})", data[:-4])
    if found is None or _write_cursor(int(found[1]), int(found[2])) != token:
        raise bad
    return int(found[1]), int(found[2])
