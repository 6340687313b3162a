"""The one cattrs converter, JSON, and how the plain values in Callbell's answers are read."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
import orjson
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from callbell_async.errors import InvalidMessageError

__all__ = ["WireError", "converter", "dump_json", "dump_model", "load_json", "reader", "register_answer", "structure"]

T = TypeVar("T")

converter = make_converter(detailed_validation=False)


class WireError(ValueError):
    """JSON that is not what the documentation promises; the text says what was missing, and quotes nothing."""


# --- JSON -------------------------------------------------------------------------------------------------------------


def load_json(body: bytes) -> Any:
    """Parse JSON; raises `WireError`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Its text names a position, never the content; but it keeps the document, which is why it isn't chained.
        raise WireError(f"not JSON: {error.msg} at character {error.pos}") from None


def dump_json(value: Any, *, field: str, canonical: bool = False) -> bytes:
    """Write JSON, with sorted keys if `canonical`; raises `InvalidMessageError` naming `field` for what JSON can't hold."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if canonical else None)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidMessageError(field, f"can't be written as JSON: {error}") from None


# --- plain values -----------------------------------------------------------------------------------------------------

_OFFSET_AFTER_BLANK = re.compile(r" (?=[+-]\d\d:?\d\d$)")


def _load_datetime(value: Any, _: Any) -> datetime:
    """All documented forms: `…Z`, `….000+02:00`, and `2025-12-18 20:00:19 +0100`; one without an offset is taken as UTC."""
    moment = datetime.fromisoformat(_OFFSET_AFTER_BLANK.sub("", value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _load_string(value: Any, cls: Any) -> str:
    if isinstance(value, str):
        # The converter asks this for enums of strings as well.
        return value if cls is str else cls(value)
    if isinstance(value, int | float) and cls is str:
        return str(value)
    raise WireError(f"a string was expected, not {type(value).__name__}")


def _load_bool(value: Any, _: Any) -> bool:
    # bool("false") is true.
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
    return tuple(converter.structure(item, get_args(cls)[0]) for item in value)


def _load_union(value: Any, cls: Any) -> Any:
    """The first kind that fits: an enum before the plain string that stands for what Callbell adds to it."""
    for kind in _kinds(cls):
        try:
            return converter.structure(value, kind)
        except _UNREADABLE:
            continue
    raise WireError(f"{type(value).__name__} was not expected")


def _is_tuple(cls: Any) -> bool:
    return bool(get_origin(cls) is tuple)


def _kinds(cls: Any) -> list[Any]:
    return [kind for kind in get_args(cls) if kind is not types.NoneType]


def _is_union(cls: Any) -> bool:
    # With one kind and None it is an option, which the converter knows by itself.
    return get_origin(cls) in (Union, types.UnionType) and len(_kinds(cls)) > 1


_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
"""What a reader raises for JSON of another shape than it expects."""

converter.register_structure_hook(datetime, _load_datetime)
converter.register_structure_hook(str, _load_string)
converter.register_structure_hook(bool, _load_bool)
converter.register_structure_hook(int, _load_int)
converter.register_structure_hook_func(_is_tuple, _load_tuple)
converter.register_structure_hook_func(_is_union, _load_union)


# --- models -----------------------------------------------------------------------------------------------------------

_RAW = "\0raw"
"""Where a model finds its untouched JSON; no JSON key of Callbell's can be spelt so."""


def register_answer(cls: type[Any], *, keys: Mapping[str, str] | None = None, **aliases: str) -> None:
    """Read and write `cls` with camelCase keys, or those in `keys` (field: key), and read `aliases` (key: its other spelling).

    Null and missing are the same; unknown keys are left out; a value of another kind than documented is as good as missing. `raw`
    keeps the untouched JSON, and so all of these. The models a model holds are registered before it.
    """
    attrs.resolve_types(cls)
    spelt = {field.name: (keys or {}).get(field.name, _camel(field.name)) for field in attrs.fields(cls)}
    readers: dict[str, Any] = {
        field.name: override(rename=spelt[field.name], struct_hook=_forgiving(field)) for field in attrs.fields(cls)
    }
    readers["raw"] = override(rename=_RAW, struct_hook=lambda value, _: value)
    inner = make_dict_structure_fn(cls, converter, **readers)

    def load(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise WireError(f"an object was expected for {cls.__name__}, not {type(value).__name__}")
        present = {key: item for key, item in value.items() if item is not None}
        for key, alias in aliases.items():
            if key not in present and alias in present:
                present[key] = present[alias]
        present[_RAW] = value
        return inner(present, cls)

    converter.register_structure_hook(cls, load)
    writers: dict[str, Any] = {name: override(rename=key) for name, key in spelt.items()}
    writers["raw"] = override(omit=True)
    converter.register_unstructure_hook(
        cls, make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **writers)
    )


def structure(value: Any, cls: type[T]) -> T:
    """A model from its JSON; raises `WireError` for what is no object at all."""
    return converter.structure(value, cls)


def reader(kind: Any) -> Callable[[Any], Any]:
    """A reader of one value that gives `None` for null, and for what is of another kind."""
    read = converter.get_structure_hook(kind)

    def load(value: Any) -> Any:
        if value is None:
            return None
        try:
            return read(value, kind)
        except _UNREADABLE:
            return None

    return load


def dump_model(model: Any) -> Any:
    """The JSON of a model as Callbell would write it, without `raw`; reading it gives an equal model."""
    return converter.unstructure(model)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


def _forgiving(field: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    """A reader of one field that leaves it at its default, if it has one, where the value can't be read."""
    read = converter.get_structure_hook(field.type)
    if field.default is attrs.NOTHING:
        return read
    factory = getattr(field.default, "factory", None)

    def load(value: Any, cls: Any) -> Any:
        try:
            loaded = read(value, cls)
        except _UNREADABLE:
            return factory() if factory else field.default
        # A model of nothing is none: a contact without a team has `team: {}`.
        return field.default if attrs.has(type(loaded)) and loaded == type(loaded)() else loaded

    return load
