"""How much a journal has in it, told by a second file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["Tally"]


class Tally:
    """How many messages a journal had when it was last written, in a small file beside it.

    SQLite opens a file whose log (`-wal`) was removed or damaged, or an older copy, without a word: the messages that are missing then would be
    sent again. It is written when the journal was, and never waits for the disk: it may say too little after a power failure, not too much.
    All methods raise `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)

    def read(self) -> int:
        """The number; 0 where none was ever written, or none that can be read."""
        self._file.seek(0)
        with contextlib.suppress(ValueError):
            return int(self._file.read(20) or b"0")
        return 0

    def write(self, count: int) -> None:
        """Replace it."""
        self._file.seek(0)
        self._file.write(b"%20d" % count)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
