"""File names that are safe on every system, from names and URLs that come from outside."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import unquote

__all__ = ["MAX_NAME_BYTES", "media_type", "safe_file_name"]

MAX_NAME_BYTES = 120
"""The most bytes of a name in UTF-8; file systems allow 255."""

_UNNAMED = "attachment"
_SUFFIXES = {
    "application/json": ".json",
    "application/msword": ".doc",
    "application/pdf": ".pdf",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.ms-powerpoint": ".ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/zip": ".zip",
    "audio/aac": ".aac",
    "audio/amr": ".amr",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/csv": ".csv",
    "text/plain": ".txt",
    "text/vcard": ".vcf",
    "video/3gpp": ".3gp",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
}
"""The suffix of a content type, as WhatsApp's files have it."""
_SAME_SUFFIX = {".jpeg": ".jpg", ".jfif": ".jpg", ".oga": ".ogg", ".3gpp": ".3gp", ".m4v": ".mp4"}
# Windows has devices of these names, whatever the suffix.
_DEVICE = re.compile(r"(?:con|conin\$|conout\$|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r'[<>:"|?*]')


def media_type(content_type: str | None) -> str | None:
    """Return the media type of a `Content-Type` header in lower case, without its parameters; `None` for the types that mean any bytes."""
    name = (content_type or "").partition(";")[0].strip().lower()
    return None if "/" not in name or name in ("application/octet-stream", "binary/octet-stream") else name


def safe_file_name(file_name: str | None, url_path: str, content_type: str | None) -> str:
    """Return a file name of at most `MAX_NAME_BYTES`, without folders, control characters and names that a system reserves.

    Args:
        file_name: The name that the sender gave; without one, it is the last part of the URL's path.
        url_path: The path of the URL, percent-encoded.
        content_type: The content type; if it is known, and the name has another suffix, its suffix is added.
    """
    name = _cleaned(file_name or "") or _cleaned(unquote(url_path)) or _UNNAMED
    suffix = _SUFFIXES.get(media_type(content_type) or "", "")
    own = PurePosixPath(name).suffix
    if suffix and _SAME_SUFFIX.get(own.lower(), own.lower()) != suffix:
        return _shortened(name, suffix)
    return _shortened(name.removesuffix(own), own)


def _cleaned(written: str) -> str:
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", written).rstrip("/\\"))[-1]
    shown = "".join(character for character in last if not _is_invisible(unicodedata.category(character)))
    name = _NOT_IN_NAMES.sub("_", shown).strip(" .")
    return f"_{name}" if _DEVICE.fullmatch(name) else name


def _is_invisible(category: str) -> bool:
    # Control characters, marks that turn the direction of a text, halves of characters, and the line breaks of Unicode.
    return category[0] == "C" or category in ("Zl", "Zp")


def _shortened(stem: str, suffix: str) -> str:
    room = MAX_NAME_BYTES - len(suffix.encode())
    if room < 1:
        # The suffix alone is longer than the limit.
        stem, suffix, room = stem + suffix, "", MAX_NAME_BYTES
    name = stem.encode()[:room].decode(errors="ignore").rstrip(" .") + suffix
    # Only spaces may have distinguished it from a device.
    return f"_{name[1:]}" if _DEVICE.fullmatch(name) else name
