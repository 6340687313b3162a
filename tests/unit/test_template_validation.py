"""Checks of a message before it is sent: WhatsApp's limits, and whether a template message fits its template."""

from __future__ import annotations

from typing import Any

import pytest

from callbell_async import (
    AudioMessage,
    CustomMessage,
    Document,
    DocumentMessage,
    Image,
    ImageMessage,
    InvalidMessageError,
    Message,
    NotFoundError,
    Template,
    TemplateMessage,
    TextMessage,
    Video,
    VideoMessage,
)
from callbell_async.models.template_validation import check_message, check_template, fill_template
from tests.support.recorder import recorded_client

URL = "https://example.com/file"


def message(**arguments: Any) -> TemplateMessage:
    """A template message."""
    return TemplateMessage(to="+31612345678", template_uuid="t", optin_contact=True, **arguments)


def template(**arguments: Any) -> Template:
    """An approved template."""
    return Template(**{"status": "approved", "template_type": "text", "text": "Hello", **arguments})


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (message(), template()),
        (message(values=["a"]), template(text="Hello {{1}}")),
        (message(values=["a", "b"]), template(text="{{2}}, {{ 1 }} and {{1}}")),
        (message(media=Image(URL)), template(template_type="image")),
        (message(media=Document(URL)), template(template_type="document")),
        (message(media=Video(URL)), template(template_type="video")),
        (message(values=["a"], media=Video(URL)), Template()),
        (message(media=Video(URL)), template(template_type="hologram")),
    ],
)
def test_a_message_that_fits_passes(given: TemplateMessage, made: Template) -> None:
    """As many values as placeholders and the right media pass; a property that the response lacks is not checked."""
    check_template(given, made)


@pytest.mark.parametrize(
    ("given", "made", "field"),
    [
        (message(), template(status="pending"), "template_uuid"),
        (message(), template(status="asleep"), "template_uuid"),
        (message(), template(text="Hello {{1}}"), "values"),
        (message(values=["a", "b"]), template(text="Hello {{1}}"), "values"),
        (message(values=["a"]), template(), "values"),
        (message(values=["a"]), template(text="{{1}} {{2}}"), "values"),
        (message(media=Image(URL)), template(), "media"),
        (message(), template(template_type="image"), "media"),
        (message(media=Image(URL)), template(template_type="video"), "media"),
    ],
)
def test_a_message_that_does_not_fit_is_refused_by_field(given: TemplateMessage, made: Template, field: str) -> None:
    """A message that Callbell would not send is refused with the field to correct."""
    with pytest.raises(InvalidMessageError) as caught:
        check_template(given, made)
    assert caught.value.field == field


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb", "a\tb", "a     b"])
def test_a_value_that_whatsapp_refuses_does_not_fit(value: str) -> None:
    """A value with a line break, a tab or five blanks is refused with its place, before anything is sent."""
    with pytest.raises(InvalidMessageError) as caught:
        check_template(message(values=["a", value]), template(text="{{1}} {{2}}"))
    assert caught.value.field == "values[1]"


TO = "+31612345678"


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        (TextMessage(to=TO, text="x" * 4096), []),
        (
            TextMessage(to=TO, text="x" * 4097),
            [("text", "has 4097 characters; WhatsApp takes at most 4096, so shorten it")],
        ),
        (ImageMessage(to=TO, url=URL), []),
        (ImageMessage(to=TO, url=URL, caption="x" * 1024), []),
        *(
            (
                kind(to=TO, url=URL, caption="x" * 1025),
                [("caption", "has 1025 characters; WhatsApp takes at most 1024, so shorten it")],
            )
            for kind in (ImageMessage, DocumentMessage, VideoMessage)
        ),
        (AudioMessage(to=TO, url=URL), []),
        (CustomMessage(to=TO, type="poll", content={"text": "x" * 5000}), []),
        (message(values=["a    b", "\u00a0" * 5 + "a", "a\u2028b"]), []),
        (
            message(values=["a", "b\n", "c", "d\te     f"]),
            [
                (
                    "values[1]",
                    "has a line break, which WhatsApp does not take in a template value; replace it by a blank",
                ),
                ("values[3]", "has a tab, which WhatsApp does not take in a template value; replace it by a blank"),
                (
                    "values[3]",
                    "has more than four blanks in a row, which WhatsApp does not take in a template value; remove some",
                ),
            ],
        ),
        (TextMessage(to="1234", channel="telegram", text="x" * 5000), []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)
def test_a_message_has_the_faults_that_whatsapp_finds(given: Message, faults: list[tuple[str, str]]) -> None:
    """Every text, caption and value that WhatsApp would refuse is reported by field and remedy; nothing else is."""
    assert [(fault.field, fault.reason) for fault in check_message(given)] == faults


@pytest.mark.parametrize(
    ("text", "values", "filled"),
    [
        ("Hello", ["a"], "Hello"),
        ("{{1}}, {{ 2 }} and {{1}}", ["a", "b"], "a, b and a"),
        ("{{1}} {{2}}", ["{{2}}", "b"], "{{2}} b"),
        ("{{0}} {{2}} {{x}} {1}", ["a"], "{{0}} {{2}} {{x}} {1}"),
    ],
)
def test_a_filled_template_is_what_the_customer_reads(text: str, values: list[str], filled: str) -> None:
    """Each placeholder with a value is replaced, once; every other stays."""
    assert fill_template(text, values) == filled


async def test_requests_the_message_s_template() -> None:
    """`templates.check` requests the template and returns it when the message fits."""
    async with recorded_client() as (callbell, recorder):
        recorder.respond_with({"template": {"uuid": "t", "status": "approved", "text": "Hello {{1}}"}})
        assert (await callbell.templates.check(message(values=["Ada"]))).uuid == "t"
        with pytest.raises(
            InvalidMessageError, match="the template has 1 placeholder, and the message has 0 values; give 1"
        ):
            await callbell.templates.check(message())
        with pytest.raises(InvalidMessageError, match=r"values\[0\]: has a line break"):
            await callbell.templates.check(message(values=["Ada\nLovelace"]))
    assert {request.target for request in recorder.requests} == {"/v1/templates/t"}


async def test_a_template_that_does_not_exist_is_an_invalid_message() -> None:
    """An unknown template is refused by field as well, with Callbell's refusal as the cause."""
    async with recorded_client() as (callbell, recorder):
        recorder.respond_with({"error": "not found"}, status=404)
        with pytest.raises(InvalidMessageError, match="template_uuid: the template does not exist") as caught:
            await callbell.templates.check(message())
    assert isinstance(caught.value.__cause__, NotFoundError)
