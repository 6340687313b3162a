"""The tables and statements of the SQLite store, and the checks of its rows."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from callbell_async.journal.states import State
from callbell_async.journal.store import LATEST, STATE, Column, Row
from callbell_async.models.journal import Confirmation

APPLICATION_ID = 0x43424A31
"""SQLite's `application_id` of a journal."""
VERSION = 2
"""SQLite's `user_version`: of the tables below, and of the way a message's key follows from its content."""

_MESSAGES = """CREATE TABLE messages (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body BLOB NOT NULL, run INTEGER NOT NULL, input_index INTEGER NOT NULL,
    state TEXT NOT NULL, tried_at REAL NOT NULL, attempts INTEGER NOT NULL, finished_at REAL, uuid TEXT, status TEXT, reason TEXT,
    resent INTEGER NOT NULL, confirmed_by TEXT, version INTEGER NOT NULL
)"""
_JOURNAL = """CREATE TABLE journal (
    id TEXT NOT NULL, runs INTEGER NOT NULL, commits INTEGER NOT NULL, total INTEGER NOT NULL, closed INTEGER NOT NULL,
    checksum INTEGER NOT NULL
)"""
SCHEMA = (_MESSAGES, _JOURNAL, "CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL)")
"""`total` is the sum of the messages' versions, which are checksums; `closed` is 1 when no process has the journal open for writing."""

SELECT: Mapping[Column, str] = {
    "id": "SELECT * FROM messages WHERE id IN (SELECT value FROM json_each(?))",
    "key": "SELECT * FROM messages WHERE key IN (SELECT value FROM json_each(?))",
    "uuid": "SELECT * FROM messages WHERE uuid = ? LIMIT 1",
    "state": "SELECT * FROM messages WHERE state IN (SELECT value FROM json_each(?)) AND id > ? ORDER BY id LIMIT ?",
}
INSERT = f"INSERT INTO messages VALUES ({', '.join('?' * len(Row._fields))})"  # noqa: S608 - question marks
UPDATE = (
    "UPDATE messages SET body = ?, run = ?, input_index = ?, state = ?, tried_at = ?, attempts = ?, finished_at = ?, uuid = ?,"
    " status = ?, reason = ?, resent = ?, confirmed_by = ?, version = ? WHERE id = ? AND version = ?"
)
BY_UUID_INDEX = "CREATE INDEX messages_by_uuid ON messages (uuid) WHERE uuid IS NOT NULL"
"""Created when it is first needed: a run without events does not pay for it."""
SAVE_JOURNAL = "UPDATE journal SET id = ?, runs = ?, commits = ?, total = ?, closed = ?, checksum = ?"

BODY = Row._fields.index("body")
_STATES = frozenset(state.value for state in State)
_TYPES: tuple[tuple[type, ...], ...] = (
    *((int,), (str,), (bytes,), (int,), (int,), (str,), (float,), (int,), (float, type(None))),
    *((str, type(None)),) * 3,
    *((int,), (str, type(None)), (int,)),
)


def row_checksum(values: Sequence[Any]) -> int:
    """Return the checksum of a row of `messages`, which ends with its checksum."""
    # 0 is the version of a row that is not stored.
    return zlib.crc32(values[BODY], checksum((*values[:BODY], *values[BODY + 1 : -1]))) or 1


def checksum(values: tuple[Any, ...]) -> int:
    """Return the checksum of some values."""
    # `ascii`, because `repr` depends on the Python version for characters that are new to it.
    return zlib.crc32(ascii(values).encode())


def is_valid(values: tuple[Any, ...]) -> bool:
    """Return whether these are the values of a row: each of its type, a known state, and times that `datetime` has."""
    if len(values) != len(_TYPES) or not all(map(isinstance, values, _TYPES)):
        return False
    tried_at, finished_at, confirmed_by = values[6], values[8], values[13]
    return (
        values[STATE] in _STATES
        and 0 <= tried_at <= LATEST
        and (finished_at is None or 0 <= finished_at <= LATEST)
        and confirmed_by in (None, *get_args(Confirmation))
    )
