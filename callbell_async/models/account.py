"""The account: channels, templates, teams and their members, statuses, funnels, the plan, and the webhook.

A field that is missing in a response is `None` or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

from callbell_async.redaction import mask_url

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
    """The content of a template. A type that Callbell adds later is a plain string.

    Attributes:
        TEXT: Text alone.
        IMAGE: Text with an image.
        VIDEO: Text with a video.
        DOCUMENT: Text with a document.
    """

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    DOCUMENT = "document"


class TemplateStatus(StrEnum):
    """WhatsApp's status of a template. A status that Callbell adds later is a plain string.

    Attributes:
        APPROVED: It can be sent; with every other status it can't.
        PENDING: WhatsApp has not decided yet.
        REJECTED: WhatsApp refused it.
        PAUSED: WhatsApp paused it.
        FAILED: The integration reports a failure.
        DISABLED: WhatsApp disabled it.
        DEACTIVATED: It was deactivated.
        DELETED: It was deleted.
        IN_APPEAL: The refusal is being reviewed.
        LIMIT_EXCEEDED: The account has too many templates.
        PENDING_DELETION: It will be deleted.
    """

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
    """A channel from which messages are sent.

    Source: Callbell's page `GET /channels`.

    Attributes:
        uuid: the identifier.
        title: the title.
        type: `facebook`, `whatsapp`, `instagram` or `telegram`.
        main: whether it is the main channel.
        discarded_at: when it was put out of use; on some accounts only whether it was (a boolean).
        raw: the untouched JSON.
    """

    uuid: str | None = None
    title: str | None = None
    type: str | None = None
    main: bool | None = None
    discarded_at: datetime | bool | None = None
    raw: Mapping[str, Any] = _raw()

    @property
    def discarded(self) -> bool:
        """Whether the channel is out of use."""
        return bool(self.discarded_at)


@attrs.frozen(kw_only=True)
class Template:
    """A WhatsApp template.

    Source: Callbell's page `GET /templates`.

    Attributes:
        uuid: the identifier.
        title: the title.
        text: the text, with the placeholders `{{1}}`, `{{2}}` and so on.
        template_type: the content: text, image, video or document; an unknown type is a plain string.
        category: `MARKETING` or `UTILITY`.
        status: WhatsApp's status; an unknown status is a plain string.
        created_at: when it was created.
        raw: the untouched JSON.
    """

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
    """A team.

    Source: Callbell's page `GET /teams`.

    Attributes:
        uuid: the identifier.
        name: the name.
        created_at: when it was created.
        default: whether it is the default team.
        members: the number of members.
        raw: the untouched JSON.
    """

    uuid: str | None = None
    name: str | None = None
    created_at: datetime | None = None
    default: bool | None = None
    members: int | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class CustomStatus:
    """A status that users can set.

    Source: Callbell's page `GET /custom_statuses`.

    Attributes:
        id: the identifier.
        name: the name.
        emoji: the emoji.
        created_at: when it was created; `None` within a `TeamMember`.
        updated_at: when it was changed last.
        raw: the untouched JSON.
    """

    id: str | None = None
    name: str | None = None
    emoji: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class TeamMember:
    """A user, as a member of a team.

    Source: Callbell's page `GET /teams/:uuid/members`.

    Attributes:
        email: the e-mail.
        name: the name.
        available: whether the user is available.
        last_updated_at: when that was changed last.
        user_custom_status: the custom status; `None` if none is assigned.
        raw: the untouched JSON.
    """

    email: str | None = None
    name: str | None = None
    available: bool | None = None
    last_updated_at: datetime | None = None
    user_custom_status: CustomStatus | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class UserStatus:
    """A user's status after it was set.

    Source: Callbell's page `PUT /users/:uuid/status`.

    Attributes:
        available: whether the user is available.
        available_updated_at: when that was changed last.
        custom_status: the custom status; `None` if none is assigned.
        raw: the untouched JSON.
    """

    available: bool | None = None
    available_updated_at: datetime | None = None
    custom_status: CustomStatus | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Funnel:
    """A funnel of contacts.

    Source: Callbell's page `GET /funnels`.

    Attributes:
        uuid: the identifier.
        name: the name.
        emoji: the emoji.
        position: the place among the funnels.
        created_at: when it was created.
        raw: the untouched JSON.
    """

    uuid: str | None = None
    name: str | None = None
    emoji: str | None = None
    position: int | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Plan:
    """The account's plan, and how much of it is used.

    Source: Callbell's page `GET /plan`.

    Attributes:
        plan: the plan's name.
        included_channels: the number of channels included.
        licenses: the number of licences.
        active_users: the number of active users.
        teams: the teams.
        raw: the untouched JSON.
    """

    plan: str | None = None
    included_channels: int | None = None
    licenses: int | None = None
    active_users: int | None = None
    teams: tuple[Team, ...] = ()
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Account:
    """The owner of the token.

    Source: Callbell's page `GET /auth/me`.

    Attributes:
        status: `ok`.
        user_email: the owner's e-mail.
        user_name: the owner's name.
        api_key: the token itself: a secret, never in a repr.
        raw: the untouched JSON, which holds the token: a secret, never in a repr.
    """

    status: str | None = None
    user_email: str | None = None
    user_name: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class DeletionResponse:
    """Callbell's confirmation that something was deleted.

    Attributes:
        status: Callbell's own word for it.
        raw: the untouched JSON.
    """

    status: str | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Webhook:
    """The account's one webhook.

    Source: Callbell's page `POST /webhooks/subscribe`.

    Attributes:
        url: the URL to which Callbell posts events. Its repr shows only the host, because the rest may hold a secret.
        subscriptions: the names of the events.
        enabled: whether it is enabled; Callbell disables a webhook that fails repeatedly.
        created_at: when it was created.
        raw: the untouched JSON.
    """

    url: str | None = attrs.field(default=None, repr=mask_url)
    subscriptions: tuple[str, ...] = ()
    enabled: bool | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class WebhookResponse:
    """The response of the webhook to a delivery.

    Attributes:
        body: the body as Callbell kept it.
        code: the HTTP status.
        headers: the headers.
        raw: the untouched JSON.
    """

    body: Any = attrs.field(default=None, repr=False)
    code: int | None = None
    headers: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class WebhookDelivery:
    """One delivery of an event to the webhook, successful or not.

    Source: Callbell's page `GET /webhooks/events`.

    Attributes:
        event: the event's name.
        payload: the event's payload as it came: an object or a string.
        response: the webhook's response.
        success: whether the delivery succeeded.
        created_at: when the delivery was made.
        raw: the untouched JSON.
    """

    event: str | None = None
    payload: Any = attrs.field(default=None, repr=False)
    response: WebhookResponse | None = None
    success: bool | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()
