"""Paths that name one file, and output files that only their owner can read and that never replace another file unasked."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from callbell_async.errors import ConfigurationError

__all__ = ["are_same", "open_private"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Windows has no such flag."""
_BEGINNING = 65536
"""Bytes of an existing file that are read to find out whether an earlier run has written it."""


def open_private(
    path: Path,
    option: str,
    *,
    force: bool = False,
    is_own: Callable[[str], bool] | None = None,
    encoding: str = "utf-8",
    buffering: int = -1,
) -> TextIO:
    """Create a text file that only its owner can read and write (mode 0600), and open it for writing.

    A symbolic link is never followed. A file that exists and is not empty is replaced with `force`, or if an earlier run of the same command has
    written it; otherwise it is refused. A device or a named pipe is opened as it is.

    Args:
        path: The file.
        option: The option that names it, for the error, such as `--output`.
        force: Replace a file that exists. Its permissions and its other hard links are not kept.
        is_own: Decides from the beginning of a file (at most 64 KiB) whether an earlier run has written it. By default none has.
        encoding: The encoding of the file, also of the one that exists.
        buffering: As for `open`: -1 for blocks, 1 for lines.

    Raises:
        ConfigurationError: The file exists, is a symbolic link or can't be written.
    """

    def may_replace() -> bool:
        return force or (is_own is not None and is_own(_beginning(path, encoding)))

    try:
        descriptor = _create(path, option, may_replace)
    except OSError as error:
        raise ConfigurationError(f"{option}: {path} can't be written ({error.strerror})") from None
    return os.fdopen(descriptor, "w", encoding=encoding, newline="", errors="backslashreplace", buffering=buffering)


def _beginning(path: Path, encoding: str) -> str:
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_LINK), "rb") as file:
        return file.read(_BEGINNING).decode(encoding, "replace")


def _create(path: Path, option: str, may_replace: Callable[[], bool]) -> int:
    try:
        return os.open(path, _CREATE, 0o600)
    except FileExistsError:
        found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise ConfigurationError(f"{option}: {path} is a symbolic link; name the file itself")
    if not stat.S_ISREG(found.st_mode):
        return os.open(path, os.O_WRONLY | _NO_LINK)
    if found.st_size and not may_replace():
        raise ConfigurationError(f"{option}: {path} already exists; give another file, or --force to replace it")
    # A new file, because the old one may be readable by others, or have other names.
    path.unlink()
    return os.open(path, _CREATE, 0o600)


def are_same(one: Path, other: Path) -> bool:
    """Return whether two paths name one file, also by links, and also before the file exists."""
    # Imported here: `--help` of a command needs no journal.
    from callbell_async.journal.files import beside

    return beside(one, "") == beside(other, "") or (one.exists() and other.exists() and one.samefile(other))
