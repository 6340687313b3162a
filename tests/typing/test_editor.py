"""The public API in a user's editor: what it shows over a name, and which names it offers."""

from __future__ import annotations

import inspect
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import callbell_async
from callbell_async import (
    CallbellClient,
    CallbellError,
    Journal,
    MessageReceipt,
    SendRun,
    TextMessage,
    limits,
    sandbox,
    webhooks,
)
from callbell_async.webhooks import MessageTracker, TrackedMessage, WebhookReceiver
from tests.support.language_server import Editor, SourceFile, language_server
from tests.unit.test_docs_api import BUILT_BY_THE_LIBRARY

pytestmark = pytest.mark.slow

CLIENT = CallbellClient("token")
GROUPS = [name for name, value in vars(CLIENT).items() if not name.startswith("_")]
OBJECTS: dict[str, Any] = {
    "callbell": CLIENT,
    **{f"callbell.{group}": getattr(CLIENT, group) for group in GROUPS},
    "journal": Journal("journal.db"),
    "message": TextMessage(to="+31612345678", text="Hello!"),
    "receipt": MessageReceipt("uuid"),
}
"""Objects whose names an editor offers."""

CLASSES = {"run": SendRun, "receiver": WebhookReceiver, "tracker": MessageTracker, "tracked": TrackedMessage}
"""Further classes whose methods are checked."""

MODULES = {"callbell_async": callbell_async, "webhooks": webhooks, "sandbox": sandbox, "limits": limits}
"""Modules whose names an editor offers."""

VARIABLES = """
    callbell: CallbellClient,
    journal: Journal,
    message: TextMessage,
    receipt: MessageReceipt,
    run: SendRun,
    receiver: WebhookReceiver,
    tracker: MessageTracker,
    tracked: TrackedMessage,
"""


def public(value: object) -> set[str]:
    """Return the public names of a module or an object."""
    return {name for name in dir(value) if not name.startswith("_")}


def methods() -> Iterator[tuple[str, Any]]:
    """Yield each public method with the expression by which a user reaches it."""
    classes = {name: type(value) for name, value in OBJECTS.items()} | CLASSES
    for name, owner in classes.items():
        for method in sorted(public(owner)):
            function = inspect.getattr_static(owner, method)
            if inspect.isfunction(function):
                yield f"{name}.{method}", function


METHODS = dict(methods())
NAMES = {f"callbell_async.{name}": getattr(callbell_async, name) for name in sorted(public(callbell_async))}
SEND_CALL = 'TextMessage(to="+31612345678", text="Hello!")'


def source() -> str:
    """Return a user's file that names every public name and method, each on a line of its own, and what is to be completed."""
    lines = [f"    {expression}" for expression in (*NAMES, *METHODS)]
    completed = [f"    offered = {name}." for name in (*MODULES, *OBJECTS)]
    return "\n".join(
        [
            "import callbell_async",
            "from callbell_async import limits, sandbox, webhooks",
            "from callbell_async import CallbellClient, Journal, MessageReceipt, SendRun, TextMessage",
            "from callbell_async.webhooks import MessageTracker, TrackedMessage, WebhookReceiver",
            f"def use({VARIABLES}) -> None:",
            *lines,
            f"    callbell.send({SEND_CALL})",
            *completed,
            "",
        ]
    )


def parameters_of(value: Any) -> list[str]:
    """Return the names of the parameters that a user may give to a function or a class."""
    is_object = not (inspect.isfunction(value) or inspect.isclass(value))
    if (
        is_object
        or getattr(value, "__name__", "") in BUILT_BY_THE_LIBRARY
        or isinstance(value, type(callbell_async.Outcome))
    ):
        return []
    if inspect.isclass(value) and issubclass(value, CallbellError | dict):
        return []  # users do not build exceptions and dictionaries
    return [name for name in inspect.signature(value).parameters if name != "self" and not name.startswith("_")]


def missing(shown: str, value: Any) -> list[str]:
    """Return what the text over a name lacks: its summary, or a parameter."""
    summary = (
        (inspect.getdoc(value) or "").partition("\n")[0] if inspect.isroutine(value) or inspect.isclass(value) else ""
    )
    return [text for text in (summary, *(f"{name}:" for name in parameters_of(value))) if text not in shown]


def wrong_hovers(editor: Editor, file: SourceFile) -> dict[str, list[str]]:
    """Return the names over which an editor shows too little."""
    shown = {name: missing(editor.hover(file, f"    {name}\n"), value) for name, value in (NAMES | METHODS).items()}
    return {name: lacks for name, lacks in shown.items() if lacks}


def wrong_completions(editor: Editor, file: SourceFile) -> dict[str, set[str]]:
    """Return the modules and objects for which an editor offers other names than the public ones.

    An editor shows private names of an object too, below the others of the same class, and none of a module. The class of
    a journal has no base class, so that the order is plain.
    """
    wrong = {}
    for name, value in (MODULES | OBJECTS).items():
        expected = set(value.__all__) - {"__version__"} if name in MODULES else public(value)
        offered = [label for label in editor.complete(file, f"    offered = {name}.\n") if not label.endswith("__")]
        private = [label for label in offered if label.startswith("_")]
        wrong[name] = (set(offered) - set(private)) ^ expected
        if name in MODULES:
            wrong[name] |= set(private)
        elif name == "journal":
            wrong[name] |= set(offered[len(expected) :]) ^ set(private)
    return {name: names for name, names in wrong.items() if names}


def test_an_editor_shows_the_public_api(tmp_path: Path) -> None:
    """Over each public name and method an editor shows its summary and parameters; it offers exactly the public names."""
    with language_server(tmp_path) as editor:
        file = editor.open("user.py", source())
        assert wrong_hovers(editor, file) == {}
        assert wrong_completions(editor, file) == {}
        text = {
            "to",
            "bsuid",
            "channel",
            "channel_uuid",
            "assigned_user",
            "team_uuid",
            "fields",
            "bot_status",
            "metadata",
        }
        assert set(editor.parameters(file, "callbell.send(TextMessage(")) == {*text, "key", "text"}


def test_what_is_missing_is_noticed() -> None:
    """The test above can fail: it looks for a summary and for each parameter."""
    assert missing("", CallbellClient.send) == [
        "Send one message; with a journal, once for each key.",
        "message:",
        "journal:",
    ]
    assert missing("", TextMessage)[-1] == "text:"
    assert len(NAMES) > 100
    assert len(METHODS) > 60


def test_the_server_ends_when_a_test_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The language server ends with its block, also by an exception."""
    started = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(RuntimeError), language_server(tmp_path):
        raise RuntimeError
    assert [process.returncode for process in started] != [None]
