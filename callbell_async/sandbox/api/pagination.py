"""Pages by number and by cursor."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from callbell_async.sandbox.exchange import refusal
from callbell_async.sandbox.records import SandboxContact

__all__ = ["PAGE_LIMIT", "PAGE_SIZE", "cut", "cut_contacts", "whole_number"]

PAGE_SIZE = 20
PAGE_LIMIT = 500
"""The last page of contacts that can be asked for by its number."""

T = TypeVar("T")


def whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    """A number from 1 of the query; refuses what is none."""
    text = query.get(name, str(default))
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise refusal(400, {name: ["must be a whole number from 1"]})
    # Python reads no number of thousands of digits, zeros or not.
    return int(text.lstrip("0"))


def cut(items: Sequence[T], query: Mapping[str, str], size: int = PAGE_SIZE) -> tuple[list[T], dict[str, Any]]:
    """The page that is asked for, and its `meta`; past the last page it is empty."""
    page = whole_number(query, "page", 1)
    return list(items[(page - 1) * size : page * size]), {"page": page, "pages": _pages(items, size)}


def cut_contacts(
    contacts: Sequence[SandboxContact], query: Mapping[str, str], *, cursors: bool
) -> tuple[list[SandboxContact], dict[str, Any]]:
    """The page of contacts, by cursor (`after`) or by number; with `cursors` its `meta` says what comes `next`."""
    if "after" in query and cursors:
        number = _read_cursor(query["after"])
        start = next((i for i, contact in enumerate(contacts) if contact.number > number), len(contacts))
        meta: dict[str, Any] = {"page": start // PAGE_SIZE + 1, "pages": _pages(contacts, PAGE_SIZE)}
        page = list(contacts[start : start + PAGE_SIZE])
    else:
        if whole_number(query, "page", 1) > PAGE_LIMIT:
            raise refusal(400, "Pagination limit exceeded")
        page, meta = cut(contacts, query)
        start = (meta["page"] - 1) * PAGE_SIZE
    if cursors:
        more = start + PAGE_SIZE < len(contacts)
        meta["next"] = _write_cursor(page[-1].number) if more else None
    return page, meta


def _pages(items: Sequence[Any], size: int) -> int:
    return max(1, -(-len(items) // size))


def _write_cursor(number: int) -> str:
    plain = f"contacts:{number}".encode()
    return base64.urlsafe_b64encode(plain + zlib.crc32(plain).to_bytes(4, "big")).decode().rstrip("=")


def _read_cursor(token: str) -> int:
    bad = refusal(400, "Invalid pagination cursor")
    try:
        data = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (UnicodeEncodeError, binascii.Error):
        raise bad from None
    found = re.fullmatch(rb"contacts:([0-9]{1,12})", data[:-4])
    if found is None or _write_cursor(int(found[1])) != token:
        raise bad
    return int(found[1])
