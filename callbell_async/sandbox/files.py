"""Files that need no token: those that customers send, under URLs that expire, and those of the inbox."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple
from urllib.parse import quote

from callbell_async.sandbox.exchange import SandboxRequest, SandboxResponse
from callbell_async.sandbox.records import new_id

__all__ = ["PREFIX", "SECURITY_HEADERS", "FileStore", "inbox_file"]


# --- files of customers -----------------------------------------------------------------------------------------------

FOLDER = "/files/"
LIFETIME = 600.0
"""The seconds for which a URL works, as in Callbell's documentation."""

_EXPIRED = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'


class _File(NamedTuple):
    content: bytes
    content_type: str
    expires_at: float


class FileStore:
    """The files of a sandbox, by the identifiers in their URLs."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def add(self, content: bytes, *, name: str, content_type: str, now: float) -> str:
        """Add a file and return the path of its URL."""
        file_id = new_id()
        self._files[file_id] = _File(content, content_type, now + LIFETIME)
        return f"{FOLDER}{file_id}/{quote(name, safe='')}"

    def serves(self, request: SandboxRequest) -> bool:
        """Return whether a request is one for a file, which needs no token and does not count within the limit."""
        return not request.below_v1 and request.path.startswith(FOLDER)

    def respond(self, request: SandboxRequest, *, now: float) -> SandboxResponse:
        """Return the file; 403 after its URL has expired, and 404 if there is none."""
        file = self._files.get(request.path.removeprefix(FOLDER).partition("/")[0])
        if file is None or request.method != "GET":
            return SandboxResponse(404, {"error": "not found"})
        if now >= file.expires_at:
            return SandboxResponse(403, None, {"Content-Type": "application/xml"}, _EXPIRED)
        return SandboxResponse(200, None, {"Content-Type": file.content_type}, file.content)

    def clear(self) -> None:
        """Remove all files."""
        self._files.clear()


# --- the inbox --------------------------------------------------------------------------------------------------------

PREFIX = "/_sandbox/"
"""The path of the inbox, and of the control API below it."""

POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)

SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The headers of every response below `PREFIX`."""

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_INBOX_FILES = {
    file.name: (file.read_bytes(), TYPES[file.name[file.name.rindex(".") :]])
    for file in (files("callbell_async.sandbox") / "web").iterdir()
    if file.name.endswith(tuple(TYPES))
}


def inbox_file(path: str) -> SandboxResponse | None:
    """Return a file of the inbox by its path, or a redirect to the page if the `/` at the end is missing; `None` for any other path."""
    if f"{path}/" == PREFIX:
        # Below this path, a browser would not find the other files.
        return SandboxResponse(308, None, {"Location": PREFIX})
    found = _INBOX_FILES.get(path.removeprefix(PREFIX) or "index.html")
    if found is None:
        return None
    content, type_ = found
    return SandboxResponse(200, None, {"Content-Type": f"{type_}; charset=utf-8"}, content)
