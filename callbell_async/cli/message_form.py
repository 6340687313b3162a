"""From the options of the command line and the cells of a row to a message; no input and no output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from callbell_async.cli.input_rows import Row
from callbell_async.cli.placeholders import Cell, Filled, Literal, TextTemplate, split_values
from callbell_async.errors import ConfigurationError, InvalidMessageError
from callbell_async.models.messages import (
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

__all__ = ["MessageForm", "MessagePlan", "message_to", "plan_for_rows"]

_KINDS = ("text", "template", "image", "document", "audio", "video")
_CAPTIONED: dict[str, Callable[..., Message]] = {
    "image": ImageMessage,
    "document": DocumentMessage,
    "video": VideoMessage,
}
_MEDIA: dict[str, Callable[[str], Media]] = {"image": Image, "document": Document, "video": Video}
_OPTIONAL = {"channel_uuid": "channel_uuid", "team": "team_uuid", "assigned_user": "assigned_user"}
"""Options that may be left empty in a row, and the fields they fill."""


@attrs.frozen(kw_only=True)
class MessageForm:
    """What the options say of every message; each text may hold `{column}`."""

    text: str | None = None
    template: str | None = None
    values: str | None = None
    optin: bool = False
    image: str | None = None
    document: str | None = None
    audio: str | None = None
    video: str | None = None
    caption: str | None = None
    channel: str = "whatsapp"
    channel_uuid: str | None = None
    team: str | None = None
    assigned_user: str | None = None
    metadata: Sequence[str] = ()


class MessagePlan:
    """How a row becomes a message. Raises `ConfigurationError`, naming the option, for options that don't go together.

    `read` makes a text of an option: a template for rows, or a literal where there are none. `plan_for_rows` and
    `message_to` build it.
    """

    def __init__(
        self,
        form: MessageForm,
        *,
        to: Filled,
        bsuid: Filled | None = None,
        key: Filled | None = None,
        metadata: Mapping[str, Filled],
        read: Callable[[str, str], Filled],
    ) -> None:
        self._kind, self._media_kind = _kinds_of(form)
        _check_company(form, self._kind, self._media_kind)
        self._channel = form.channel
        self._to = to
        self._bsuid = bsuid
        self._key = key
        self._metadata = metadata
        self._texts: dict[str, Filled] = {}
        for name in (*_KINDS, "caption", *_OPTIONAL):
            if (text := getattr(form, name)) is not None:
                self._texts[name] = read(text, _option(name))
        self._values = [read(value, "--values") for value in split_values(form.values or "")]

    def needs(self) -> Iterator[tuple[str, list[str]]]:
        """The columns that are needed, by the option that names them."""
        if self._bsuid is None:
            yield "--to-column", self._to.columns
        else:
            yield "--bsuid-column", self._bsuid.columns
        if self._key is not None:
            yield "--key-column", self._key.columns
        for name, text in self._texts.items():
            yield _option(name), text.columns
        for value in self._values:
            yield "--values", value.columns
        for item in self._metadata.values():
            yield "--metadata", item.columns

    def item(self, row: Row) -> Item:
        """The message for a row, or what is wrong with it."""
        try:
            if row.fault is not None:
                raise InvalidMessageError("row", row.fault)
            return self.message(row.cells)
        except InvalidMessageError as error:
            return error

    def message(self, cells: Mapping[str, str]) -> Message:
        """The message for these cells; raises `InvalidMessageError`."""
        shared: dict[str, Any] = {
            **self._recipient(cells),
            "channel": self._channel,
            "metadata": {name: value.fill(cells) for name, value in self._metadata.items()},
        }
        for name, field in _OPTIONAL.items():
            shared[field] = self._optional(name, cells)
        if self._key is not None:
            shared["key"] = self._key.fill(cells)
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
            return {"to": self._to.fill(cells)}
        # One of the two is enough, and in JSON a row may have no other.
        found = {"to": cells.get(self._to.columns[0], ""), "bsuid": cells.get(self._bsuid.columns[0], "")}
        return {name: said for name, said in found.items() if said.strip()}

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
    """The plan for rows: `{column}` is a cell in every text, and each `metadata` is `NAME` or `NAME=COLUMN`."""
    pairs = _pairs(form)
    return MessagePlan(
        form,
        to=Cell(to_column),
        bsuid=None if bsuid_column is None else Cell(bsuid_column),
        key=None if key_column is None else Cell(key_column),
        metadata={name: Cell(name if column is None else column) for name, column in pairs.items()},
        read=TextTemplate,
    )


def message_to(to: str, form: MessageForm) -> Message:
    """One message: all texts are as they stand, and each `metadata` is `NAME=VALUE`. Raises `InvalidMessageError` as well."""
    metadata = {}
    for name, value in _pairs(form).items():
        if value is None:
            raise ConfigurationError("--metadata: write NAME=VALUE")
        metadata[name] = Literal(value)
    return MessagePlan(form, to=Literal(to), metadata=metadata, read=Literal).message({})


def _kinds_of(form: MessageForm) -> tuple[str, str | None]:
    """The kind of message, and of a template's media."""
    given = [name for name in _KINDS if getattr(form, name) is not None]
    media = None
    if "template" in given and len(given) == 2 and given[1] in _MEDIA:
        media = given.pop()
    if len(given) != 1:
        said = " and ".join(map(_option, given)) or "nothing"
        raise ConfigurationError(
            f"{said}: give one of {', '.join(map(_option, _KINDS))}; only --template may have an image, a document or a video besides"
        )
    return given[0], media


def _check_company(form: MessageForm, kind: str, media: str | None) -> None:
    if kind == "template" and not form.optin:
        raise ConfigurationError(
            "--template: templates are sent only to contacts who opted in; add --optin once all of these have"
        )
    if kind != "template" and (form.optin or form.values is not None):
        raise ConfigurationError(f"{'--optin' if form.optin else '--values'}: goes with --template only")
    if form.caption is not None and (kind not in _CAPTIONED or media is not None):
        raise ConfigurationError("--caption: goes with --image, --document or --video, without --template")


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
