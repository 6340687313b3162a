"""Messages: sending them, and what became of them."""

from __future__ import annotations

import asyncio

from callbell_async.endpoints.base import Endpoint
from callbell_async.errors import StatusTimeoutError
from callbell_async.http.requests import CallState, Request
from callbell_async.http.responses import Response, read_response
from callbell_async.models.message_status import MessageStatus, has_reached, pauses
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt
from callbell_async.wire import dump_message, load_receipt

__all__ = ["MessagesEndpoint", "read_receipt", "send_request"]


def send_request(body: bytes) -> Request:
    """The request that sends a message with this body."""
    return Request("POST", "/messages/send", body)


def read_receipt(request: Request, answer: Response) -> MessageReceipt:
    """The receipt in the answer to it."""
    return read_response(request, answer, load_receipt)


class MessagesEndpoint(Endpoint):
    """Messages: `callbell.messages`. Source: Callbell's Messages API."""

    async def send(self, message: Message) -> MessageReceipt:
        """Send one message, and return Callbell's word that it is enqueued (not: that it was delivered).

        Raises `APIError` when Callbell refuses it, `TransportError` when no answer can be read: its `outcome` says whether the
        message never left or may have been accepted. What may have been accepted is not sent again, unless the retry policy says
        so. Source: Callbell's page `POST /messages/send`.
        """
        return await self._caller().run(CallState(send_request(dump_message(message))), read_receipt)

    async def status(self, uuid: str) -> MessageReceipt:
        """How far a message has come; `failure` says why it was not delivered."""
        return await self._call("GET", "messages", "status", uuid, load=load_receipt)

    async def delete(self, uuid: str) -> None:
        """Remove a message's text and attachments on Callbell, not on the customer's device. `uuid` or the external id."""
        await self._forget("DELETE", "messages", uuid)

    async def wait(
        self, uuid: str, *, until: MessageStatus = MessageStatus.DELIVERED, timeout: float = 60.0
    ) -> MessageReceipt:
        """The message's receipt once it has reached a status or gone beyond it, or never will: it failed, or was deleted. Look at its `status`.

        Looks again after 1 second, then after pauses that grow by half, to 30 seconds at the most, and once more shortly before the end.
        `failure` says why a message failed. Raises `StatusTimeoutError` after `timeout` seconds, with the last receipt, or `None` if no
        look came back.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        receipt: MessageReceipt | None = None
        # A look goes on for as long as the client retries; the client's own timeout is an error of its own.
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                receipt = await self.status(uuid)
                for pause in pauses(lambda: deadline - loop.time()):
                    if has_reached(receipt.status, until):
                        return receipt
                    await asyncio.sleep(pause)
                    receipt = await self.status(uuid)
                if has_reached(receipt.status, until):
                    return receipt
                await asyncio.sleep(deadline - loop.time())
        except TimeoutError:
            if not limit.expired():
                raise
        known = "not known" if receipt is None else receipt.status
        raise StatusTimeoutError(
            f"the message is {known} and did not become {until.value} in {timeout:g} s", receipt=receipt
        )
