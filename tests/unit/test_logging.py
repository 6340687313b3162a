"""The log: the page lists every line, each line can be provoked, and none has personal data or a secret."""

from __future__ import annotations

import ast
import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import callbell_async
from callbell_async import CallbellClient, Journal, RetryPolicy, TemplateMessage, TextMessage
from callbell_async.http import direct
from callbell_async.limits.shared import RENEW_EVERY
from callbell_async.sandbox import Sandbox, SandboxTemplate
from callbell_async.sandbox.faults import close_after_reading, no_fault, respond
from callbell_async.webhooks import WebhookReceiver
from tests.support.calls import MESSAGE, NUMBER, TEXT, TOKEN, client_for, until
from tests.support.clock import current_loop
from tests.support.lost_responses import client_of, running_sandbox, send_without_response
from tests.support.memory_lender import EngineState, MemoryRateLimiter
from tests.support.observers import RaisingObserver
from tests.support.sandbox_factory import local_callbell
from tests.support.webhooks import SECRET, message_body, post

PACKAGE = Path(callbell_async.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "logging.md"


class Line(NamedTuple):
    """A line of the log: its logger, its level and its format string."""

    logger: str
    level: str
    text: str


def lines_in(source: str) -> Iterator[Line]:
    """Yield the lines that a module logs with its `_log`."""
    tree = ast.parse(source)
    areas = [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "area_logger"
        if isinstance(node.args[0], ast.Constant)
    ]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        target, method = node.func.value, node.func.attr
        if not isinstance(target, ast.Name) or target.id != "_log" or method in ("isEnabledFor", "addFilter"):
            continue
        (area,) = areas
        text = node.args[0]
        assert isinstance(text, ast.Constant), f"line {node.lineno}: the text must be a constant"
        yield Line(f"callbell_async.{area!s}", {"exception": "ERROR"}.get(method, method.upper()), str(text.value))


def lines_of_the_package() -> list[Line]:
    """Return the lines that the package logs."""
    return [line for path in sorted(PACKAGE.rglob("*.py")) for line in lines_in(path.read_text(encoding="utf-8"))]


ON_PAGE = {
    Line(logger, level, text): (
        set(re.findall(r"`([\w.]+)`(?! with| after)", fields)),
        set(re.findall(r"`([\w.]+)`(?: with| after)", fields)),
    )
    for logger, level, text, fields in re.findall(
        r"^\| `(callbell_async[\w.]*)` \| `(\w+)` \| `(.+?)` \| (.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
}
"""Each line of the page, with the fields that it always has and those that it may have."""


def test_the_page_lists_every_line() -> None:
    """The page has each line that the package logs, once, and no other."""
    lines = lines_of_the_package()
    assert len(lines) == len(set(lines)) >= 20
    assert sorted(ON_PAGE) == sorted(lines)


def test_a_missing_line_is_noticed() -> None:
    """The test above can fail: it finds a line by its logger, its level and its text."""
    source = '_log = area_logger("http")\ndef f():\n    _log.warning("%s failed", 3, extra={})'
    assert list(lines_in(source)) == [Line("callbell_async.http", "WARNING", "%s failed")]


LOGGING_MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "getLogger" in path.read_text(encoding="utf-8") and path.name != "observe.py"
]


def test_every_logger_is_that_of_an_area() -> None:
    """Only the command line gets other loggers: it prints the lines of `listen`, and the library's warnings."""
    modules = [path.relative_to(PACKAGE).as_posix() for path in LOGGING_MODULES]
    assert modules == ["cli/commands/listen.py", "cli/output.py"]


def test_nothing_is_printed_without_configuration() -> None:
    """A program that has not configured logging prints none of the library's warnings."""
    code = "from callbell_async.observe import area_logger; area_logger('http').warning('printed')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


# --- provoking each line ----------------------------------------------------------------------------------------------

Scenario = Callable[[Path, pytest.MonkeyPatch], Awaitable[None]]


async def attempts_and_retries(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 503, a 429 and a success; a lost connection on a path with a number."""
    echo = respond(503, {"error": f"{NUMBER} {TEXT} {TOKEN}"})
    refusing = respond(429, {"error": f"{NUMBER} {TEXT} {TOKEN}"}, {"Retry-After": "0"})
    async with local_callbell(echo, refusing, no_fault()) as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
    async with local_callbell(close_after_reading(), respond(200, b"{}")) as server, client_for(server.url) as callbell:
        await callbell.request("GET", f"/contacts/phone/{NUMBER}", query={"name": TEXT})


async def a_traced_session(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something replaces the requests of aiohttp's sessions."""
    monkeypatch.setattr(direct, "_IS_ORIGINAL", False)
    async with local_callbell() as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)


async def another_version_of_aiohttp(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The direct path was not tested with aiohttp's version."""
    monkeypatch.setattr(direct, "TESTED_VERSIONS", frozenset())
    async with local_callbell() as server, client_for(server.url) as callbell:
        await callbell.send(MESSAGE)


async def a_run_with_an_outage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run pauses, continues and ends."""
    down = respond(503, {"error": f"{NUMBER} {TEXT}"})
    async with (
        local_callbell(*[down] * 4, no_fault()) as server,
        client_for(server.url, retry=RetryPolicy(attempts=1)) as callbell,
    ):
        run = callbell.send_many([MESSAGE] * 6, concurrency=4)
        closing = asyncio.create_task(_consume(run))
        await until(lambda: run.paused_for is not None)
        while not closing.done():
            current_loop().advance(1)
            await asyncio.sleep(0)
        await closing


async def _consume(run: Any) -> None:
    async for _ in run:
        pass


async def a_stopped_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused token stops a run."""
    async with Sandbox() as sandbox, CallbellClient(TOKEN, base_url=sandbox.url) as callbell:
        await callbell.send_many([MESSAGE] * 3)


async def a_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal writes; the status of a message can't be requested."""
    async with local_callbell() as server, client_for(server.url, retry=RetryPolicy(attempts=1)) as callbell:
        journal = Journal(path / "a.db")
        await callbell.send_many([MESSAGE], journal=journal)
        server.inject(respond(500, {"error": f"{NUMBER} {TEXT}"}))
        assert (await callbell.refresh(journal)).failed == 1


async def a_template_that_can_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconciliation needs the text of a template, and can't request it."""
    async with running_sandbox() as sandbox, client_of(sandbox) as callbell, Journal(path / "a.db") as journal:
        template = sandbox.account.seed(SandboxTemplate(title="one", text=TEXT))
        first, second = (
            TemplateMessage(to=NUMBER, template_uuid=template.uuid, optin_contact=True, key=key) for key in ("1", "2")
        )
        await send_without_response(callbell, sandbox, journal, first, second)
        assert (await callbell.reconcile(journal)).accepted == 2
        await send_without_response(callbell, sandbox, journal, TextMessage(to="+447700900123", text="another"))
        sandbox.inject(respond(500, {"error": f"{NUMBER} {TEXT}"}), when=lambda request: "/templates/" in request.path)
        await callbell.reconcile(journal)


async def a_shared_limiter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine of a shared limiter is away, returns, and is away when the limiter closes."""
    state = EngineState()
    limiter = MemoryRateLimiter(state, 300)
    loop = current_loop()
    await limiter.start()
    for reachable in (False, True):
        state.reachable = reachable
        while (limiter.problem is None) is not reachable:
            loop.advance(RENEW_EVERY)
            await asyncio.sleep(0)
    state.reachable = False
    await limiter.aclose()


async def an_observer_that_raises(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An observer raises an exception with a number in it."""
    observer = RaisingObserver(ValueError(f"{NUMBER} {TEXT}"))
    async with local_callbell() as server, client_for(server.url, observer=observer) as callbell:
        await callbell.send(MESSAGE)


async def the_webhooks_of_the_sandbox(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that takes the sandbox's events fails, and its webhook is disabled."""

    async def fail(body: bytes, headers: Any) -> int:
        raise ValueError("the application failed")

    async with Sandbox() as sandbox:
        sandbox.deliveries.retry_delays, sandbox.deliveries.disable_after = (), 1
        sandbox.deliver_to(fail)
        sandbox.emit("message_created", {"text": TEXT, "from": NUMBER})
        await sandbox.wait_delivered()


async def a_webhook_receiver(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is refused, one can't be read, and a handler, a listener and the hook raise."""

    def fail(*arguments: object) -> None:
        raise ValueError(f"{arguments} {NUMBER} {TEXT} {SECRET}")

    receiver = WebhookReceiver(fail, secret=SECRET, on_error=fail)
    receiver.add_listener(fail)
    async with receiver:
        receiver.check_request("PUT")
        await post(receiver, message_body(TEXT), secret="another")
        await post(receiver, f"{NUMBER} {TEXT}".encode())
        await post(receiver, message_body(TEXT))


SCENARIOS: tuple[Scenario, ...] = (
    attempts_and_retries,
    a_traced_session,
    another_version_of_aiohttp,
    a_run_with_an_outage,
    a_stopped_run,
    a_journal,
    a_template_that_can_not_be_read,
    a_shared_limiter,
    an_observer_that_raises,
    the_webhooks_of_the_sandbox,
    a_webhook_receiver,
)

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


async def test_every_line_is_provoked_without_secrets(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Each line of the page is logged with the fields that the page names, and shows no number, no text and no secret."""
    caplog.set_level(logging.DEBUG, "callbell_async")
    for number, scenario in enumerate(SCENARIOS):
        path = tmp_path / str(number)
        path.mkdir()
        with pytest.MonkeyPatch.context() as monkeypatch:
            await scenario(path, monkeypatch)
    records = [record for record in caplog.records if record.name.startswith("callbell_async")]
    seen = set()
    formatter = logging.Formatter("%(message)s")
    for record in records:
        line = Line(record.name, record.levelname, record.msg)
        seen.add(line)
        always, sometimes = ON_PAGE[line]
        fields = set(vars(record)) - _STANDARD
        assert always <= fields <= always | sometimes, line
        shown = f"{formatter.format(record)} {[vars(record)[field] for field in fields]}"
        for secret in (NUMBER, NUMBER[1:], NUMBER.replace("+", "%2B"), TEXT, TOKEN, SECRET):
            assert secret not in shown, line
    assert sorted(ON_PAGE.keys() - seen) == []


async def test_a_line_is_logged_for_each_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """At the level DEBUG each attempt has one line, with its status, its outcome and its length; at INFO it has none."""
    async with local_callbell(respond(503, {}), no_fault()) as server, client_for(server.url) as callbell:
        caplog.set_level(logging.INFO, "callbell_async")
        await callbell.send(MESSAGE)
        assert [record.levelname for record in caplog.records] == ["INFO"]
        caplog.clear()
        caplog.set_level(logging.DEBUG, "callbell_async")
        await callbell.send(MESSAGE)
    (record,) = caplog.records
    assert re.fullmatch(r"POST /messages/send: attempt 1: 200, accepted, in \d\.\d{3} s", record.getMessage())
    fields = vars(record)
    assert (fields["http.response.status_code"], fields["callbell.outcome"], fields["callbell.attempt"]) == (
        200,
        "accepted",
        1,
    )
