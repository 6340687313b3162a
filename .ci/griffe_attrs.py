"""An extension of griffe, which reads the docstrings for the API reference: it adds the parameters of attrs classes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import griffe

KINDS: dict[int, griffe.ParameterKind] = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
}


def attrs_classes(module: griffe.Module) -> Iterator[griffe.Class]:
    """Yield the attrs classes of a package, which have no `__init__` in their source."""
    for member in module.members.values():
        if isinstance(member, griffe.Module):
            yield from attrs_classes(member)
        elif isinstance(member, griffe.Class) and any(
            str(decorator.value).startswith("attrs.") for decorator in member.decorators
        ):
            yield member


def parameters_of(found: griffe.Class) -> Iterator[griffe.Parameter]:
    """Yield the parameters of the `__init__` that attrs generates, in their order, without their converters' types."""
    built: Any = getattr(importlib.import_module(found.module.path), found.name)
    yield griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    for name, parameter in inspect.signature(built).parameters.items():
        field = found.all_members.get(name)
        yield griffe.Parameter(
            name,
            annotation=field.annotation if isinstance(field, griffe.Attribute | griffe.Alias) else None,
            kind=KINDS[parameter.kind],
            default=None if parameter.default is inspect.Parameter.empty else default_of(parameter.default),
        )


def default_of(value: object) -> str:
    """Return a default as a reader would write it."""
    if isinstance(value, frozenset):
        return f"frozenset({{{', '.join(map(repr, sorted(value)))}}})"
    return "..." if "NOTHING" in repr(value) else repr(value)


class AttrsInit(griffe.Extension):
    """Adds `__init__` to attrs classes, so that the reference shows their parameters."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add the methods when the whole package was read."""
        for found in list(attrs_classes(pkg)):
            parameters = griffe.Parameters(*parameters_of(found))
            found.set_member(
                "__init__", griffe.Function("__init__", parameters=parameters, returns="None", parent=found)
            )
