"""The cattrs converter, and how the plain values in Callbell's responses are read."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from callbell_async.wire.json_text import WireError

__all__ = ["converter", "dump_model", "reader", "register_response", "structure"]

T = TypeVar("T")


@functools.cache
def converter() -> Converter:
    """Return the converter. It is built on first use, and so is each model's reader and writer: imports stay fast."""
    built = make_converter(detailed_validation=False)
    for kind, load in _PLAIN.items():
        built.register_structure_hook(kind, load)
    built.register_structure_hook_func(_is_tuple, _load_tuple)
    built.register_structure_hook_func(_is_union, _load_union)
    built.register_structure_hook_factory(_RESPONSES.__contains__, _response_reader)
    built.register_unstructure_hook_factory(_RESPONSES.__contains__, _response_writer)
    return built


# --- plain values -----------------------------------------------------------------------------------------------------

_OFFSET_AFTER_BLANK = re.compile(r" (?=[+-]\d\d:?\d\d$)")


def _load_datetime(value: Any, _: Any) -> datetime:
    """Read all documented forms: `…Z`, `….000+02:00`, and `2025-12-18 20:00:19 +0100`. A date without an offset is UTC."""
    moment = datetime.fromisoformat(_OFFSET_AFTER_BLANK.sub("", value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _load_string(value: Any, cls: Any) -> str:
    if isinstance(value, str):
        # The converter uses this hook for enums of strings, too.
        return value if cls is str else cls(value)
    if isinstance(value, int | float) and cls is str:
        return str(value)
    raise WireError(f"a string was expected, not {type(value).__name__}")


def _load_bool(value: Any, _: Any) -> bool:
    # bool("false") would be true.
    if isinstance(value, bool):
        return value
    raise WireError(f"a boolean was expected, not {type(value).__name__}")


def _load_int(value: Any, _: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise WireError(f"a whole number was expected, not {type(value).__name__}")


def _load_tuple(value: Any, cls: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        # A string would be read letter by letter.
        raise WireError(f"a list was expected, not {type(value).__name__}")
    return tuple(converter().structure(item, get_args(cls)[0]) for item in value)


def _load_union(value: Any, cls: Any) -> Any:
    """Return the value as the first type that fits: an enum comes before `str`, which takes the values that Callbell adds later."""
    for type_ in _types(cls):
        try:
            return converter().structure(value, type_)
        except _UNREADABLE:
            continue
    raise WireError(f"{type(value).__name__} was not expected")


def _is_tuple(cls: Any) -> bool:
    return bool(get_origin(cls) is tuple)


def _types(cls: Any) -> list[Any]:
    return [type_ for type_ in get_args(cls) if type_ is not types.NoneType]


def _is_union(cls: Any) -> bool:
    # The converter handles the union of one type and None by itself.
    return get_origin(cls) in (Union, types.UnionType) and len(_types(cls)) > 1


_PLAIN: dict[Any, Callable[[Any, Any], Any]] = {
    datetime: _load_datetime,
    str: _load_string,
    bool: _load_bool,
    int: _load_int,
}

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
"""The exceptions that a reader raises for JSON of another shape than it expects."""


# --- models -----------------------------------------------------------------------------------------------------------

_RAW = "callbell_async:raw"
"""The key under which the untouched JSON is passed to a model; it is set last, so that no key of Callbell's can replace it."""


@attrs.frozen
class _ResponseKeys:
    """How a model's fields are named: `keys` by the field, for those that are not in camelCase; `aliases` by the key."""

    keys: Mapping[str, str]
    aliases: Mapping[str, str]


_RESPONSES: dict[Any, _ResponseKeys] = {}


def register_response(cls: type[Any], *, keys: Mapping[str, str] | None = None, **aliases: str) -> None:
    """Register a model of responses, so that it is read and written with camelCase keys.

    Null and missing are the same, unknown keys are ignored, and a value of another type than documented counts as missing. `raw` keeps the
    untouched JSON.

    Args:
        cls: the model.
        keys: the keys of fields that are not in camelCase, by the field's name.
        aliases: a second spelling of a key, by the key.
    """
    _RESPONSES[cls] = _ResponseKeys(keys or {}, aliases)


def _key_of(cls: type[Any], field: str) -> str:
    return _RESPONSES[cls].keys.get(field, _camel(field))


def _response_reader(cls: type[Any]) -> Callable[[Any, Any], Any]:
    attrs.resolve_types(cls)
    aliases = _RESPONSES[cls].aliases
    readers: dict[str, Any] = {
        field.name: override(rename=_key_of(cls, field.name), struct_hook=_lenient_hook(field))
        for field in attrs.fields(cls)
    }
    readers["raw"] = override(rename=_RAW, struct_hook=lambda value, _: value)
    inner = make_dict_structure_fn(cls, converter(), **readers)

    def load(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise WireError(f"an object was expected for {cls.__name__}, not {type(value).__name__}")
        present = {key: item for key, item in value.items() if item is not None}
        for key, alias in aliases.items():
            if key not in present and alias in present:
                present[key] = present[alias]
        present[_RAW] = value
        return inner(present, cls)

    return load


def _response_writer(cls: type[Any]) -> Callable[[Any], Any]:
    attrs.resolve_types(cls)
    writers: dict[str, Any] = {field.name: override(rename=_key_of(cls, field.name)) for field in attrs.fields(cls)}
    writers["raw"] = override(omit=True)
    return make_dict_unstructure_fn(cls, converter(), _cattrs_omit_if_default=True, **writers)


def structure(value: Any, cls: type[T]) -> T:
    """Return a model from its JSON; raises `WireError` for JSON that is not an object."""
    return converter().structure(value, cls)


def reader(kind: Any) -> Callable[[Any], Any]:
    """Return a reader of a plain value or of a union; null, and a value of another type, become `None`."""
    # Not from the converter, because readers are made on import.
    read = _PLAIN.get(kind, _load_union)

    def load(value: Any) -> Any:
        if value is None:
            return None
        try:
            return read(value, kind)
        except _UNREADABLE:
            return None

    return load


def dump_model(model: Any) -> Any:
    """Return the JSON of a model as Callbell writes it, without `raw`; reading it returns an equal model."""
    return converter().unstructure(model)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


def _lenient_hook(field: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    """Return a reader of one field, which uses the field's default, if any, for a value that can't be read."""
    read = converter().get_structure_hook(field.type)
    if field.default is attrs.NOTHING:
        return read
    factory = getattr(field.default, "factory", None)

    def load(value: Any, cls: Any) -> Any:
        try:
            loaded = read(value, cls)
        except _UNREADABLE:
            return factory() if factory else field.default
        # An empty model is a missing one: a contact without a team has `team: {}`.
        return field.default if attrs.has(type(loaded)) and loaded == type(loaded)() else loaded

    return load
