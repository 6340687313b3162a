"""The applications of docs/how-to/sync-applications.md: one client for all threads, opened after a fork, and closed at the end."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from callbell_async.sandbox import Sandbox
from tests.support.example_workers import SYNC, example_environment, run_in_group
from tests.support.services import Service, need_package
from tests.support.threaded_sandbox import sandbox_in_a_thread

pytestmark = pytest.mark.slow


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in another thread."""
    with sandbox_in_a_thread("token") as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox: Sandbox, postgres_service: Service) -> dict[str, str]:
    """The environment of the examples: an empty database, and the sandbox."""
    database = f"db_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_service.url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {database}".encode())
    return {
        "CALLBELL_TOKEN": "token",
        "CALLBELL_BASE_URL": sandbox.url,
        "DATABASE_URL": postgres_service.url.rpartition("/")[0] + f"/{database}",
    }


def run(code: str, settings: dict[str, str]) -> str:
    """Run Python in the examples' directory, with warnings as errors, and return what it prints; it must end by itself."""
    ended = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        cwd=SYNC,
        env=example_environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_any_thread_sends_over_one_client(sandbox: Sandbox, settings: dict[str, str]) -> None:
    """Twenty threads send at once over one event loop, each key is sent once, and the program ends without a `close`."""
    code = """
import threading
from concurrent.futures import ThreadPoolExecutor
from callbell_sync import call, send
from callbell_async import TextMessage

def confirm(order):
    return send(TextMessage(to="+447700900001", text=f"Order {order}.", key=str(order % 10)))

with ThreadPoolExecutor(20) as pool:
    receipts = list(pool.map(confirm, range(20)))
print(len({receipt.uuid for receipt in receipts}))
print([thread.name for thread in threading.enumerate()].count("callbell"))
print(call(lambda callbell: callbell.auth.me()) is not None)
"""
    assert run(code, settings).split() == ["10", "1", "True"]
    assert len(sandbox.messages) == 10


def test_a_wrong_setting_is_an_error_of_the_call(settings: dict[str, str]) -> None:
    """A missing token raises the error of the client in the call, and a later call opens a client."""
    del settings["CALLBELL_TOKEN"]
    code = """
import os
from callbell_sync import call
from callbell_async import ConfigurationError
try:
    call(lambda callbell: callbell.auth.me())
except ConfigurationError as error:
    print("refused")
os.environ["CALLBELL_TOKEN"] = "token"
print(call(lambda callbell: callbell.auth.me()) is not None)
"""
    assert run(code, settings).split() == ["refused", "True"]


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
def test_a_forked_child_opens_a_client_of_its_own(sandbox: Sandbox, settings: dict[str, str]) -> None:
    """A server that forks after the first use still works: the parent and the children send, each on an event loop of its own, and all end in good order."""
    code = """
import os, warnings
from callbell_sync import send
from callbell_async import TextMessage
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def confirm(order):
    send(TextMessage(to="+447700900001", text=f"Order {order}.", key=str(order)))

confirm(0)
for number in range(1, 3):
    if os.fork() == 0:
        confirm(number)
        raise SystemExit
for _ in range(2):
    print(os.waitstatus_to_exitcode(os.wait()[1]))
for number in range(4):
    confirm(number)
"""
    assert run(code, settings).split() == ["0", "0"]
    assert sorted(str(message.body["content"]["text"]) for message in sandbox.messages) == [
        f"Order {number}." for number in range(4)
    ]


APPLICATIONS = {
    "flask": """
from flask_app import app
post = lambda: app.test_client().post("/orders", json={"id": "1234", "phone": "+447700900001"})
body = lambda response: response.get_json()
""",
    "django": """
from django_app import application
from django.test import Client
post = lambda: Client().post("/orders", {"id": "1234", "phone": "+447700900001"}, content_type="application/json")
body = lambda response: response.json()
""",
}


@pytest.mark.parametrize("framework", sorted(APPLICATIONS))
def test_a_web_application(sandbox: Sandbox, settings: dict[str, str], framework: str) -> None:
    """Requests for the same order in several threads send one message, and each gets its uuid."""
    need_package(framework)
    code = f"""{APPLICATIONS[framework]}
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    responses = [future.result() for future in [pool.submit(post) for _ in range(8)]]
print({{response.status_code for response in responses}}, len({{body(response)["uuid"] for response in responses}}))
"""
    assert run(code, settings) == "{200} 1\n"
    assert [message.body["content"]["text"] for message in sandbox.messages] == ["We have your order 1234."]


def test_celery(sandbox: Sandbox, settings: dict[str, str], own_redis: Service, tmp_path: Path) -> None:
    """Forked workers of Celery send each order once, though each task is delivered twice."""
    need_package("celery")
    settings |= {"BROKER_URL": own_redis.url}
    code = """
from celery_tasks import app, confirm
for order in range(20):
    for _ in range(2):
        confirm.delay(str(order), "+447700900001")
app.close()
"""
    subprocess.run([sys.executable, "-c", code], cwd=SYNC, env=example_environment(settings), check=True, timeout=60)
    worker = ("-m", "celery", "--app=celery_tasks", "worker", "--concurrency=2", "--pool=prefork", "--loglevel=INFO")
    log = tmp_path / "log"
    with run_in_group(*worker, settings=settings, log=log, directory=SYNC):
        deadline = time.monotonic() + 60
        while log.read_text().count(" succeeded in ") < 40 and time.monotonic() < deadline:
            time.sleep(0.1)
    assert log.read_text().count(" succeeded in ") == 40
    assert sorted(str(message.body["content"]["text"]) for message in sandbox.messages) == sorted(
        f"We have your order {order}." for order in range(20)
    )
