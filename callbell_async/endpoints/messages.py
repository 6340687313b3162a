"""Messages: `POST /messages/send`."""

from __future__ import annotations

from callbell_async.endpoints.base import Endpoint
from callbell_async.models.messages import Message, MessageReceipt
from callbell_async.protocol import Answer, Request, read_answer
from callbell_async.wire import dump_message, load_receipt

__all__ = ["MessagesEndpoint", "read_receipt", "send_request"]


def send_request(message: Message) -> Request:
    """The request that sends a message; raises `InvalidMessageError` for what is no message."""
    return Request("POST", "/messages/send", dump_message(message))


def read_receipt(request: Request, answer: Answer) -> MessageReceipt:
    """The receipt in the answer to it."""
    return read_answer(request, answer, load_receipt)


class MessagesEndpoint(Endpoint):
    """Messages: `callbell.messages`."""

    async def send(self, message: Message) -> MessageReceipt:
        """Send one message, and return Callbell's word that it is enqueued (not: that it was delivered).

        Raises `APIError` when Callbell refuses it, `TransportError` when no answer can be read: its `outcome` says whether the
        message never left or may have been accepted. What may have been accepted is not sent again, unless the retry policy says
        so. Source: Callbell's page `POST /messages/send`.
        """
        return await self._call(send_request(message), read_receipt)
