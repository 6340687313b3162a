"""From the options of the command line and the cells of a row to a message, and the check of its template."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from callbell_async.cli.input_rows import Row
from callbell_async.cli.placeholders import TextTemplate, split_values
from callbell_async.errors import ConfigurationError, InvalidMessageError
from callbell_async.models.messages import (
    WHATSAPP,
    AudioMessage,
    Document,
    DocumentMessage,
    Image,
    ImageMessage,
    Media,
    Message,
    TemplateMessage,
    TextMessage,
    Video,
    VideoMessage,
)
from callbell_async.models.results import Item
from callbell_async.models.template_validation import check_message
from callbell_async.recipients.parser import RecipientParser

if TYPE_CHECKING:
    from callbell_async.client import CallbellClient

__all__ = ["MessageForm", "MessagePlan", "check_template", "message_to", "plan_for_rows", "recipient_parser"]

_FIELDS = {
    "text": "text",
    "template": "template_uuid",
    "image": "url",
    "document": "url",
    "audio": "url",
    "video": "url",
}
"""The options for the kinds of message, and the field of the message that each fills."""
_CAPTIONED: dict[str, Callable[..., Message]] = {
    "image": ImageMessage,
    "document": DocumentMessage,
    "video": VideoMessage,
}
_MEDIA: dict[str, Callable[[str], Media]] = {"image": Image, "document": Document, "video": Video}
_OPTIONAL = {"channel_uuid": "channel_uuid", "team": "team_uuid", "assigned_user": "assigned_user"}
"""The options that may be blank in a row, and the fields that they fill."""

_SAMPLE_NUMBER = "+34600000000"

_SCIENTIFIC = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+")
_SCIENTIFIC_KEY = re.compile(r"\d[.,]\d+[eE]\+\d+")
"""As a spreadsheet writes it; `1E5` may be a key."""
_SCIENTIFIC_REMEDY = (
    "is in scientific notation, and its last digits are lost; in the spreadsheet, format the column as text or as a number "
    "without decimals, and save the file again"
)
_NATIONAL = re.compile(r"[\s(]*0[\s(]*[1-9](?:[^0-9a-zA-Z]*[0-9]){5,12}\s*")
"""One number as it is dialled inside its country."""
_APOSTROPHES = ("'", "\N{LEFT SINGLE QUOTATION MARK}", "\N{RIGHT SINGLE QUOTATION MARK}")


@attrs.frozen(kw_only=True)
class MessageForm:
    """The options that define the messages. Each text may hold `{column}` placeholders."""

    text: str | None = None
    template: str | None = None
    values: str | None = None
    optin: bool = False
    image: str | None = None
    document: str | None = None
    audio: str | None = None
    video: str | None = None
    caption: str | None = None
    channel: str = WHATSAPP
    region: str | None = None
    strict: bool = False
    channel_uuid: str | None = None
    team: str | None = None
    assigned_user: str | None = None
    metadata: Sequence[str] = ()
    allow_empty: bool = False


class MessagePlan:
    """Builds the message for each row. `plan_for_rows` and `message_to` create it.

    Raises:
        ConfigurationError: Options that can't be combined; the error names them.
    """

    def __init__(
        self,
        form: MessageForm,
        *,
        to: TextTemplate,
        bsuid: TextTemplate | None = None,
        key: TextTemplate | None = None,
        metadata: Mapping[str, TextTemplate],
        read: Callable[[str, str], TextTemplate],
    ) -> None:
        self._kind, self._media_kind = _kinds_of(form)
        _check_combination(form, self._kind, self._media_kind)
        self._channel = form.channel
        self._parse = recipient_parser(form)
        self._may_be_national = form.region is None and form.channel == WHATSAPP
        self._to = to
        self._bsuid = bsuid
        self._key = key
        self._metadata = metadata
        self._texts: dict[str, TextTemplate] = {}
        for name in (*_FIELDS, "caption", *_OPTIONAL):
            if (text := getattr(form, name)) is not None:
                self._texts[name] = read(text, _option(name))
        self._values = [read(value, "--values") for value in split_values(form.values or "")]
        self._values_by_field = dict(self._fields())

    def _fields(self) -> Iterator[tuple[str, TextTemplate]]:
        """The fields of the message, and the value that fills each."""
        yield "to", self._to
        if self._bsuid is not None:
            yield "bsuid", self._bsuid
        if self._key is not None:
            yield "key", self._key
        for name, text in self._texts.items():
            yield "media.url" if name == self._media_kind else {**_FIELDS, **_OPTIONAL}.get(name, name), text
        for index, value in enumerate(self._values):
            yield f"values[{index}]", value
        for name, value in self._metadata.items():
            yield f"metadata[{name!r}]", value

    def required_columns(self) -> Iterator[tuple[str, list[str]]]:
        """Return the columns that the rows must have, by the option that names them."""
        for field, value in self._values_by_field.items():
            # A row with a BSUID needs no number.
            if field != "to" or self._bsuid is None:
                yield value.option, value.columns

    def check_options(self) -> None:
        """Check the options that are the same for every row. Raises `ConfigurationError`, which names the option."""
        # A URL is a good text, too, so it can be in place of any column but the recipient's.
        cells = {name: "https://example.com/" for _, columns in self.required_columns() for name in columns}
        cells |= dict.fromkeys(self._to.columns, _SAMPLE_NUMBER)
        try:
            self._message(cells)
        except InvalidMessageError as error:
            value = self._values_by_field.get(error.field)
            if value is not None and not value.columns:
                raise ConfigurationError(f"{value.option}: {error.reason}") from None

    def template_sample(self) -> TemplateMessage | None:
        """Return a message with the plan's template and as many values and media, to be checked before the rows.

        `None` for a plan without a template, or with a template that is in a column.
        """
        if self._kind != "template" or self._texts["template"].columns:
            return None
        return TemplateMessage(
            bsuid="sample",
            template_uuid=self._texts["template"].fill({}),
            optin_contact=True,
            values=tuple("x" for _ in self._values),
            media=None if self._media_kind is None else _MEDIA[self._media_kind]("https://example.com/"),
        )

    def with_template(self, uuid: str) -> MessagePlan:
        """Return the same plan with another template."""
        plan = copy.copy(self)
        plan._texts = {**self._texts, "template": TextTemplate.literal(uuid, "--template")}
        plan._values_by_field = dict(plan._fields())
        return plan

    def item(self, row: Row) -> Item:
        """Return the message for a row, or its error, which names the column."""
        if row.error is not None:
            return InvalidMessageError("row", row.error)
        try:
            return self._message(row.cells)
        except InvalidMessageError as error:
            return self._with_source(error, row.cells)

    def message(self, cells: Mapping[str, str]) -> Message:
        """Return the message for these cells. Raises `InvalidMessageError`, which names the column or the option."""
        try:
            return self._message(cells)
        except InvalidMessageError as error:
            raise self._with_source(error, cells) from None

    def _with_source(self, error: InvalidMessageError, cells: Mapping[str, str]) -> InvalidMessageError:
        """The same error with the column or the option in place of the message's field."""
        value = self._values_by_field.get(error.field)
        # A new one in any case: the error that was raised keeps the frames of its traceback in memory.
        if value is None:
            return InvalidMessageError(error.field, error.reason)
        if error.field != "to":
            return InvalidMessageError(value.source, error.reason)
        number = value.fill(cells)
        reason = _number_remedy(number) or error.reason
        if self._may_be_national and _NATIONAL.fullmatch(number):
            reason += ", or name its country with --region, such as --region NL"
        return InvalidMessageError(value.source, reason)

    def _message(self, cells: Mapping[str, str]) -> Message:
        message = self._build(cells)
        for fault in check_message(message):
            raise fault
        return message

    def _build(self, cells: Mapping[str, str]) -> Message:
        shared: dict[str, Any] = {
            **self._recipient(cells),
            "channel": self._channel,
            "metadata": {name: value.fill(cells) for name, value in self._metadata.items()},
        }
        for name, field in _OPTIONAL.items():
            shared[field] = self._optional(name, cells)
        if self._key is not None:
            shared["key"] = _checked_key(self._key.fill(cells))
        content = self._texts[self._kind].fill(cells)
        match self._kind:
            case "text":
                return TextMessage(text=content, **shared)
            case "audio":
                return AudioMessage(url=content, **shared)
            case "template":
                values = tuple(value.fill(cells) for value in self._values)
                return TemplateMessage(
                    template_uuid=content, optin_contact=True, values=values, media=self._media(cells), **shared
                )
            case _:
                return _CAPTIONED[self._kind](url=content, caption=self._optional("caption", cells), **shared)

    def _recipient(self, cells: Mapping[str, str]) -> dict[str, str]:
        if self._bsuid is None:
            return {"to": self._parsed(self._to.fill(cells))}
        # One of the two is enough, and a JSON object may lack the other.
        found = {"to": cells.get(self._to.columns[0], ""), "bsuid": cells.get(self._bsuid.columns[0], "")}
        if not any(map(str.strip, found.values())):
            raise InvalidMessageError(
                f"{self._to.source} and {self._bsuid.source}",
                "are both empty; give a telephone number or a WhatsApp user ID",
            )
        recipient = {name: cell for name, cell in found.items() if cell.strip()}
        if "to" in recipient:
            recipient["to"] = self._parsed(recipient["to"])
        return recipient

    def _parsed(self, to: str) -> str:
        return to if self._parse is None else self._parse(to)

    def _media(self, cells: Mapping[str, str]) -> Media | None:
        if self._media_kind is None:
            return None
        return _MEDIA[self._media_kind](self._texts[self._media_kind].fill(cells))

    def _optional(self, name: str, cells: Mapping[str, str]) -> str | None:
        text = self._texts.get(name)
        return None if text is None else text.fill(cells).strip() or None


def plan_for_rows(
    form: MessageForm, *, to_column: str = "to", bsuid_column: str | None = None, key_column: str | None = None
) -> MessagePlan:
    """Return the plan for rows: `{column}` is a cell in each text, and each `metadata` is `NAME` or `NAME=COLUMN`."""
    pairs = _pairs(form)
    return MessagePlan(
        form,
        to=TextTemplate.cell(to_column, "--to-column"),
        bsuid=None if bsuid_column is None else TextTemplate.cell(bsuid_column, "--bsuid-column"),
        key=None if key_column is None else TextTemplate.cell(key_column, "--key-column"),
        metadata={
            name: TextTemplate.cell(name if column is None else column, "--metadata") for name, column in pairs.items()
        },
        read=functools.partial(TextTemplate.read, allow_empty=form.allow_empty),
    )


def message_to(to: str, form: MessageForm) -> Message:
    """Return one message: no text has placeholders, and each `metadata` is `NAME=VALUE`. Raises `InvalidMessageError` as well."""
    metadata = {}
    for name, value in _pairs(form).items():
        if value is None:
            raise ConfigurationError("--metadata: write NAME=VALUE")
        metadata[name] = TextTemplate.literal(value, "--metadata")
    plan = MessagePlan(form, to=TextTemplate.literal(to, "TO"), metadata=metadata, read=TextTemplate.literal)
    return plan.message({})


def recipient_parser(form: MessageForm, *, landlines: bool = False) -> RecipientParser | None:
    """Return what reads the recipients; `None` where they need no reading. Raises `ConfigurationError`, which names the option."""
    if form.region is None and not form.strict:
        return None
    option = "--strict" if form.region is None else "--region"
    if form.channel != WHATSAPP:
        raise ConfigurationError(f"{option}: requires --channel whatsapp; other channels have no telephone numbers")
    try:
        return RecipientParser(form.region, strict=form.strict, landlines=landlines)
    except (ConfigurationError, ModuleNotFoundError) as error:
        raise ConfigurationError(f"{option}: {str(error).removeprefix(option[2:]).lstrip('=: ')}") from None


def _number_remedy(number: str) -> str | None:
    """The remedy for a refused telephone number that a spreadsheet has changed."""
    if _SCIENTIFIC.fullmatch(number.strip()):
        return _SCIENTIFIC_REMEDY
    if number.lstrip().startswith(_APOSTROPHES):
        return "begins with an apostrophe, by which a spreadsheet marks text; remove the apostrophe"
    return None


def _checked_key(key: str) -> str:
    # Different keys become equal in this notation, and their rows would count as duplicates.
    if _SCIENTIFIC_KEY.fullmatch(key.strip()):
        raise InvalidMessageError("key", _SCIENTIFIC_REMEDY)
    return key


def _kinds_of(form: MessageForm) -> tuple[str, str | None]:
    """The kind of message, and the kind of a template's media."""
    given = [name for name in _FIELDS if getattr(form, name) is not None]
    media = None
    if "template" in given and len(given) == 2 and given[1] in _MEDIA:
        media = given.pop()
    if len(given) != 1:
        problem = f"{' and '.join(map(_option, given))} can't be combined" if given else "there is nothing to send"
        raise ConfigurationError(
            f"{problem}; give one of {', '.join(map(_option, _FIELDS))} "
            "(--template may have one of --image, --document and --video beside it)"
        )
    return given[0], media


def _check_combination(form: MessageForm, kind: str, media: str | None) -> None:
    if kind == "template" and not form.optin:
        raise ConfigurationError(
            "--template: templates are sent only to contacts who have opted in; add --optin to confirm that all recipients have"
        )
    if kind != "template" and (form.optin or form.values is not None):
        raise ConfigurationError(f"{'--optin' if form.optin else '--values'}: requires --template")
    if form.caption is not None and (kind not in _CAPTIONED or media is not None):
        raise ConfigurationError("--caption: requires --image, --document or --video, without --template")


def _pairs(form: MessageForm) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for name, value in map(_pair, form.metadata):
        if name in pairs:
            raise ConfigurationError(f"--metadata: {name!r} is given twice; each name has one value")
        pairs[name] = value
    return pairs


def _pair(given: str) -> tuple[str, str | None]:
    name, equals, value = given.partition("=")
    if not name.strip():
        raise ConfigurationError("--metadata: has no name before the =")
    return name.strip(), value.strip() if equals else None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


# --- the template ------------------------------------------------------------------------------------------------------

_TEMPLATE_OPTIONS = {
    "template_uuid": "--template",
    "values": "--values",
    "media": "--image, --document or --video",
}
_NO_CHECK = "--no-check skips this check"


async def check_template(callbell: CallbellClient, plan: MessagePlan, *, by_title: bool) -> MessagePlan:
    """Return the plan once it is known that Callbell would send its template: it exists, is approved, and the values and media fit.

    A plan without a template, or with another template for each row, is returned unchecked.

    Args:
        callbell: The client that asks for the template.
        plan: The plan of the run.
        by_title: Accept the title of a template in place of its UUID.

    Raises:
        ConfigurationError: The template would be refused; the error names the option.
        CallbellError: Callbell can't be asked.
    """
    try:
        sample = plan.template_sample()
        if sample is None:
            return plan
        if by_title:
            plan = plan.with_template(await _uuid_of(callbell, sample.template_uuid))
            sample = plan.template_sample() or sample
        await callbell.templates.check(sample)
    except InvalidMessageError as error:
        option = _TEMPLATE_OPTIONS.get(error.field, error.field)
        raise ConfigurationError(f"{option}: {error.reason} ({_NO_CHECK})") from None
    return plan


async def _uuid_of(callbell: CallbellClient, name: str) -> str:
    """The UUID of the template with this UUID or title."""
    titles = []
    async for template in callbell.templates.list():
        if name in (template.uuid, template.title):
            return template.uuid or name
        titles.append(repr(template.title))
    raise ConfigurationError(
        f"--template: there is no template {name!r}; there is {', '.join(titles) or 'none'} ({_NO_CHECK})"
    )
