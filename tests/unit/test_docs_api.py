"""The API reference: every public name is on one page, with the docstring that the page shows."""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import callbell_async
from callbell_async import CallbellClient

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "api"
MODULES = (
    "callbell_async",
    "callbell_async.webhooks",
    "callbell_async.sandbox",
    "callbell_async.limits",
    "callbell_async.otel",
)
WHOLE_MODULES = {"callbell_async.sandbox.faults", "callbell_async.pytest_plugin"}
# Built by the library alone: users never give their parameters.
BUILT_BY_THE_LIBRARY = {"SendRun", "Paginator", "TrackedMessage", "FaultRule", "WebhookSender", "Exchange", "Download"}


def find(path: str) -> Any:
    """Return the module, class or other object with this dotted path."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


BLOCKS = [
    (page.name, path)
    for page in sorted(PAGES.glob("*.md"))
    for path in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
]
SHOWN = {path: find(path) for _, path in BLOCKS}


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield every public name with its value, and the groups of a client's operations."""
    for module in MODULES:
        imported = importlib.import_module(module)
        for name in imported.__all__:
            if name != "__version__":
                yield f"{module}.{name}", getattr(imported, name)
    client = CallbellClient("token")
    for name, value in vars(client).items():
        if not name.startswith("_"):
            yield f"{type(value).__module__}.{type(value).__qualname__}", type(value)


NAMES = dict(public_names())


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_on_one_page(name: str) -> None:
    """Each public name has one `:::` block under docs/reference/api. A name of two modules is the same object, shown once."""
    value = NAMES[name]
    blocks = [(page, path) for page, path in BLOCKS if SHOWN[path] is value or path == name]
    assert len(blocks) == 1, f"docs/reference/api needs one block `::: {name}`: {blocks}"


def test_the_pages_show_only_public_names() -> None:
    """Each `:::` block shows a public name, or a module of which every public name is shown."""
    paths = [path for _, path in BLOCKS]
    assert sorted(paths) == sorted(set(paths))
    assert set(paths) - WHOLE_MODULES <= set(NAMES)


def described(docstring: str, section: str) -> set[str]:
    """Return the names that a section of a docstring in Google's style describes."""
    body = re.search(rf"^{section}:\n((?:    .*\n|\n)*)", docstring + "\n", re.MULTILINE)
    return set(re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", body[1], re.MULTILINE)) if body else set()


def callables(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the functions that a block shows: the function itself, or the public methods of a class or a module."""
    if inspect.isfunction(value):
        yield path, value
    elif inspect.isclass(value) or inspect.ismodule(value):
        # Of a class with a base class, the page of the client shows the inherited methods too.
        owners = reversed(value.__mro__) if value is CallbellClient else [value]
        for name, member in (pair for owner in owners for pair in vars(owner).items()):
            function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            is_imported = inspect.ismodule(value) and getattr(function, "__module__", "") != value.__name__
            if inspect.isfunction(function) and not is_imported and not name.startswith("_"):
                yield f"{path}.{name}", function


FUNCTIONS = dict(pair for path, value in SHOWN.items() for pair in callables(path, value))
CLASSES = {path: value for path, value in SHOWN.items() if inspect.isclass(value)}


def missing_of_function(function: Any) -> list[str]:
    """Return what the docstring of a function lacks: a summary, parameters that it does not describe, its result.

    The summary is enough for one parameter, and for a method that does the same as another one, which it names.
    """
    docstring = inspect.getdoc(function) or ""
    if not docstring:
        return ["docstring"]
    if re.search(r"\bas `[A-Z]\w+\.\w+` does\b", docstring):
        return []
    parameters = {
        name
        for name in inspect.signature(function).parameters
        if name not in ("self", "cls") and not name.startswith("_")
    }
    missing = []
    if "Args:" in docstring:
        missing += sorted(parameters - described(docstring, "Args"))
    elif len(parameters) > 1:
        missing += [name for name in sorted(parameters) if f"`{name}`" not in docstring]
    returns = function.__annotations__.get("return")
    if returns not in (None, "None", "Never", "Self") and not re.search(
        r"^(Returns|Yields):|\b[Rr]eturns? |\bIterate |^Yields? ", docstring, re.MULTILINE
    ):
        missing.append("Returns")
    return missing


@pytest.mark.parametrize("path", FUNCTIONS)
def test_every_public_function_is_described(path: str) -> None:
    """The docstring of a public function or method describes each parameter, and what is returned."""
    assert missing_of_function(FUNCTIONS[path]) == []


def is_built_by_the_library(value: Any) -> bool:
    """Return whether users get objects of this class, and never build one."""
    return value.__name__ in BUILT_BY_THE_LIBRARY or value.__module__.startswith("callbell_async.endpoints.")


def missing_of_class(value: Any) -> list[str]:
    """Return what the docstring of a class lacks: fields, members of an enum, parameters."""
    docstring = inspect.getdoc(value) if "__doc__" in vars(value) else None
    if not docstring:
        return ["docstring"]
    known = described(docstring, "Args") | described(docstring, "Attributes")
    if issubclass(value, enum.Enum):
        wanted = set(value.__members__)
    elif typing.is_typeddict(value):
        wanted = set(value.__annotations__)
    elif attrs.has(value):
        wanted = {field.alias for field in attrs.fields(value) if field.init and not field.name.startswith("_")}
    elif issubclass(value, Exception) or inspect.isabstract(value) or is_built_by_the_library(value):
        wanted = set()
    else:
        wanted = {name for name in inspect.signature(value).parameters if not name.startswith("_")}
    return sorted(name for name in wanted - known if name)


@pytest.mark.parametrize("path", CLASSES)
def test_every_public_class_is_described(path: str) -> None:
    """The docstring of a public class describes its parameters, its fields or its members, inherited ones too."""
    assert missing_of_class(CLASSES[path]) == []


def test_a_missing_docstring_is_noticed() -> None:
    """The tests above can fail: they notice a missing docstring, a missing parameter and a missing member."""

    def bare(number: int) -> None: ...

    def described_badly(number: int, text: str) -> None:  # noqa: D417 - what the test is about
        """Do something.

        Args:
            number: A number.
        """

    class Colour(enum.Enum):
        """A colour.

        Attributes:
            RED: Red.
        """

        RED = 1
        BLUE = 2

    assert missing_of_function(bare) == ["docstring"]
    assert missing_of_function(described_badly) == ["text"]
    assert missing_of_class(Colour) == ["BLUE"]
    assert len(NAMES) > 120
    assert len(FUNCTIONS) > 100
    assert callbell_async.__version__
