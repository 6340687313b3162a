"""Readers that raise nothing, for JSON that nobody can be asked to send again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from callbell_async.errors import InvalidMessageError
from callbell_async.wire.converter import WireError, dump_json, load_json, reader, structure

__all__ = [
    "Fields",
    "Read",
    "answer_of",
    "canonical",
    "fields_of",
    "model_of",
    "read_date",
    "read_object",
    "read_text",
    "several_of",
    "whole_as",
]

Read = Callable[[Any], Any]
"""Reads one value: what can't be read is `None`, or empty where there are several."""

Fields = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Reads an object's fields: the arguments of a model."""

read_text = reader(str)
read_date = reader(datetime)


def read_object(value: Any) -> dict[str, Any] | None:
    """An object as it is, as a JSON string, or in a list of its own: Callbell writes all three."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        try:
            value = load_json(value.encode())
        except WireError:
            return None
    return value if isinstance(value, dict) else None


def several_of(read: Read) -> Read:
    """A reader of a list, or of one instead of it; what can't be read is left out."""

    def load(value: Any) -> tuple[Any, ...]:
        items = map(read, value if isinstance(value, list) else [value])
        return tuple(item for item in items if item is not None)

    return load


def fields_of(**fields: tuple[Any, ...]) -> Fields:
    """A reader of fields, each given by how its value is read, and the key or keys under which it may stand."""

    def load(value: Mapping[str, Any]) -> dict[str, Any]:
        return {field: read(_first(value, keys)) for field, (read, *keys) in fields.items()}

    return load


def _first(value: Mapping[str, Any], keys: list[str]) -> Any:
    for key in keys:
        if (item := value.get(key)) is not None:
            return item
    return None


def model_of(cls: Callable[..., Any], **fields: tuple[Any, ...]) -> Read:
    """A reader of a model from an object's fields; one of nothing is none."""
    read = fields_of(**fields)
    nothing = cls()

    def load(value: Any) -> Any:
        if not (value := read_object(value)):
            return None
        model = cls(**read(value))
        return None if model == nothing else model

    return load


def answer_of(cls: type[Any]) -> Read:
    """A reader of a model that answers hold, too; one of nothing is none."""

    def load(value: Any) -> Any:
        value = read_object(value)
        return structure(value, cls) if value else None

    return load


def whole_as(field: str, cls: type[Any]) -> Fields:
    """A reader of a payload that is itself the one field."""
    return lambda payload: {field: structure(payload, cls)}


def canonical(value: Any) -> bytes | None:
    """JSON that is the same for equal values; `None` for what is nested too deeply to be written (hundreds of levels)."""
    try:
        return dump_json(value, field="payload", canonical=True)
    except InvalidMessageError:
        return None
