"""Finds rows that become the same message, in constant memory."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from types import TracebackType
from typing import Self

from callbell_async.errors import ConfigurationError, InvalidMessageError
from callbell_async.models.messages import Message
from callbell_async.models.results import Item
from callbell_async.wire import dump_keyed_message

__all__ = ["DuplicateRowError", "DuplicateRows"]

_CACHE_KIB = 4096


class DuplicateRowError(InvalidMessageError):
    """The row becomes the same message as an earlier row.

    Attributes:
        first_line: The line of the earlier row.
        key: The key of the message, as a journal has it.
    """

    def __init__(self, first_line: int, key: str) -> None:
        super().__init__("row", f"duplicate of line {first_line}")
        self.first_line = first_line
        self.key = key


class DuplicateRows:
    """Remembers the messages of a run by digest, and the line of each.

    Two rows are the same message if their recipient, after normalization, and their content are equal; where messages have a key, if their keys
    are equal. This is the rule by which a journal compares messages.

    The digests are in a temporary SQLite database, which is moved to a temporary file when it outgrows its cache. They are computed with a random
    key, so that nobody can find out numbers from that file.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        # An empty name: a private database that is deleted when it is closed. It is used by one thread at a time.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        # Nothing is rolled back or read again after a crash. The transaction never ends, because each commit would write to the file.
        for statement in (
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE messages (digest BLOB PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    def checked(self, item: Item, line: int) -> Item:
        """Return the item of a row; in place of a message that an earlier row has, a `DuplicateRowError`.

        Raises `ConfigurationError` when the temporary directory is full.
        """
        if not isinstance(item, Message):
            return item
        key, _ = dump_keyed_message(item, journal=None)
        digest = hashlib.blake2b(key.encode(), digest_size=16, key=self._secret).digest()
        try:
            added = self._database.execute(
                "INSERT INTO messages VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, line)
            ).rowcount
            if added:
                return item
            ((first,),) = self._database.execute("SELECT line FROM messages WHERE digest = ?", (digest,))
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"the temporary directory can't be used to find duplicates ({error}); set TMPDIR to another directory, or give --duplicates send"
            ) from None
        return DuplicateRowError(first, key)
