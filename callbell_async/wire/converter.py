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
Load = Callable[[Any, Any], Any]
"""Takes a JSON value and a type, and returns the value of that type."""


@functools.cache
def converter() -> Converter:
    """Return the converter. It is built on first use, and so is each model's reader and writer: imports stay fast."""
    built = make_converter(detailed_validation=False)
    for kind, load in _PLAIN.items():
        built.register_structure_hook(kind, load)
    built.register_structure_hook_factory(_is_tuple, _tuple_reader)
    built.register_structure_hook_factory(_is_union, _union_reader)
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


def _tuple_reader(cls: Any) -> Load:
    kind = get_args(cls)[0]
    read = converter().get_structure_hook(kind)

    def load(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            # A string would be read letter by letter.
            raise WireError(f"a list was expected, not {type(value).__name__}")
        return tuple([read(item, kind) for item in value])

    return load


def _union_reader(cls: Any) -> Load:
    """Return a reader of the first type that fits: an enum comes before `str`, which takes the values that Callbell adds later."""
    readers = [(converter().get_structure_hook(kind), kind) for kind in _types(cls)]

    def load(value: Any, _: Any) -> Any:
        for read, kind in readers:
            try:
                return read(value, kind)
            except _UNREADABLE:
                continue
        raise WireError(f"{type(value).__name__} was not expected")

    return load


def _is_tuple(cls: Any) -> bool:
    return bool(get_origin(cls) is tuple)


def _types(cls: Any) -> list[Any]:
    """Return the types of a union without `None`, or the type itself."""
    if get_origin(cls) not in (Union, types.UnionType):
        return [cls]
    return [kind for kind in get_args(cls) if kind is not types.NoneType]


def _is_union(cls: Any) -> bool:
    # The converter handles the union of one type and None by itself.
    return len(_types(cls)) > 1


_PLAIN: dict[Any, Load] = {
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


def _response_reader(cls: type[Any]) -> Load:
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
        fields = {**value, _RAW: value}
        for key, alias in aliases.items():
            if fields.get(key) is None:
                fields[key] = fields.get(alias)
        return inner(fields, cls)

    return load


def _response_writer(cls: type[Any]) -> Callable[[Any], Any]:
    attrs.resolve_types(cls)
    writers: dict[str, Any] = {field.name: override(rename=_key_of(cls, field.name)) for field in attrs.fields(cls)}
    writers["raw"] = override(omit=True)
    return make_dict_unstructure_fn(cls, converter(), _cattrs_omit_if_default=True, **writers)


@functools.cache
def _model_reader(cls: type[Any]) -> Load:
    return converter().get_structure_hook(cls)


def structure(value: Any, cls: type[T]) -> T:
    """Return a model from its JSON; raises `WireError` for JSON that is not an object."""
    kind: Any = cls
    model: T = _model_reader(kind)(value, cls)
    return model


def reader(kind: Any) -> Callable[[Any], Any]:
    """Return a reader of a plain value or of a union; null, and a value of another type, become `None`."""
    read: Load | None = None

    def load(value: Any) -> Any:
        nonlocal read
        if value is None:
            return None
        if read is None:
            # On first use, because readers are made on import.
            read = converter().get_structure_hook(kind)
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


def _lenient_hook(field: attrs.Attribute[Any]) -> Load:
    """Return a reader of one field, which uses the field's default, if any, for null and for a value that can't be read."""
    kinds = _types(field.type)
    kind = kinds[0] if len(kinds) == 1 else field.type
    read = converter().get_structure_hook(kind)
    if field.default is attrs.NOTHING:
        return read
    default, factory = field.default, getattr(field.default, "factory", None)
    # Most values are of these types, and need no conversion.
    as_it_is = kind if kind in (str, bool, int) else None
    models = tuple(filter(attrs.has, kinds))

    def load(value: Any, _: Any) -> Any:
        if type(value) is as_it_is:
            return value
        try:
            loaded = None if value is None else read(value, kind)
        except _UNREADABLE:
            loaded = None
        # An empty model is a missing one: a contact without a team has `team: {}`.
        if loaded is None or (isinstance(loaded, models) and loaded == type(loaded)()):
            return factory() if factory else default
        return loaded

    return load
