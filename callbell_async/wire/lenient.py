"""Readers that raise nothing, for webhook events: an event with a wrong value is still read, without that value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from callbell_async.wire.converter import reader, structure
from callbell_async.wire.json_text import WireError, dump_json, load_json

__all__ = [
    "FieldsReader",
    "Reader",
    "fields_reader",
    "model_reader",
    "payload_reader",
    "read_date",
    "read_metadata",
    "read_object",
    "read_text",
    "response_model_reader",
    "tuple_reader",
]

Reader = Callable[[Any], Any]
"""Reads one value; a value that can't be read becomes `None`, or is left out of a tuple."""

FieldsReader = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Reads an object's fields into the arguments of a model, without those that have no value."""

read_text = reader(str)
read_date = reader(datetime)


def read_object(value: Any) -> dict[str, Any] | None:
    """Return an object that comes as it is, as a JSON string, or as the one item of a list; `None` for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        try:
            value = load_json(value.encode())
        except WireError:
            return None
    return value if isinstance(value, dict) else None


def read_metadata(value: Any) -> dict[str, str]:
    """Return pairs of strings; any other value becomes its JSON text."""
    pairs = {}
    for key, item in (read_object(value) or {}).items():
        if isinstance(item, str):
            pairs[key] = item
        elif item is not None:
            pairs[key] = dump_json(item, field="metadata", canonical=True).decode()
    return pairs


def tuple_reader(read: Reader) -> Reader:
    """Return a reader of a list, or of one item instead of a list; items that can't be read are left out, and no item is `None`."""

    def load(value: Any) -> tuple[Any, ...] | None:
        items = map(read, value if isinstance(value, list) else [value])
        return tuple([item for item in items if item is not None]) or None

    return load


def fields_reader(**fields: tuple[Any, ...]) -> FieldsReader:
    """Return a reader of several fields, each given as its reader and the key or keys under which it may come."""
    plan = [(field, read, key, others) for field, (read, key, *others) in fields.items()]

    def load(value: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for field, read, key, others in plan:
            item = value.get(key)
            if item is None and others:
                item = next((value[other] for other in others if value.get(other) is not None), None)
            # Most fields are texts, which need no conversion.
            if item is not None and not (read is read_text and type(item) is str):
                item = read(item)
            if item is not None:
                found[field] = item
        return found

    return load


def model_reader(cls: Callable[..., Any], **fields: tuple[Any, ...]) -> Reader:
    """Return a reader of a model from an object's fields; a model without any value becomes `None`."""
    read = fields_reader(**fields)

    def load(value: Any) -> Any:
        found = read(value) if (value := read_object(value)) else None
        return cls(**found) if found else None

    return load


def response_model_reader(cls: type[Any]) -> Reader:
    """Return a reader of a model that is registered for responses; an empty object becomes `None`."""

    def load(value: Any) -> Any:
        value = read_object(value)
        return structure(value, cls) if value else None

    return load


def payload_reader(field: str, cls: type[Any]) -> FieldsReader:
    """Return a reader of a payload that is the model of one field."""
    return lambda payload: {field: structure(payload, cls)}
