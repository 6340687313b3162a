"""The HTTP request for each kind of message, and the receipt that is returned."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from callbell_async import (
    AudioMessage,
    BotStatus,
    CallbellClient,
    Contact,
    Conversation,
    CustomMessage,
    Document,
    DocumentMessage,
    Image,
    ImageMessage,
    InvalidMessageError,
    Message,
    MessageReceipt,
    MessageStatus,
    TemplateMessage,
    TextMessage,
    Video,
    VideoMessage,
    __version__,
)
from tests.fixtures import request_body, request_names, response_body, response_names

pytestmark = pytest.mark.usefixtures("http_path")

TOKEN = "test_gshuPaZoeEG6ovbc8M79w0QyM"
TO = "+31612345678"
BSUID = "US.13491208655302741918"
# Read beforehand: a test's event loop reads no files.
BODIES = {name: request_body(name) for name in request_names()}
RESPONSES = {name: response_body("messages", name) for name in response_names("messages")}
TEMPLATE: dict[str, Any] = {"to": TO, "template_uuid": "d980fb66fd5043d3ace1aa06ba044342", "optin_contact": True}


class Seen(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Recorder:
    """A server that keeps each request as it arrived, and responds with `response` to all."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.response = RESPONSES["post_send"]
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to one request."""
        self.seen.append(Seen(request.method, request.raw_path, dict(request.headers), await request.read()))
        return web.Response(body=self.response, content_type="application/json")


@pytest.fixture
async def callbell_api() -> AsyncIterator[Recorder]:
    """A local server that records its requests."""
    recorder = Recorder()
    async with RawTestServer(recorder.handle, host="127.0.0.1") as server:
        recorder.url = str(server.make_url("/v1"))
        yield recorder


def text(**arguments: Any) -> TextMessage:
    """Return the documented text message with further arguments."""
    return TextMessage(**{"to": TO, "text": "Hello!", **arguments})


MESSAGES: dict[str, Message] = {
    # The oldest documentation.
    "text": text(),
    "image": ImageMessage(to=TO, url="https://example.com/my_image.jpeg"),
    "image_with_caption": ImageMessage(to=TO, url="https://example.com/my_image.jpeg", caption="This is my caption"),
    "document": DocumentMessage(to=TO, url="https://example.com/my_image.pdf"),
    "audio": AudioMessage(to=TO, url="https://example.com/my_audio.mp3"),
    "video": VideoMessage(to=TO, url="https://example.com/my_video.mp4"),
    "template": TemplateMessage(**TEMPLATE, values=["John Doe"]),
    "template_image": TemplateMessage(
        **TEMPLATE, values=["John Doe"], media=Image("https://example.com/valid_image.jpeg")
    ),
    "template_document": TemplateMessage(
        **TEMPLATE, values=["John Doe"], media=Document("https://example.com/valid_document.pdf")
    ),
    "template_video": TemplateMessage(
        **TEMPLATE, values=["John Doe"], media=Video("https://example.com/valid_video.mp4")
    ),
    # Additions of newer documentation.
    "template_several_values": TemplateMessage(**TEMPLATE, values=["John Doe", "12 March"]),
    "template_image_several_values": TemplateMessage(
        **TEMPLATE, values=("John Doe", "12 March"), media=Image("https://example.com/valid_image.jpeg")
    ),
    "template_without_values": TemplateMessage(**TEMPLATE),
    "metadata": text(metadata={"order": "1234", "campaign": "spring"}),
    "metadata_of_other_types": text(metadata={"order": 1234, "price": 9.5, "first": True, "last": False, "note": ""}),
    "assigned_user": text(assigned_user="john.doe@email.com"),
    "team_uuid": text(team_uuid="a6e1f3e2d1c04b5f9a7b8c9d0e1f2a3b"),
    "channel_uuid": text(channel_uuid="b3670b13446b412796238b1cd78899f9"),
    "bot_start": text(bot_status=BotStatus.BOT_START),
    "bot_end": text(bot_status="bot_end"),
    "fields_contact": text(fields=["contact"]),
    "fields_conversation": text(fields=("conversation",)),
    "fields_conversation_and_contact": text(fields="conversation, contact"),
    "bsuid": TextMessage(bsuid=BSUID, text="Hello!"),
    "to_and_bsuid": text(bsuid=BSUID),
    "document_with_caption": DocumentMessage(
        to=TO, url="https://example.com/my_image.pdf", caption="This is my caption"
    ),
    "video_with_caption": VideoMessage(to=TO, url="https://example.com/my_video.mp4", caption="This is my caption"),
    "audio_as_audio": AudioMessage(to=TO, url="https://example.com/my_audio.mp3", type="audio"),
    "video_as_video": VideoMessage(to=TO, url="https://example.com/my_video.mp4", type="video"),
    "instagram": text(to="17841400000000000", channel="instagram"),
    "everything": text(
        bsuid=BSUID,
        channel_uuid="b3670b13446b412796238b1cd78899f9",
        assigned_user="john.doe@email.com",
        team_uuid="a6e1f3e2d1c04b5f9a7b8c9d0e1f2a3b",
        fields=["contact"],
        bot_status="bot_end",
        metadata={"order": "1234"},
    ),
    "custom": CustomMessage(
        to=TO,
        type="location",
        content={"latitude": 52.37, "longitude": 4.9, "name": "Dam", "labels": ["a", None, True]},
    ),
}

SPELLINGS = {
    "31612345678": "31612345678",
    "+31 6 12345678": TO,
    "0031-612.345.678": TO,
    "+31 (6) 1234 5678": TO,
    "\u202a+31\u00a06\u201112345678\u202c": TO,
}

UUID = "adf3d1216d4c4dcd908199d6700f2381"
CONTACT = Contact(
    uuid="c7b3d1216d4c4dcd908199d6700f2381", name="John Doe", phone_number="+1234567890", email="john@doe.com"
)
CONVERSATION = Conversation(
    source="whatsapp",
    href="https://dash.callbell.eu/chat/f3670b13446b412796238b1cd78899f9",
    created_at=datetime(2024, 9, 23, 20, 9, 10, tzinfo=UTC),
)
RECEIPTS = {
    "post_send": MessageReceipt(UUID, MessageStatus.ENQUEUED),
    "post_send.fields=contact": MessageReceipt(UUID, MessageStatus.ENQUEUED, contact=CONTACT),
    "post_send.fields=conversation": MessageReceipt(UUID, MessageStatus.ENQUEUED, conversation=CONVERSATION),
    "post_send.fields=conversation,contact": MessageReceipt(
        UUID, MessageStatus.ENQUEUED, contact=CONTACT, conversation=CONVERSATION
    ),
    "get_status": MessageReceipt(
        UUID,
        MessageStatus.ENQUEUED,
        {
            "id": "2b34bfb7-2631-4763-89fb-1b3c65a4baaa",
            "type": "enqueued",
            "payload": {"type": "session", "whatsappMessageId": "gBGGM2MSRxl_AAlqmG1KQXU7nz4"},
            "destination": "1122334455",
        },
    ),
}
RESPONSE_TO = {
    "fields_contact": "post_send.fields=contact",
    "fields_conversation": "post_send.fields=conversation",
    "fields_conversation_and_contact": "post_send.fields=conversation,contact",
    "everything": "post_send.fields=contact",
}


@pytest.mark.parametrize("example", BODIES)
async def test_each_message_is_sent_as_documented(callbell_api: Recorder, example: str) -> None:
    """Each kind of message is sent with exactly the documented method, path, headers and body, and returns its receipt."""
    response = RESPONSE_TO.get(example, "post_send")
    callbell_api.response = RESPONSES[response]
    async with CallbellClient(TOKEN, base_url=callbell_api.url) as callbell:
        receipt = await callbell.send(MESSAGES[example])

    assert receipt == RECEIPTS[response]
    (seen,) = callbell_api.seen
    assert (seen.method, seen.path) == ("POST", "/v1/messages/send")
    assert json.loads(seen.body) == BODIES[example]
    # These belong to aiohttp's framing.
    framing = {"Host", "Accept-Encoding", "Content-Length"}
    assert {name: value for name, value in seen.headers.items() if name not in framing} == {
        "Authorization": f"Bearer {TOKEN}",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": (
            f"callbell-async/{__version__} aiohttp/{aiohttp.__version__} "
            f"python/{sys.version_info.major}.{sys.version_info.minor}"
        ),
    }


def test_every_example_has_a_message() -> None:
    """Every documented example has a message here, and every message has an example."""
    assert sorted(MESSAGES) == sorted(BODIES)


@pytest.mark.parametrize("written", SPELLINGS)
async def test_a_number_is_sent_normalized(callbell_api: Recorder, written: str) -> None:
    """In whatever form a number is given, Callbell gets digits, with a `+` or without."""
    async with CallbellClient(TOKEN, base_url=callbell_api.url) as callbell:
        await callbell.send(text(to=written))
    assert json.loads(callbell_api.seen[0].body)["to"] == SPELLINGS[written]


@pytest.mark.parametrize("response", RESPONSES)
async def test_each_documented_response_gives_its_receipt(callbell_api: Recorder, response: str) -> None:
    """A `MessageSendRequest` is read in every documented form, and its JSON is kept unchanged."""
    callbell_api.response = RESPONSES[response]
    async with CallbellClient(TOKEN, base_url=callbell_api.url) as callbell:
        receipt = await callbell.send(text())
    assert receipt == RECEIPTS[response]
    assert receipt.raw == json.loads(callbell_api.response)["message"]


class Unknown(Message):
    """A kind of message without a writer."""


REFUSED: dict[str, Callable[[], Any]] = {
    "no recipient": lambda: TextMessage(text="Hello!"),
    "letters in the number": lambda: text(to="+31 six 12345678"),
    "blank text": lambda: text(text=" \n"),
    "no opt-in": lambda: TemplateMessage(**{**TEMPLATE, "optin_contact": False}),
    "11 pairs": lambda: text(metadata={str(index): "" for index in range(11)}),
    "key of 51": lambda: text(metadata={"k" * 51: ""}),
    "value of 501": lambda: text(metadata={"k": "v" * 501}),
    "no http": lambda: ImageMessage(to=TO, url="ftp://example.com/my_image.jpeg"),
    "not JSON": lambda: CustomMessage(to=TO, type="location", content={"at": object()}),
    "unknown kind": lambda: Unknown(to=TO),
    "no message": lambda: {"to": TO, "text": "Hello!"},
}


@pytest.mark.parametrize("wrong", REFUSED)
async def test_a_wrong_message_is_not_sent(callbell_api: Recorder, wrong: str) -> None:
    """A wrong message raises `InvalidMessageError`, and nothing is sent."""
    async with CallbellClient(TOKEN, base_url=callbell_api.url) as callbell:
        with pytest.raises(InvalidMessageError):
            await callbell.send(REFUSED[wrong]())
    assert callbell_api.seen == []
