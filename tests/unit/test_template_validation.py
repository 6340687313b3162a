"""Checking a template message before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from callbell_async import Document, Image, InvalidMessageError, NotFoundError, Template, TemplateMessage, Video
from callbell_async.models.template_validation import check_template
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
def test_what_fits_passes(given: TemplateMessage, made: Template) -> None:
    """As many values as placeholders and the right media pass, and so does what the answer does not speak of."""
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
def test_what_does_not_fit_is_refused_by_field(given: TemplateMessage, made: Template, field: str) -> None:
    """What Callbell would not send is refused with the field to mend."""
    with pytest.raises(InvalidMessageError) as caught:
        check_template(given, made)
    assert caught.value.field == field


async def test_asks_for_the_message_s_template() -> None:
    """`templates.check` reads the template and gives it back when the message fits."""
    async with recorded_client() as (callbell, recorder):
        recorder.answer({"template": {"uuid": "t", "status": "approved", "text": "Hello {{1}}"}})
        assert (await callbell.templates.check(message(values=["Ada"]))).uuid == "t"
        with pytest.raises(InvalidMessageError, match="1 placeholders"):
            await callbell.templates.check(message())
    assert {request.target for request in recorder.requests} == {"/v1/templates/t"}


async def test_a_template_that_is_not_there_is_an_invalid_message() -> None:
    """An unknown template is said by field as well, with Callbell's refusal behind it."""
    async with recorded_client() as (callbell, recorder):
        recorder.answer({"error": "not found"}, status=404)
        with pytest.raises(InvalidMessageError, match="template_uuid: there is no such template") as caught:
            await callbell.templates.check(message())
    assert isinstance(caught.value.__cause__, NotFoundError)
