"""The files of the inbox, and the headers of every response under `/_sandbox/`."""

from __future__ import annotations

from importlib.resources import files

from callbell_async.sandbox.exchange import SandboxResponse

__all__ = ["PREFIX", "SECURITY_HEADERS", "inbox_file"]

PREFIX = "/_sandbox/"

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

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_FILES = {
    file.name: (file.read_bytes(), TYPES[file.name[file.name.rindex(".") :]])
    for file in (files("callbell_async.sandbox") / "web").iterdir()
    if file.name.endswith(tuple(TYPES))
}


def inbox_file(path: str) -> SandboxResponse | None:
    """Return a file of the inbox by its path, or a redirect to the page if the `/` at the end is missing; `None` for any other path."""
    if f"{path}/" == PREFIX:
        # Below this path, a browser would not find the other files.
        return SandboxResponse(308, None, {"Location": PREFIX})
    found = _FILES.get(path.removeprefix(PREFIX) or "index.html")
    if found is None:
        return None
    content, type_ = found
    return SandboxResponse(200, None, {"Content-Type": f"{type_}; charset=utf-8"}, content)
