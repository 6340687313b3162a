"""Typical uses, as a type checker sees them; `mypy --strict` reads this file, and nothing runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, assert_never, assert_type

import aiohttp
from aiohttp import web

from callbell_async import (
    AgentSessionUpdated,
    AgentStatusUpdated,
    APIError,
    Attachment,
    AttachmentKind,
    AttemptInfo,
    AudioMessage,
    AuthenticationError,
    BotStatus,
    BulkSendError,
    CallbellClient,
    CallbellError,
    CallInfo,
    Contact,
    ContactConflictError,
    ContactCreated,
    ContactDeleted,
    ContactUpdated,
    Conversation,
    ConversationClosed,
    ConversationOpened,
    CustomMessage,
    Document,
    DocumentMessage,
    Download,
    DownloadError,
    Event,
    HandOffError,
    Image,
    ImageMessage,
    InvalidMessageError,
    Journal,
    JournalEntry,
    Message,
    MessageCreated,
    MessageFailure,
    MessageReceipt,
    MessageStatus,
    MessageStatusUpdated,
    Observer,
    OptOutList,
    Outcome,
    Page,
    Paginator,
    RateLimiter,
    RateLimitError,
    RecipientParser,
    ReconcileReport,
    RefreshReport,
    ReplyFields,
    ResponseDecodeError,
    RetryPolicy,
    RunInfo,
    SendReport,
    SendResult,
    SendRun,
    TeamMembershipUpdated,
    TemplateMessage,
    TextMessage,
    TransportError,
    UnknownEvent,
    Video,
    VideoMessage,
    WindowRateLimiter,
    WindowReceipt,
)
from callbell_async.webhooks import (
    MessageTracker,
    WebhookApp,
    WebhookReceiver,
    add_webhook_route,
    parse_event,
)

TO = "+31612345678"
URL = "https://example.com/my_image.jpeg"


def build_clients(session: aiohttp.ClientSession, limiter: RateLimiter) -> list[CallbellClient]:
    """Every argument has its type, and takes `None` only where it has a meaning."""
    return [
        CallbellClient(),
        CallbellClient("token", timeout=None, connect_timeout=2, rate_limit=None, session=session, user_agent="shop/1"),
        CallbellClient(rate_limit=100, max_connections=10, retry=RetryPolicy(attempts=3, statuses={429, 503})),
        CallbellClient(rate_limit=WindowRateLimiter(1, period=5.0)),
        CallbellClient(rate_limit=limiter),
        CallbellClient(timeout="30"),  # type: ignore[arg-type]
    ]


def build_messages() -> list[Message]:
    """Only arguments with a default may be left out."""
    return [
        TextMessage(
            to=TO, text="Hello!", fields="contact", bot_status="bot_end", metadata={"order": 1234, "new": True}
        ),
        TextMessage(bsuid="US.1", text="Hello!", fields=["contact"], bot_status=BotStatus.BOT_START),
        ImageMessage(to=TO, url=URL, caption="This is my caption"),
        DocumentMessage(to=TO, url=URL, channel="telegram", channel_uuid="a", team_uuid="b", assigned_user="c@d.e"),
        AudioMessage(to=TO, url=URL, type="audio"),
        VideoMessage(to=TO, url=URL, type="video"),
        TemplateMessage(to=TO, template_uuid="a", optin_contact=True, values=["John Doe"], media=Image(URL)),
        TemplateMessage(to=TO, template_uuid="a", optin_contact=True, media=Document(URL)),
        TemplateMessage(to=TO, template_uuid="a", optin_contact=True, values=("John", "Doe"), media=Video(URL)),
        CustomMessage(to=TO, type="location", content={"latitude": 52.37}),
        TextMessage(to=TO),  # type: ignore[call-arg]
        TextMessage(to=31612345678, text="Hello!"),  # type: ignore[arg-type]
        TextMessage(to=TO, text="Hello!", bot_status="start"),  # type: ignore[arg-type]
        TextMessage(to=TO, text="Hello!", metadata={"order": None}),  # type: ignore[dict-item]
        TemplateMessage(to=TO, template_uuid="a"),  # type: ignore[call-arg]
        AudioMessage(to=TO, url=URL, type="video"),  # type: ignore[arg-type]
    ]


async def reply_to(callbell: CallbellClient, event: MessageCreated, other: ContactCreated, journal: Journal) -> None:
    """The fields of a reply are arguments of every class of message, and only a message gets a reply."""
    assert_type(event.reply_fields(), ReplyFields)
    fields = event.reply_fields()
    messages: list[Message] = [
        TextMessage(**fields, text="Hello!"),
        ImageMessage(**fields, url=URL, key="a"),
        DocumentMessage(**fields, url=URL),
        AudioMessage(**fields, url=URL),
        VideoMessage(**fields, url=URL),
        TemplateMessage(**fields, template_uuid="a", optin_contact=True),
        CustomMessage(**fields, type="location", content={"latitude": 52.37}),
        TextMessage(**fields, text="Hello!", to=TO),  # type: ignore[misc]
    ]
    assert_type(await callbell.send(messages[0]), MessageReceipt)
    assert_type(await callbell.reply(event, text="Hello!", key="a", journal=journal), MessageReceipt)
    await callbell.reply(other, text="Hello!")  # type: ignore[arg-type]
    await callbell.reply(event, "Hello!")  # type: ignore[call-arg]


async def send_or_fall_back(callbell: CallbellClient, text: TextMessage, template: TemplateMessage) -> None:
    """The fallback is a template, and the receipt shows which of the two was sent."""
    receipt = await callbell.send_in_window(text, fallback=template, contact_uuid="a", journal=None)
    assert_type(receipt, WindowReceipt)
    assert_type(receipt.is_fallback, bool)
    assert_type(receipt.uuid, str)
    await callbell.send_in_window(text, fallback=text)  # type: ignore[arg-type]


async def download_files(callbell: CallbellClient, event: MessageCreated) -> None:
    """An attachment or a URL is downloaded; the download is read in one of three ways."""
    async with callbell.download(event.attachments[0], max_bytes=1000, timeout=5) as download:
        assert_type(download, Download)
        assert_type(await download.read(), bytes)
        assert_type(download.kind, AttachmentKind | None)
    async with callbell.download("https://example.com/a.jpg") as download:
        assert_type(await download.save("received", overwrite=True), Path)
        async for piece in download:
            assert_type(piece, bytes)


async def change_contacts(callbell: CallbellClient) -> None:
    """Tags are given one by one, and a hand-off returns the contact."""
    assert_type(await callbell.contacts.add_tags("a", "vip", "paid"), Contact)
    assert_type(await callbell.contacts.remove_tags("a", "vip"), Contact)
    await callbell.contacts.add_tags("a", ["vip"])  # type: ignore[arg-type]
    try:
        assert_type(await callbell.contacts.hand_off("a", team="b", note="c", end_bot=False), Contact)
    except HandOffError as error:
        assert_type(error.steps, dict[str, Outcome])
    except ContactConflictError:
        pass
    except DownloadError as error:
        assert_type(error.expired, bool)


def read_a_message(message: TextMessage, template: TemplateMessage) -> None:
    """Fields have their types after the checks, and can't be set."""
    assert_type(message.to, str | None)
    assert_type(message.text, str)
    assert_type(message.fields, tuple[str, ...])
    assert_type(message.bot_status, BotStatus | None)
    assert_type(message.metadata, Mapping[str, str])
    assert_type(template.values, tuple[str, ...])
    assert_type(template.media, Image | Document | Video | None)
    message.text = "Bye!"  # type: ignore[misc]


class CountingObserver(Observer):
    """Overrides two moments; a checker sees the types of their arguments."""

    def attempt_ended(self, call: CallInfo, attempt: AttemptInfo, seconds: float) -> None:
        """An attempt has ended."""
        assert_type(attempt.status, int | None)
        assert_type(call.route, str)
        assert_type(call.run, RunInfo | None)
        call.index = 3  # type: ignore[misc]

    def run_ended(self, run: RunInfo, summary: str) -> None:  # type: ignore[override]
        """A parameter of another type is an error."""


async def use_other_options(callbell: CallbellClient) -> None:
    """A client with options has the type of the client from which it comes."""
    fast = callbell.with_options(timeout=None, retry=RetryPolicy.web_request(), headers={"X-Shop": "7"})
    assert_type(fast, CallbellClient)
    assert_type(fast.with_options(observer=[CountingObserver(), Observer()]), CallbellClient)
    assert_type(RetryPolicy.batch(), RetryPolicy)
    callbell.with_options(timeout="5")  # type: ignore[arg-type]
    callbell.with_options(observer=3)  # type: ignore[arg-type]


async def send_one(callbell: CallbellClient) -> None:
    """Sending returns a receipt, whose fields have types."""
    receipt = await callbell.send(TextMessage(to=TO, text="Hello!"))
    assert_type(receipt, MessageReceipt)
    assert_type(await callbell.messages.send(TextMessage(to=TO, text="Hello!")), MessageReceipt)
    assert_type(receipt.uuid, str)
    assert_type(receipt.status, MessageStatus | str | None)
    assert_type(receipt.contact, Contact | None)
    assert_type(receipt.conversation, Conversation | None)
    assert_type(receipt.metadata, Mapping[str, str])
    assert_type(receipt.raw, Mapping[str, Any])
    if receipt.contact is not None:
        assert_type(receipt.contact.phone_number, str | None)
        assert_type(receipt.contact.created_at, datetime | None)
        assert_type(receipt.contact.tags, tuple[str, ...])
    await callbell.send("Hello!")  # type: ignore[arg-type]


async def call_without_a_method(callbell: CallbellClient) -> None:
    """An endpoint without a method takes and returns JSON."""
    assert_type(await callbell.request("GET", "/plan", query={"page": 1}), Any)
    assert_type(await callbell.request("POST", "/contacts", json={"name": "John"}), Any)


async def read_a_list(callbell: CallbellClient) -> None:
    """A paginator returns items, pages, a list or the first item; it can't be awaited."""
    contacts = callbell.contacts.list(tags=["lead"])
    assert_type(contacts, Paginator[Contact])
    async for contact in contacts:
        assert_type(contact, Contact)
    async for page in contacts.pages():
        assert_type(page, Page[Contact])
        assert_type(page.items, tuple[Contact, ...])
        assert_type(page.total_pages, int | None)
    assert_type(await contacts.to_list(limit=10), list[Contact])
    assert_type(await contacts.first(), Contact | None)
    await contacts  # type: ignore[misc]


async def open_and_close() -> None:
    """A client is a context manager that returns itself."""
    async with CallbellClient("token") as callbell:
        assert_type(callbell, CallbellClient)
    assert_type(callbell.closed, bool)
    await callbell.close()


async def send_many(callbell: CallbellClient, messages: Sequence[TextMessage], rows: AsyncIterator[Message]) -> None:
    """An awaited run returns a report, and an iterated run yields results. The input may hold errors in place of messages."""
    run = callbell.send_many(messages, concurrency=50, stop_on=(AuthenticationError,), shutdown_timeout=1.5)
    assert_type(run, SendRun)
    assert_type(run.stop_error, BaseException | None)
    assert_type(run.paused_for, float | None)
    report = await run
    assert_type(report, SendReport)
    assert_type(report.accepted, int)
    assert_type(report.rate, float)
    assert_type(report.results, tuple[SendResult, ...])
    opt_outs = OptOutList.read("opt-outs.csv", parser=RecipientParser(region="ES", strict=True))
    assert_type((await callbell.send_many(messages, exclude=opt_outs)).opted_out, int)
    assert_type(await callbell.send_many(messages, exclude=["+31612345678"]), SendReport)
    async for result in callbell.send_many(rows, on_result=print):
        assert_type(result, SendResult)
        assert_type(result.index, int)
        assert_type(result.outcome, Outcome)
        assert_type(result.receipt, MessageReceipt | None)
        assert_type(result.message, Message | InvalidMessageError)
        assert_type(result.error, BaseException | None)
        assert_type(result.attempts, int)
    await callbell.send_many([InvalidMessageError("text", "must not be blank"), TextMessage(to=TO, text="Hello!")])
    await callbell.send_many(["Hello!"])  # type: ignore[list-item]
    try:
        report.raise_for_failures()
    except BulkSendError as error:
        assert_type(error.outcome, Outcome)


async def catch_errors(callbell: CallbellClient, message: Message) -> None:
    """Each exception's attributes have their types, and every exception has the outcome of the message."""
    try:
        await callbell.send(message)
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except APIError as error:
        assert_type(error.status, int)
        assert_type(error.code, str | None)
        assert_type(error.message, str | None)
        assert_type(error.errors, dict[str, tuple[str, ...]])
        assert_type(error.headers, dict[str, str])
        assert_type(error.body, bytes)
        assert_type(error.path, str)
    except ResponseDecodeError as error:
        assert_type(error.status, int)
    except TransportError as error:
        assert_type(error.reason, str)
        assert_type(error.method, str)
    except InvalidMessageError as error:
        assert_type(error.field, str)
    except CallbellError as error:
        assert_type(error.outcome, Outcome)
        assert_type(error.attempts, int)


async def use_a_journal(callbell: CallbellClient, messages: Sequence[TextMessage]) -> None:
    """A journal is a context manager; its counts, entries and reports have types."""
    async with Journal("spring.db", risk_power_loss=True) as journal:
        assert_type(journal, Journal)
        assert_type(await callbell.send_many(messages, journal=journal), SendReport)
        assert_type(await callbell.send(messages[0], journal=journal), MessageReceipt)
        assert_type(Journal.connect("postgresql://127.0.0.1/shop", name="spring"), Journal)
        assert_type(await journal.counts(), dict[Outcome, int])
        assert_type(await journal.funnel(), dict[MessageStatus | str, int])
        assert_type(await journal.entry("key"), JournalEntry | None)
        async for entry in journal.entries(Outcome.UNKNOWN):
            assert_type(entry.receipt, MessageReceipt | None)
        assert_type(await callbell.reconcile(journal), ReconcileReport)
        assert_type(await callbell.refresh(journal), RefreshReport)
    await callbell.send_many(messages, journal="spring.db")  # type: ignore[arg-type]


def describe(event: Event) -> str | None:
    """A `match` over all kinds of events is exhaustive: a type checker accepts `assert_never`, and the missing `return`."""
    match event:
        case MessageCreated() | MessageStatusUpdated():
            return event.uuid
        case ContactCreated() | ContactUpdated() | ConversationOpened() | ConversationClosed():
            return None if event.contact is None else event.contact.uuid
        case ContactDeleted():
            return event.uuid
        case AgentStatusUpdated() | AgentSessionUpdated() | TeamMembershipUpdated():
            return None if event.user is None else event.user.email
        case UnknownEvent():
            return event.name
        case _:
            assert_never(event)


def describe_some(event: Event) -> str | None:
    """A `match` that leaves out a kind of event is an error for a type checker."""
    match event:
        case MessageCreated() | MessageStatusUpdated():
            return event.uuid
        case _:
            assert_never(event)  # type: ignore[arg-type]


async def receive_events(app: web.Application, body: bytes) -> None:
    """A handler may be a coroutine function or a plain one; a `match` narrows the event."""

    async def handler(event: Event) -> None:
        match event:
            case MessageCreated(is_incoming=True):
                assert_type(event.attachments, tuple[Attachment, ...])
            case MessageStatusUpdated():
                assert_type(event.failure, MessageFailure | None)
            case UnknownEvent():
                assert_type(event.payload, Any)

    receiver = add_webhook_route(app, "/callbell", handler, secret="whsec_x", respond_after="handler")
    assert_type(receiver, WebhookReceiver)
    assert_type(receiver.stats.refused, int)
    assert_type(WebhookApp(print, unsigned=True).receiver, WebhookReceiver)
    assert_type(parse_event(body), Event)
    async for event in WebhookReceiver(secret=["whsec_a", "whsec_b"]):
        assert_type(event, Event)
    add_webhook_route(app, "/callbell", handler, secret="whsec_x", respond_after="soon")  # type: ignore[arg-type]
    sent = MessageTracker(receiver).track(MessageReceipt("uuid"))
    assert_type(await sent.wait_for(MessageStatus.READ), MessageReceipt)
