"""The applications under docs/examples: they run over real HTTP, and their pages show them as they are."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from callbell_async import CallbellClient, MessageStatus
from callbell_async.sandbox import Sandbox, SandboxThread, StatusTimings, faults
from tests.support.apps import served_by_aiohttp, served_by_uvicorn

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SECRET = "whsec_0123456789"
CUSTOMER = "+447700900123"


def load(name: str) -> Any:
    """Import an application as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A sandbox that the environment names, for an application that runs in an empty directory."""
    monkeypatch.chdir(tmp_path)
    timings = StatusTimings(reported=0.0, sent=0.0, delivered=0.0, read=0.0)
    async with Sandbox(webhook_secret=SECRET, status_timings=timings) as running:
        monkeypatch.setenv("CALLBELL_BASE_URL", running.url)
        monkeypatch.setenv("CALLBELL_TOKEN", str(running.token))
        monkeypatch.setenv("CALLBELL_WEBHOOK_SECRET", SECRET)
        yield running


async def subscribe(sandbox: Sandbox, url: str) -> None:
    """Subscribe an application to the events of messages."""
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        await callbell.webhooks.subscribe(f"{url}/callbell", ["message_created", "message_status_updated"])


async def test_the_fastapi_service(sandbox: Sandbox) -> None:
    """It confirms an order once however often it is asked, knows when the message was read, and replies to customers."""
    app = load("fastapi_service").create_app()
    async with served_by_uvicorn(app) as url, aiohttp.ClientSession(url) as session:
        await subscribe(sandbox, url)
        order = {"number": "1234", "phone": CUSTOMER}
        replies = []
        for _ in range(2):
            async with session.post("/orders", json=order) as response:
                assert response.status == 202
                replies.append(await response.json())
        assert replies[0] == replies[1]
        sandbox.assert_sent_once(to=CUSTOMER, text="We have your order 1234.")

        await sandbox.wait_delivered(statuses=True)
        async with session.get("/orders/1234") as response:
            assert await response.json() == {"outcome": "accepted", "status": MessageStatus.READ}
        async with session.get("/orders/5678") as response:
            assert response.status == 404

        sandbox.account.receive_message("Where is it?", sender=CUSTOMER)
        await sandbox.wait_delivered()
        async with session.get("/health") as response:
            assert (await response.json())["refused"] == 0
    # The application has ended, so its handlers have, too.
    assert [message.body["content"]["text"] for message in sandbox.messages] == [
        "We have your order 1234.",
        "We will look at your question.",
    ]


async def test_the_fastapi_service_reports_what_was_not_accepted(sandbox: Sandbox) -> None:
    """Each kind of failure has its status; a message that may have been accepted is not sent again."""
    app = load("fastapi_service").create_app()
    async with served_by_uvicorn(app) as url, aiohttp.ClientSession(url) as session:

        async def order(number: str, phone: str = CUSTOMER) -> int:
            async with session.post("/orders", json={"number": number, "phone": phone}) as response:
                assert CUSTOMER.lstrip("+") not in await response.text()
                return response.status

        assert await order("1", "0612345678") == 422
        rule = sandbox.inject(faults.respond(400, b'{"error": "no"}'))
        assert await order("2") == 502
        rule.remove()
        rule = sandbox.inject(faults.accept_then_close())
        assert await order("3") == 504
        rule.remove()
        assert await order("3") == 409
        assert await order("2") == 202
    sandbox.assert_sent(2)


async def test_the_aiohttp_bot(sandbox: Sandbox) -> None:
    """It replies to each message of a customer once, on the customer's channel, and nothing else."""
    app = load("aiohttp_bot").create_app()
    async with served_by_aiohttp(app) as url:
        await subscribe(sandbox, url)
        sandbox.deliveries.duplicate()
        sandbox.account.receive_message("Where is order 77?", sender=CUSTOMER)
        sandbox.account.receive_message("When are you open?", sender="1234567890", channel="telegram")
        sandbox.account.receive_message("I need a person", sender="+447700900001")
        await sandbox.wait_delivered()
    sent = {message.body["to"]: message.body for message in sandbox.messages}
    assert len(sandbox.messages) == len(sent) == 3
    assert sent[CUSTOMER.removeprefix("+")]["content"]["text"] == "Order 77 is on its way."
    assert sent["1234567890"]["from"] == "telegram"
    assert sent["1234567890"]["content"]["text"].startswith("We are open")
    assert sent["447700900001"]["bot_status"] == "bot_end"


def test_the_campaign_script(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It sends to each row, names the line of a wrong row, resolves a lost response, and sends nothing twice."""
    campaign = load("campaign")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipients.csv").write_text(
        "phone,name\n+31612345678,Ada\n0612345678,Grace\n+447700900001,Alan\n", encoding="utf-8"
    )
    monkeypatch.setattr(sys, "argv", ["campaign.py", "recipients.csv"])
    # The script looks for the lost message in a history, so the sandbox has the time of this machine.
    with SandboxThread(Sandbox(token="token", start=datetime.now(UTC))) as thread:
        sandbox = thread.sandbox
        monkeypatch.setenv("CALLBELL_BASE_URL", sandbox.url)
        monkeypatch.setenv("CALLBELL_TOKEN", "token")
        sandbox.inject(faults.accept_then_close(), times=1, when=lambda request: request.method == "POST")
        assert campaign.main() == 1
        output = capsys.readouterr()
        assert "line 3: never_sent: to: is not a telephone number" in output.err
        assert ": unknown: " in output.err
        assert output.out.startswith("2 accepted")
        assert campaign.main() == 1
        assert capsys.readouterr().err.count("line ") == 1
        assert len(sandbox.messages) == 2
        (tmp_path / "recipients.csv").write_text("phone,name\n+31612345678,Ada\n", encoding="utf-8")
        assert campaign.main() == 0
        assert len(sandbox.messages) == 2


def test_the_campaign_script_names_a_missing_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a column that the script needs ends it before anything is sent, with one line."""
    file = tmp_path / "recipients.csv"
    file.write_text("phon,name\n+34600000001,Ada\n")
    monkeypatch.setenv("CALLBELL_TOKEN", "test")
    monkeypatch.setattr(sys, "argv", ["campaign.py", str(file), "--journal", str(tmp_path / "campaign.db")])
    with pytest.raises(SystemExit, match=r"recipients\.csv: there is no column phone$"):
        load("campaign").main()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_each_page_shows_its_application(file: Path) -> None:
    """The page of an application quotes the file as it is, links it, and names its test."""
    page = EXAMPLES / {"campaign": "campaign-script.md"}.get(file.stem, f"{file.stem.replace('_', '-')}.md")
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"```python\n(.+?)```", text, re.DOTALL) == [file.read_text(encoding="utf-8")]
    assert f"]({file.name})" in text


def test_each_example_has_its_page() -> None:
    """There are three applications, and as many pages."""
    assert len(list(EXAMPLES.glob("*.py"))) == len(list(EXAMPLES.glob("*.md"))) == 3
