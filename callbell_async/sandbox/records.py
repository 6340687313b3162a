"""What a Callbell account holds. All but the names can be left out; dates are filled in when a record is added."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import attrs

from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.message_lifecycle import DeliveryFailure

__all__ = [
    "BotSession",
    "HistoryItem",
    "SandboxChannel",
    "SandboxContact",
    "SandboxCustomField",
    "SandboxCustomStatus",
    "SandboxFunnel",
    "SandboxMessage",
    "SandboxTeam",
    "SandboxTemplate",
    "SandboxUser",
    "SandboxWebhook",
    "SandboxWebhookDelivery",
    "new_id",
    "same_recipient",
]

ChannelType = Literal["whatsapp", "facebook", "instagram", "telegram"]


def new_id() -> str:
    """32 hex digits."""
    return uuid.uuid4().hex


def _dashed() -> str:
    return str(uuid.uuid4())


def same_recipient(identifier: str) -> str:
    """What is equal for two spellings of one recipient: the digits of a telephone number, anything else as it is."""
    bare = "".join(char for char in identifier if char not in " -.()+\u00a0")
    if not bare.isdecimal():
        return identifier
    return bare.removeprefix("00")


@attrs.define(kw_only=True)
class SandboxChannel:
    """A channel; `number` is what its messages come from."""

    title: str
    type: ChannelType = "whatsapp"
    main: bool = False
    discarded: bool = False
    number: str = "390000000000"
    uuid: str = attrs.field(factory=new_id)


@attrs.define(kw_only=True)
class SandboxTemplate:
    """A template message; its text has its placeholders as `{{1}}`, `{{2}}`."""

    title: str
    text: str = ""
    template_type: str = "text"
    category: str = "MARKETING"
    status: str = "approved"
    uuid: str = attrs.field(factory=new_id)
    created_at: datetime | None = None


@attrs.define(kw_only=True)
class SandboxTeam:
    """A team; its members are the users who name it."""

    name: str
    default: bool = False
    uuid: str = attrs.field(factory=new_id)
    created_at: datetime | None = None


@attrs.define(kw_only=True)
class SandboxUser:
    """A collaborator; without `teams` (uuids) a member of the default team."""

    email: str
    name: str = ""
    available: bool = True
    teams: Sequence[str] = ()
    custom_status: str | None = None
    custom_status_at: datetime | None = None
    updated_at: datetime | None = None
    uuid: str = attrs.field(factory=new_id)


@attrs.define(kw_only=True)
class SandboxCustomStatus:
    """A status that users can take; its uuid is called `id` on the wire."""

    name: str
    emoji: str = "💬"
    uuid: str = attrs.field(factory=_dashed)
    created_at: datetime | None = None
    updated_at: datetime | None = None


@attrs.define(kw_only=True)
class SandboxFunnel:
    """A stage that conversations can be in."""

    name: str
    emoji: str = "🎯"
    position: int = 1
    uuid: str = attrs.field(factory=_dashed)
    created_at: datetime | None = None


@attrs.frozen
class SandboxCustomField:
    """The type of a contact's custom field; only dropdowns and checkboxes have options."""

    type: str = "text"
    options: Sequence[str] | None = None


@attrs.define(kw_only=True)
class HistoryItem:
    """One line of a contact's history; a note has no uuid.

    `message` is the accepted message that this line shows; `None` for a note and for what a customer wrote.
    """

    text: str
    status: Literal["sent", "received", "note"]
    channel: str
    sender: str
    recipient: str
    created_at: datetime
    contact: SandboxContact = attrs.field(eq=False, repr=False)
    uuid: str | None = None
    attachments: Sequence[str] = ()
    message: SandboxMessage | None = attrs.field(default=None, eq=False, repr=False)


@attrs.define(kw_only=True)
class BotSession:
    """What a contact's bot does since `at`, in seconds of the calendar."""

    running: bool = False
    at: float = 0.0


@attrs.define(kw_only=True)
class SandboxContact:
    """A contact and its conversation; `identifier` is the number, or what its channel knows it by, `""` if only a bsuid is known."""

    identifier: str
    name: str
    source: str = "whatsapp"
    avatar_url: str | None = None
    email: str | None = None
    tags: list[str] = attrs.field(factory=list)
    custom_fields: dict[str, str | list[str]] = attrs.field(factory=dict)
    assigned_user: str | None = None
    team: str | None = None
    channel: str | None = None
    funnel: str | None = None
    bsuid: str | None = None
    note: str | None = None
    blocked_at: datetime | None = None
    closed_at: datetime | None = None
    created_at: datetime | None = None
    conversation: str = attrs.field(factory=new_id)
    uuid: str = attrs.field(factory=new_id)
    bot: BotSession = attrs.field(factory=BotSession)
    history: list[HistoryItem] = attrs.field(factory=list)
    last_reply: float | None = None
    number: int = 0
    """Its place among all contacts there ever were; cursors stand on it."""


@attrs.define(kw_only=True)
class SandboxMessage:
    """A message the sandbox accepted: its uuid, its body, the request it came with, and how its delivery goes."""

    uuid: str
    body: Mapping[str, Any]
    request: SandboxRequest
    at: float
    failure: DeliveryFailure | None = None
    deleted: bool = False

    @property
    def recipient(self) -> str:
        """Whom it is for: `to`, or the bsuid."""
        return str(self.body.get("to") or self.body.get("bsuid"))

    def __str__(self) -> str:
        return f"{self.body.get('type')} to {self.recipient}: {self.body.get('content')} ({self.uuid})"


@attrs.define(kw_only=True)
class SandboxWebhook:
    """The account's one subscription."""

    url: str
    subscriptions: list[str]
    enabled: bool = True
    created_at: datetime | None = None


@attrs.define(kw_only=True)
class SandboxWebhookDelivery:
    """A delivery that was tried; a seeded one says how it ended. `code` is `None` when there was no whole answer in time."""

    event: str
    payload: Any
    success: bool = True
    code: int | None = 200
    body: Any = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    created_at: datetime | None = None
    uuid: str = attrs.field(factory=new_id)
