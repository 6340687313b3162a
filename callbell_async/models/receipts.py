"""Callbell's word for a message. Source: its object type `MessageSendRequest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from callbell_async.models.contacts import Contact, Conversation
from callbell_async.models.failures import MessageFailure, read_failure
from callbell_async.models.message_status import MessageStatus

__all__ = ["MessageReceipt"]


@attrs.frozen
class MessageReceipt:
    """Callbell's word that it enqueued a message (`MessageSendRequest` in its documentation).

    `uuid` names the message from now on. `status_payload` is the raw report of the integration. `contact` and `conversation`
    come only when asked for through `fields`. `raw` is the untouched JSON.
    """

    uuid: str
    status: MessageStatus | str | None = None
    status_payload: Any = attrs.field(default=None, hash=False, repr=False)
    contact: Contact | None = None
    conversation: Conversation | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def failure(self) -> MessageFailure | None:
        """Why it was not delivered, when its status is `FAILED`; the report may say no reason."""
        if self.status != MessageStatus.FAILED:
            return None
        return read_failure(self.status_payload) or MessageFailure()
