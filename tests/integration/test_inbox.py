"""The inbox of the sandbox in a real browser."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from callbell_async import (
    CallbellClient,
    ConnectionLostError,
    DocumentMessage,
    ImageMessage,
    Message,
    MessageReceipt,
    Outcome,
    RetryPolicy,
    TemplateMessage,
    TextMessage,
)
from callbell_async.models.message_parts import Location
from callbell_async.sandbox import (
    DeliveryFailure,
    Sandbox,
    SandboxContact,
    SandboxTemplate,
    SandboxThread,
    StatusTimings,
    faults,
)
from callbell_async.webhooks import SIGNATURE_HEADER, verify_signature
from tests.support.browser import browser, wait_until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow

SECRET = "whsec_0123456789"
TO = "+31612345678"
SCREENSHOTS = Path(__file__).parents[2] / "screenshots"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    """One browser for all tests."""
    with browser() as started:
        yield started


@pytest.fixture
def sandbox() -> Iterator[SandboxThread]:
    """A sandbox in its own thread, whose messages are read at once."""
    with SandboxThread(Sandbox(webhook_secret=SECRET, status_timings=StatusTimings.instant())) as thread:
        yield thread


class Inbox:
    """The page in the browser."""

    def __init__(self, chromium: Chrome, sandbox: SandboxThread) -> None:
        self.browser = chromium
        self.sandbox = sandbox

    def open(self) -> None:
        """Open the page and wait until it is live."""
        self.browser.get(self.sandbox.inbox_url)
        self.wait_for("live", "live")

    def find(self, selector: str) -> Any:
        """Return the first element."""
        return self.browser.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        return list(self.browser.execute_script(script, selector))

    def wait_for(self, id_: str, text: str) -> None:
        """Wait until the element with this id has this text in it."""
        wait_until(self.browser, lambda: any(text in found for found in self.texts(f"#{id_}")))

    def errors(self) -> list[str]:
        """Return the errors in the browser's console since the last call."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


@pytest.fixture
def inbox(chromium: Chrome, sandbox: SandboxThread) -> Iterator[Inbox]:
    """The open page. At the end it had no error, such as a breach of its policy, and asked no other server."""
    chromium.set_window_size(1400, 860)
    opened = Inbox(chromium, sandbox)
    opened.errors()
    opened.open()
    yield opened
    script = "return performance.getEntriesByType('resource').map((one) => new URL(one.name).origin)"
    assert set(chromium.execute_script(script)) <= {sandbox.url.removesuffix("/v1")}
    chromium.get("about:blank")
    assert opened.errors() == []


def send(sandbox: SandboxThread, *messages: Message) -> list[MessageReceipt]:
    """Send messages with the library."""

    async def run() -> list[MessageReceipt]:
        async with CallbellClient(sandbox.token, base_url=sandbox.url, retry=RetryPolicy(attempts=1)) as callbell:
            return [await callbell.send(message) for message in messages]

    return asyncio.run(run())


class Receiver(ThreadingHTTPServer):
    """A webhook that records what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[tuple[bytes, str]] = []
        self.arrived = threading.Event()

    @property
    def address(self) -> str:
        """The address to subscribe."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Receiver)
        self.server.posts.append((body, self.headers[SIGNATURE_HEADER]))
        self.send_response(200)
        self.end_headers()
        self.server.arrived.set()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Log nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A running webhook."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_sent_message_appears(inbox: Inbox) -> None:
    """A message that the library sends appears in the list and in the chat of the open page, with its tick, without a reload."""
    (receipt,) = send(inbox.sandbox, TextMessage(to=TO, text="Hello from the library!"))
    inbox.wait_for("history", "Hello from the library!")
    inbox.wait_for("conversations", TO)
    wait_until(inbox.browser, lambda: inbox.find("#history .tick").get_attribute("aria-label") == "read")
    inbox.find("#history .raw").click()
    inbox.wait_for("panel", receipt.uuid)
    shown = "".join(inbox.texts("#panel pre"))
    assert "POST /v1/messages/send" in shown
    assert "Status 200" in shown
    assert inbox.sandbox.token not in shown.replace(f"{inbox.sandbox.token}-", "").split("Bearer")[1][:20]


def test_a_typed_message_reaches_a_receiver(inbox: Inbox, receiver: Receiver) -> None:
    """A message that is typed in the page is posted to the webhook, signed, and appears in the chat."""
    inbox.sandbox.seed({"webhooks": [{"url": receiver.address, "subscriptions": ["message_created"]}]})
    inbox.sandbox.call(inbox.sandbox.account.seed, SandboxContact(identifier=TO, name="Ann"))
    inbox.wait_for("chat-name", "Ann")
    inbox.find("#customer-text").send_keys("Where is my parcel?\n")
    assert receiver.arrived.wait(20)
    ((body, signature),) = receiver.posts
    verify_signature(body, signature, SECRET)
    payload = json.loads(body)["payload"]
    assert (payload["text"], payload["from"], payload["status"]) == (
        "Where is my parcel?",
        TO.removeprefix("+"),
        "received",
    )
    inbox.wait_for("history", "Where is my parcel?")
    inbox.wait_for("window", "24-hour window open")
    inbox.find("#tab-webhook").click()
    inbox.wait_for("panel", "1 delivered")
    inbox.find("[data-advance='86400']").click()
    inbox.wait_for("window", "24-hour window closed")


def test_the_ticks_follow_the_time(inbox: Inbox) -> None:
    """The tick of a message changes with its status, without a webhook; a clock that is moved moves it, too."""
    inbox.sandbox.account.status_timings = StatusTimings(reported=0.0, sent=0.1, delivered=3600.0, read=math.inf)
    send(inbox.sandbox, TextMessage(to=TO, text="Hello!"))

    def tick() -> str | None:
        found: str | None = inbox.find("#history .tick").get_attribute("aria-label")
        return found

    inbox.wait_for("history", "Hello!")
    wait_until(inbox.browser, lambda: tick() == "sent")
    inbox.find("[data-advance='3600']").click()
    wait_until(inbox.browser, lambda: tick() == "delivered")


def test_a_location_is_sent_by_keyboard(inbox: Inbox) -> None:
    """A new customer and a location can be entered with the keyboard alone."""
    from selenium.webdriver.common.keys import Keys

    inbox.find("#new").send_keys(Keys.ENTER)
    inbox.find("#new-sender").send_keys("+447700900123")
    inbox.find("#new-text").send_keys("Hi", Keys.ENTER)
    inbox.wait_for("history", "Hi")
    inbox.find("#more").send_keys(Keys.ENTER)
    inbox.find("#latitude").send_keys("52.08")
    inbox.find("#longitude").send_keys("4.31")
    inbox.find("#customer-text").send_keys(Keys.ENTER)
    inbox.wait_for("history", "52.08, 4.31")


def test_a_fault_makes_the_next_send_unknown(inbox: Inbox) -> None:
    """A fault that is switched on in the page makes the next message `UNKNOWN`; the page shows the request that got it."""
    from selenium.webdriver.support.ui import Select

    Select(inbox.find("#fault")).select_by_visible_text("accept_then_close")
    assert "Outcome: UNKNOWN" in inbox.find("#fault-effect").text
    inbox.find("#fault-times").send_keys("1")
    inbox.find("#fault-form button").click()
    inbox.wait_for("panel", "applied 0 of 1 times")
    with pytest.raises(ConnectionLostError) as caught:
        send(inbox.sandbox, TextMessage(to=TO, text="Hello?"))
    assert caught.value.outcome is Outcome.UNKNOWN
    inbox.wait_for("panel", "Latest requests with a fault")
    inbox.wait_for("panel", "No fault is on.")
    send(inbox.sandbox, TextMessage(to=TO, text="Hello!"))


HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"


def test_a_hostile_name_does_nothing(inbox: Inbox) -> None:
    """Names, texts, file names and templates with HTML are shown as they are: no element is made of them, and no script runs."""
    template = SandboxTemplate(title=HOSTILE, text=f"{HOSTILE} {{{{1}}}}")
    inbox.sandbox.call(inbox.sandbox.account.seed, template)
    inbox.sandbox.call(inbox.sandbox.account.seed, SandboxContact(identifier=TO, name=HOSTILE))
    send(
        inbox.sandbox,
        TextMessage(to=TO, text=HOSTILE),
        TemplateMessage(to=TO, template_uuid=template.uuid, optin_contact=True, values=(HOSTILE,)),
        ImageMessage(to=TO, url=f"https://example.com/{quote(HOSTILE)}", caption=HOSTILE),
    )
    inbox.sandbox.receive_message(HOSTILE, sender=TO, attachments=["javascript:document.title='hacked'"])
    inbox.wait_for("chat-name", HOSTILE)
    wait_until(inbox.browser, lambda: len(inbox.texts("#history .bubble")) == 4)
    inbox.find("#history .raw").click()
    inbox.wait_for("panel", "onerror")
    assert inbox.browser.title == "Callbell sandbox"
    assert inbox.texts("img, main script") == []
    assert inbox.browser.find_elements("css selector", "a[href^='javascript']") == []


def test_ten_thousand_messages_come_by_page(inbox: Inbox) -> None:
    """With 10,000 messages in one chat and 1,000 contacts the page shows a part, and leads to all others."""

    def fill() -> None:
        for number in range(1_000):
            account.seed(SandboxContact(identifier=f"+34600{number:06}", name=f"Contact {number}"))
        for number in range(10_000):
            account.receive_message(f"Message {number}", sender=TO)

    account = inbox.sandbox.account
    inbox.sandbox.call(fill)
    inbox.wait_for("history", "Message 9999")
    assert len(inbox.texts("#history .bubble")) == 100
    assert len(inbox.texts("#conversations li")) == 50
    inbox.browser.execute_script("document.querySelector('.mover').click()")
    inbox.wait_for("history", "Message 9899")
    inbox.find("#search").send_keys("Contact 123")
    wait_until(inbox.browser, lambda: len(inbox.texts("#conversations li")) == 1)


def fill_account(sandbox: SandboxThread) -> None:
    """Show what a chat can have."""
    names = ["Bruno Lima", "Chidi Okafor", "Dana Novák", "Emma de Vries", "Farid Haddad", "Grace Lee", "Ann Example"]
    contacts = [{"identifier": f"+4477009001{place:02}", "name": name} for place, name in enumerate(names)]
    contacts[-1]["identifier"] = TO
    sandbox.seed({"contacts": contacts})
    parcel = SandboxTemplate(title="Parcel shipped", text="Hello {{1}}, your parcel {{2}} is on its way.")
    sandbox.call(sandbox.account.seed, parcel)
    for place, contact in enumerate(contacts[:-1]):
        sandbox.receive_message(
            ["Thank you!", "Is it in stock?", "See you on Friday"][place % 3], sender=contact["identifier"]
        )
        sandbox.advance(400)
    sandbox.receive_message("Hi! Where is my parcel?", sender=TO)
    sandbox.advance(60)
    send(
        sandbox,
        TemplateMessage(to=TO, template_uuid=parcel.uuid, optin_contact=True, values=("Ann", "NL-4711")),
        ImageMessage(to=TO, url="https://example.com/parcel.jpg", caption="This is how it looks."),
        DocumentMessage(to=TO, url="https://example.com/invoice.pdf"),
    )
    sandbox.advance(120)
    sandbox.receive_message("Please bring it here:", sender=TO)
    sandbox.receive_message(
        sender=TO, location=Location(latitude=52.0801, longitude=4.3113, map_url="https://www.google.com/maps")
    )
    sandbox.advance(30)
    send(sandbox, TextMessage(to=TO, text="We will. Have a nice day!"))
    send(sandbox, TextMessage(to=TO, text="One more thing: please rate us."))
    sandbox.messages[-1].failure = DeliveryFailure(reason="The recipient's phone can't be reached")
    sandbox.inject(faults.accept_then_close(), times=3, when=lambda request: request.path == "/messages/send")
    with pytest.raises(ConnectionLostError):
        send(sandbox, TextMessage(to="+447700900105", text="We are open until six."))
    sandbox.receive_message("Thank you!", sender=TO)


@pytest.mark.parametrize(
    ("name", "scheme", "size"),
    [("light", "light", (1400, 1060)), ("dark", "dark", (1400, 1060)), ("narrow", "light", (500, 860))],
)
def test_screenshots(inbox: Inbox, name: str, scheme: str, size: tuple[int, int]) -> None:
    """The page shows everything a chat can have, in light and dark mode and on a narrow screen, without scrolling sideways."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    inbox.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        inbox.browser.set_window_size(*size)
        fill_account(inbox.sandbox)
        inbox.sandbox.seed({"webhooks": []})
        inbox.open()
        if name == "narrow":
            wait_until(inbox.browser, lambda: len(inbox.texts("#conversations li")) == 7)
            inbox.find(".conversation").click()
        inbox.wait_for("history", "can't be reached")
        inbox.wait_for("panel", "accept_then_close")
        for selector, text in (("#history", "Hello Ann, your parcel NL-4711"), ("#history", "52.0801, 4.3113")):
            assert text in inbox.find(selector).text
        assert inbox.texts("#history .file a")[:2] == ["parcel.jpg", "invoice.pdf"]
        assert inbox.browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        SCREENSHOTS.mkdir(exist_ok=True)
        assert inbox.browser.save_screenshot(str(SCREENSHOTS / f"inbox-{name}.png"))
        inbox.browser.execute_script("[...document.querySelectorAll('.raw')].at(-3).click()")
        inbox.wait_for("panel", "messageStatusPayload")
        assert inbox.find("#panel pre").is_displayed()
        assert inbox.browser.save_screenshot(str(SCREENSHOTS / f"message-{name}.png"))
    finally:
        inbox.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
