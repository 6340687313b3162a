"""The account's own things: channels, templates, teams and their members, statuses, funnels, the plan, and its webhook.

Anything may be missing in an answer, and is `None` then. `raw` is always the untouched JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

__all__ = [
    "Account",
    "Channel",
    "CustomStatus",
    "DeletionResponse",
    "Funnel",
    "Plan",
    "Team",
    "TeamMember",
    "Template",
    "TemplateStatus",
    "TemplateType",
    "UserStatus",
    "Webhook",
    "WebhookDelivery",
    "WebhookResponse",
]


class TemplateType(StrEnum):
    """What a template carries. A type that Callbell adds later is given as a plain string."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    DOCUMENT = "document"


class TemplateStatus(StrEnum):
    """Where a template stands with WhatsApp; only `APPROVED` ones are sent. An unknown status is given as a plain string."""

    APPROVED = "approved"
    PENDING = "pending"
    REJECTED = "rejected"
    PAUSED = "paused"
    FAILED = "failed"
    DISABLED = "disabled"
    DEACTIVATED = "deactivated"
    DELETED = "deleted"
    IN_APPEAL = "in_appeal"
    LIMIT_EXCEEDED = "limit_exceeded"
    PENDING_DELETION = "pending_deletion"


def _raw() -> Any:
    return attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Channel:
    """A channel messages are sent from. `discarded_at` is a boolean on some accounts and a date on others; `discarded` reads both."""

    uuid: str | None = None
    title: str | None = None
    type: str | None = None
    main: bool | None = None
    discarded_at: datetime | bool | None = None
    raw: Mapping[str, Any] = _raw()

    @property
    def discarded(self) -> bool:
        """Whether it is out of use."""
        return bool(self.discarded_at)


@attrs.frozen(kw_only=True)
class Template:
    """A WhatsApp template: `text` has `{{1}}`, `{{2}}` … for its values."""

    uuid: str | None = None
    title: str | None = None
    text: str | None = None
    template_type: TemplateType | str | None = None
    category: str | None = None
    status: TemplateStatus | str | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Team:
    """A team; `members` is how many it has."""

    uuid: str | None = None
    name: str | None = None
    created_at: datetime | None = None
    default: bool | None = None
    members: int | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class CustomStatus:
    """A status that users can set; in a team member's answer only `updated_at` of the two dates is there."""

    id: str | None = None
    name: str | None = None
    emoji: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class TeamMember:
    """A user, as a member of a team."""

    email: str | None = None
    name: str | None = None
    available: bool | None = None
    last_updated_at: datetime | None = None
    user_custom_status: CustomStatus | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class UserStatus:
    """What a user's status is after it was set: `custom_status` is `None` where none is assigned."""

    available: bool | None = None
    available_updated_at: datetime | None = None
    custom_status: CustomStatus | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Funnel:
    """A funnel of contacts."""

    uuid: str | None = None
    name: str | None = None
    emoji: str | None = None
    position: int | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Plan:
    """The account's plan and its use."""

    plan: str | None = None
    included_channels: int | None = None
    licenses: int | None = None
    active_users: int | None = None
    teams: tuple[Team, ...] = ()
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Account:
    """Whose token it is. Callbell's answer holds the token itself, so its untouched JSON is never shown."""

    status: str | None = None
    user_email: str | None = None
    user_name: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class DeletionResponse:
    """Callbell's word that something is gone, in its own `status`."""

    status: str | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Webhook:
    """The account's one webhook."""

    url: str | None = None
    subscriptions: tuple[str, ...] = ()
    enabled: bool | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class WebhookResponse:
    """What the webhook answered to a delivery."""

    body: Any = attrs.field(default=None, repr=False)
    code: int | None = None
    headers: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class WebhookDelivery:
    """One event that Callbell delivered, or tried to; `payload` is as it came, an object or a string."""

    event: str | None = None
    payload: Any = attrs.field(default=None, repr=False)
    response: WebhookResponse | None = None
    success: bool | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()
