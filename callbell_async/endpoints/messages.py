"""Sending messages, and following their status."""

from __future__ import annotations

import asyncio

from callbell_async.endpoints.base import Endpoint
from callbell_async.errors import StatusTimeoutError
from callbell_async.http.requests import CallState, Request
from callbell_async.http.responses import Response, read_response
from callbell_async.models.messages import Message
from callbell_async.models.receipts import MessageReceipt, MessageStatus, has_reached
from callbell_async.polling import check_wait, poll_until
from callbell_async.wire import dump_message, load_receipt

__all__ = ["MessagesEndpoint", "read_receipt", "send_request"]


def send_request(body: bytes) -> Request:
    """Return the request that sends a message with this body."""
    return Request("POST", "/messages/send", body)


def read_receipt(request: Request, response: Response) -> MessageReceipt:
    """Return the receipt in the response to a send request."""
    return read_response(request, response, load_receipt)


class MessagesEndpoint(Endpoint):
    """Messages: `callbell.messages`. Source: Callbell's Messages API."""

    async def send(self, message: Message) -> MessageReceipt:
        """Send one message. A message that may have been accepted is not sent again, unless the retry policy allows it.

        Source: Callbell's page `POST /messages/send`.

        Args:
            message: any kind of message, such as `TextMessage`.

        Returns:
            The receipt: Callbell enqueued the message. That does not mean that it was delivered.

        Raises:
            InvalidMessageError: the message can't be written as JSON.
            APIError: Callbell refused the message.
            TransportError: no readable response came; its `outcome` states whether the message was never sent or may have been accepted.
        """
        return await self._pipeline().run(CallState(send_request(dump_message(message))), read_receipt)

    async def status(self, uuid: str) -> MessageReceipt:
        """Return a message's present status.

        Source: Callbell's page `GET /messages/status/:uuid`.

        Args:
            uuid: the message's identifier, from its receipt.

        Returns:
            The receipt with the present `status`; its `failure` has the reason when the message was not delivered. It may have `contact`,
            `conversation` and `metadata` as well, whatever `fields` the message had.

        Raises:
            NotFoundError: the message does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "messages", "status", uuid, load=load_receipt)

    async def delete(self, uuid: str) -> None:
        """Remove a message's text and attachments from Callbell; the customer's device keeps them.

        Source: Callbell's page `DELETE /messages/:uuid`.

        Args:
            uuid: the message's identifier, or its external one.

        Raises:
            NotFoundError: the message does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the message may have been removed.
        """
        await self._call_without_result("DELETE", "messages", uuid)

    async def wait(
        self, uuid: str, *, until: MessageStatus = MessageStatus.DELIVERED, timeout: float = 60.0
    ) -> MessageReceipt:
        """Wait until a message has reached a status or a later one, or never will, because it failed or was deleted.

        The status is requested at once, after 1 second, then after delays that grow by half up to 30 seconds, and a last time shortly
        before the timeout.

        Args:
            uuid: the message's identifier, from its receipt.
            until: the status to wait for.
            timeout: the longest time to wait, in seconds; `math.inf` for no limit.

        Returns:
            The receipt with the status that was reached. Check it: `failure` has the reason when the message was not delivered.

        Raises:
            ConfigurationError: `until` is not a status, or `timeout` is not a number of seconds.
            StatusTimeoutError: the status was not reached in time; it has the last receipt, or `None` if no response came.
            APIError: Callbell refused a status request.
            TransportError: no readable response to a status request came.
        """
        until = check_wait("until", until, timeout)
        receipt: MessageReceipt | None = None

        async def poll() -> None:
            nonlocal receipt
            receipt = await self.status(uuid)

        def is_done() -> bool:
            return receipt is not None and has_reached(receipt.status, until)

        await poll_until(is_done, poll, deadline=asyncio.get_running_loop().time() + timeout)
        if receipt is not None and is_done():
            return receipt
        status = "not known" if receipt is None else receipt.status
        raise StatusTimeoutError(
            f"the message is {status} and did not become {until.value} in {timeout:g} s", receipt=receipt
        )
