"""The structure of the package: imports point down only, and importing it loads only what is needed."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

import callbell_async

PACKAGE = Path(callbell_async.__file__).parent
PROJECT = PACKAGE.parent

FLOORS: list[set[str]] = [
    {"_version", "base_error", "redaction"},
    {"errors"},
    {"arguments", "asyncio_tools"},
    {"models", "observe"},
    {"guarded_observers", "recipients"},
    {"wire"},
    {"limits"},
    {"http"},
    {"polling"},
    {"endpoints", "webhooks"},
    {"journal"},
    {"bulk"},
    {"combined_calls"},
    {"client"},
    {"__init__"},
    # Tools: nothing in the library imports them.
    {"otel", "sandbox"},
    {"pytest_plugin"},
    {"cli"},
    {"__main__"},
]
"""The floors, from the lowest up. A module imports from floors below its own and from its own folder, never from a neighbour."""

HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
TOOLS = {"otel", "sandbox", "pytest_plugin", "cli", "__main__"}
WITHOUT_IO = (
    "base_error",
    "errors",
    "redaction",
    "arguments",
    "models",
    "wire",
    "http.requests",
    "http.responses",
    "http.retry",
    "http.download_guards",
    "journal.matching",
    "limits.lending",
    "limits.paced",
)


@dataclass(frozen=True)
class Module:
    """The name of a module, and its code."""

    name: str
    code: str

    @cached_property
    def tree(self) -> ast.Module:
        """The code as a tree, made when a test reads it: each worker collects all tests, and runs a few."""
        return ast.parse(self.code)

    @property
    def top(self) -> str:
        """The name of its folder in the package, or its own name if it is in none."""
        return self.name.partition(".")[0]


def read_modules() -> dict[str, Module]:
    """Return every module of the package by its name."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path.read_text(encoding="utf-8"))
    return modules


MODULES = read_modules()


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that the code imports; a relative import has its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def wrong_imports(module: Module) -> list[str]:
    """Return the imports of a module from this package that are not allowed."""
    wrong = []
    for name in imported(module.tree):
        head, _, rest = name.partition(".")
        if head == "callbell_async":
            top = rest.partition(".")[0]
            # A name that is not a module is in the package's `__init__`.
            target = top if top in HEIGHT else "__init__"
            if target != module.top and HEIGHT[target] >= HEIGHT[module.top]:
                wrong.append(name)
        elif not head:
            wrong.append(name)
    return wrong


def names_of(modules: set[str]) -> list[str]:
    """Return all modules in these folders, and these modules of the top level."""
    return [name for name, module in MODULES.items() if module.top in modules]


def imports_between(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Return for each module the modules of the package that it imports, also those for type checkers only."""
    graph: dict[str, set[str]] = {}
    for name, module in modules.items():
        targets = set()
        for found in imported(module.tree):
            parts = found.split(".")
            if parts[0] != "callbell_async":
                continue
            # The name imported may be a module, or something inside one.
            inside = next((x for x in (".".join(parts[1:]), ".".join(parts[1:-1])) if x in modules), None)
            if inside is not None and inside != name:
                targets.add(inside)
        graph[name] = targets
    return graph


def circle_through(name: str, graph: dict[str, set[str]]) -> list[str] | None:
    """Return the shortest circle of imports through a module, or `None`."""
    waiting = [[name]]
    seen: set[str] = set()
    for path in waiting:
        for target in sorted(graph[path[-1]]):
            if target == name:
                return [*path, name]
            if target not in seen:
                seen.add(target)
                waiting.append([*path, target])
    return None


# --- imports ----------------------------------------------------------------------------------------------------------


def test_no_module_is_long() -> None:
    """No module has more than 450 lines, docstrings included."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert lines
    assert {path: count for path, count in lines.items() if count > 450} == {}


def test_every_module_has_a_floor() -> None:
    """A new module is added to the floors above before another module imports it."""
    assert {module.top for module in MODULES.values()} <= set(HEIGHT)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    """Nothing is imported from a higher floor or from a neighbour, not even for its types; and by full names."""
    assert wrong_imports(MODULES[name]) == []


@cache
def graph() -> dict[str, set[str]]:
    """Return the imports between the modules of the package."""
    return imports_between(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_no_imports_form_a_circle(name: str) -> None:
    """No module imports itself by way of others, inside a folder or across folders, not even for its types."""
    assert circle_through(name, graph()) is None


def test_a_circle_is_noticed() -> None:
    """The test above can fail: it finds a circle of imports for type checkers inside one folder."""
    codes = {
        "bulk": "",
        "bulk.source": "if TYPE_CHECKING:\n    from callbell_async.bulk.send_run import SendRun",
        "bulk.send_run": "from callbell_async.bulk import source",
    }
    found = imports_between({name: Module(name, code) for name, code in codes.items()})
    assert circle_through("bulk.source", found) == ["bulk.source", "bulk.send_run", "bulk.source"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("errors", "from callbell_async.models.messages import Message"),
        ("models.messages", "from callbell_async.wire import dump_message"),
        ("limits.window", "from callbell_async.http.retry import RetryPolicy"),
        ("webhooks.request", "import callbell_async.client"),
        ("webhooks.request", "from callbell_async.bulk import SendRun"),
        ("client", "def build():\n    from callbell_async.sandbox import Sandbox"),
        ("client", "from callbell_async import TextMessage"),
        ("bulk", "if TYPE_CHECKING:\n    from callbell_async import client"),
        ("endpoints.messages", "from .base import Endpoint"),
        ("endpoints.messages", "from . import base"),
    ],
)
def test_an_import_that_points_up_is_noticed(name: str, code: str) -> None:
    """The test above can fail: it sees each way to write a wrong import."""
    assert len(wrong_imports(Module(name, code))) == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("models.messages", "from callbell_async.models.contacts import Contact"),
        ("http.transport", "from callbell_async.http.options import TransportOptions\nimport asyncio, aiohttp"),
        ("sandbox.server", "from callbell_async import TextMessage"),
        ("cli.program", "from callbell_async.sandbox import Sandbox"),
    ],
)
def test_an_import_that_points_down_is_fine(name: str, code: str) -> None:
    """The test above accepts imports that point down."""
    assert wrong_imports(Module(name, code)) == []


@pytest.mark.parametrize(
    "name", [name for name, module in MODULES.items() if module.top not in {"cli", "pytest_plugin"}]
)
def test_imports_are_at_the_top(name: str) -> None:
    """No import is inside a function, except in the command line and in pytest's plugin, which load slow modules only when they are needed."""
    functions = [
        node
        for node in ast.walk(MODULES[name].tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    ]
    assert [found for function in functions for found in imported(function)] == []


def roots(name: str) -> set[str]:
    """Return the packages that a module imports from."""
    return {found.partition(".")[0] for found in imported(MODULES[name].tree)} - {"callbell_async"}


@pytest.mark.parametrize("name", names_of({"errors", "models"}))
def test_models_know_no_json_and_no_client(name: str) -> None:
    """Errors and models are plain classes: they use the standard library and attrs, and do no I/O."""
    assert roots(name) - {"attrs"} <= sys.stdlib_module_names
    assert roots(name).isdisjoint({"json", "asyncio", "socket", "http", "ssl", "logging"})


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(WITHOUT_IO)])
def test_the_core_does_no_io(name: str) -> None:
    """The code that decides uses no event loop, no socket and no clock."""
    assert roots(name).isdisjoint({"asyncio", "aiohttp", "socket", "ssl", "http", "time", "threading", "logging"})


@pytest.mark.parametrize("name", [name for name, module in MODULES.items() if module.top not in TOOLS | {"wire"}])
def test_one_module_knows_the_converter(name: str) -> None:
    """In the library, only `wire` converts between bytes and models."""
    assert roots(name).isdisjoint({"cattrs", "cattr", "orjson"})


AIOHTTPS_CLIENT = {
    "http.transport",
    "http.direct",
    "http.failures",
    "http.options",
    "http.download",
    "client",
    "sandbox.webhook_sender",
}
"""The transport's modules call Callbell; `client` names the type of a session; `webhook_sender` posts to webhooks, as Callbell does."""


@pytest.mark.parametrize("name", [name for name in MODULES if name not in AIOHTTPS_CLIENT])
def test_one_module_knows_aiohttps_client(name: str) -> None:
    """Only the transport's modules and the sandbox's webhook sender use aiohttp's client; other modules import aiohttp's server only."""
    assert {
        found
        for found in imported(MODULES[name].tree)
        if re.match(r"aiohttp\b(?!\.(web|abc|http_exceptions)\b)", found)
    } == set()


def test_a_fresh_interpreter_loads_only_what_is_needed() -> None:
    """Importing every public name loads no extra, no test library, no server, and none of the standard library that only spreadsheets need."""
    code = (
        "import sys; before = set(sys.modules); from callbell_async import *; from callbell_async import limits;"
        " print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"callbell_async.client", "aiohttp.client", "cattrs", "orjson"} <= set(loaded)
    unwanted = {
        "click",
        "rich",
        "pytest",
        "_pytest",
        "aioresponses",
        "hypothesis",
        "fastapi",
        "httpx",
        "requests",
        "redis",
        "psycopg",
        "opentelemetry",
        "zipfile",
        "xml",
    }
    assert {name.partition(".")[0] for name in loaded} & unwanted == set()
    assert {
        name for name in loaded if re.match(r"aiohttp\.web\b|callbell_async\.(sandbox|cli|pytest_plugin)\b", name)
    } == set()


def test_importing_builds_no_converter() -> None:
    """Importing all that the package offers builds no converter: that costs more than the rest of its modules."""
    code = "from callbell_async import *; from callbell_async.wire import converter; print(converter.converter.cache_info())"
    built = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "currsize=0" in built


# --- public names ---------------------------------------------------------------------------------------------------


def test_the_package_itself_holds_names_only() -> None:
    """`__init__` defines only the look-up of its names."""
    defined = [
        node.name for node in ast.walk(MODULES["__init__"].tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert defined == ["__getattr__", "__dir__"]


def test_all_is_sorted_and_complete() -> None:
    """`__all__` names everything imported, once and in order (constants first), and everything it names is there."""
    names: list[str] = vars(callbell_async)["__all__"]
    assert names == sorted(set(names), key=lambda name: (not name.isupper(), name))
    offered = {
        name.rpartition(".")[2] for name in imported(MODULES["__init__"].tree) if name.startswith("callbell_async")
    }
    assert set(names) == offered == set(dir(callbell_async))
    assert [name for name in names if not hasattr(callbell_async, name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "errors",
        "models.account",
        "models.contacts",
        "models.events",
        "models.receipts",
        "models.journal",
        "models.messages",
        "models.message_parts",
        "models.results",
    ],
)
def test_every_public_class_is_in_the_package(name: str) -> None:
    """Every class that may be raised, sent or received can be imported from the package itself."""
    module = importlib.import_module(f"callbell_async.{name}")
    classes = {public for public in module.__all__ if inspect.isclass(getattr(module, public))}
    assert classes <= set(dir(callbell_async))


def test_the_version_is_in_one_place() -> None:
    """The version is stored only in `_version`, where the build reads it."""
    holders = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if re.search(rf"['\"/]{re.escape(callbell_async.__version__)}['\"]", path.read_text(encoding="utf-8"))
    ]
    assert holders == ["_version.py"]
    assert re.fullmatch(r"\d+\.\d+\.\d+([ab.]\w+)?", callbell_async.__version__)


def test_the_build_reads_the_version() -> None:
    """`pyproject.toml` has no version of its own."""
    settings = PROJECT / "pyproject.toml"
    if not settings.is_file():
        pytest.skip("the package is installed, not checked out")
    document = tomllib.loads(settings.read_text(encoding="utf-8"))
    assert "version" not in document["project"]
    assert document["project"]["dynamic"] == ["version"]
    assert document["tool"]["hatch"]["version"]["path"] == "callbell_async/_version.py"
