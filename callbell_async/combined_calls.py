"""The calls of the client that combine several others: a reply, a message or its fallback, a download."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from callbell_async.arguments import check_count, check_flag, check_instance, check_seconds
from callbell_async.bulk import SingleSends, check_pair, send_in_window
from callbell_async.endpoints.contacts import ContactsEndpoint
from callbell_async.endpoints.messages import MessagesEndpoint
from callbell_async.errors import ClientClosedError
from callbell_async.http.download import Download, open_download
from callbell_async.http.download_guards import is_public_address
from callbell_async.http.pipeline import PipelineHandle
from callbell_async.journal import Journal
from callbell_async.models.events import MessageCreated
from callbell_async.models.message_parts import Attachment
from callbell_async.models.messages import Message, TemplateMessage, TextMessage
from callbell_async.models.receipts import MessageReceipt, WindowReceipt
from callbell_async.redaction import HiddenFrames

__all__ = ["CombinedCalls"]

MAX_FILE = 100 * 1024 * 1024
"""The bytes of the largest file that WhatsApp sends, a document."""


class CombinedCalls(ABC):
    """The base class of the client, with its combined calls."""

    contacts: ContactsEndpoint
    messages: MessagesEndpoint
    _single_sends: SingleSends
    _pipeline: PipelineHandle

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the client was closed."""

    @abstractmethod
    async def send(self, message: Message, *, journal: Journal | None = None) -> MessageReceipt:
        """Send one message."""

    async def reply(
        self, event: MessageCreated, *, text: str, key: str | None = None, journal: Journal | None = None
    ) -> MessageReceipt:
        """Reply to a customer's message with a text, on the channel on which the customer wrote.

        For another kind of message: `callbell.send(ImageMessage(**event.reply_fields(), url=…))`.

        Args:
            event: The event of a message that a customer sent. The events of your own messages are refused.
            text: The text of the reply.
            key: The idempotency key of the reply in the journal, 1 to 500 characters. By default it is computed from `event.key` and
                the text, so that an event that is delivered twice gets one reply, and the same text replies to another event as well.
            journal: The journal, as for `send`.

        Returns:
            Callbell's receipt: the reply was accepted for sending (not: delivered).

        Raises:
            ConfigurationError: `event` is not a `MessageCreated`; nothing was sent.
            InvalidMessageError: The customer did not send the message, the event does not name its sender, or `text` is not valid;
                nothing was sent.
            APIError: Callbell refused the reply.
            TransportError: No readable response came; its `outcome` is `UNKNOWN` if the reply may have been accepted.
            DuplicateMessageError: As for `send`.
            JournalError: The journal can't be used; the reply was not sent.
        """
        check_instance("event", event, MessageCreated, "reply to the event of a received message")
        with HiddenFrames():
            if journal is not None and key is None:
                # The text is not checked yet.
                named = f"{event.key}\n{text}".encode(errors="surrogatepass")
                key = hashlib.blake2b(named, digest_size=16).hexdigest()
            message = TextMessage(**event.reply_fields(), text=text, key=key)
            return await self.send(message, journal=journal)

    async def send_in_window(
        self,
        message: Message,
        *,
        fallback: TemplateMessage,
        contact_uuid: str | None = None,
        journal: Journal | None = None,
    ) -> WindowReceipt:
        """Send a message if the customer's 24-hour window is open, and otherwise a template; never both.

        WhatsApp delivers messages other than templates only within 24 hours of the customer's last message, and Callbell accepts them
        at any time. So the contact's history is read first. A window that closes within 60 seconds counts as closed, and so does that
        of a customer who is not found.

        If Callbell refuses the message with the code of a closed window, the fallback is sent. After any other error it is not, because
        the message may have been accepted, or because the fallback would be refused as well.

        Args:
            message: A WhatsApp message that needs the window, such as a `TextMessage`.
            fallback: The template for the same recipient, from the same channel.
            contact_uuid: The contact's identifier, such as `event.contact.uuid`. By default the contact is looked up by the
                recipient, which takes one request more.
            journal: The journal, as for `send`. Both messages have one key: `message.key`, `fallback.key`, or the key that is computed
                from the message. A further call with this key returns the first receipt, whichever of the two was sent.

        Returns:
            Callbell's receipt; its `is_fallback` shows which of the two was sent.

        Raises:
            InvalidMessageError: The two do not belong together; the text names the field. Nothing was sent.
            APIError: Callbell refused the message, or a request for the history; then nothing was sent.
            TransportError: No readable response came; its `outcome` is `UNKNOWN` if the message may have been accepted.
            DuplicateMessageError: As for `send`: one of the two may have been accepted before.
            JournalError: The journal can't be used; nothing was sent.
        """
        check_pair(message, fallback)
        if journal is not None:
            check_instance("journal", journal, Journal, 'pass Journal("messages.db")')
        with HiddenFrames():
            return await send_in_window(
                message,
                fallback,
                contact_uuid=contact_uuid,
                contacts=self.contacts,
                messages=self.messages,
                sends=self._single_sends,
                provider=self._pipeline,
                journal=journal,
            )

    def download(
        self,
        attachment: Attachment | str,
        *,
        max_bytes: int = MAX_FILE,
        timeout: float = 60.0,
        allow_private_hosts: bool = False,
    ) -> AbstractAsyncContextManager[Download]:
        """Download a file that a customer sent, before its link expires 10 minutes after the event.

        ```python
        async with callbell.download(attachment, max_bytes=20_000_000) as download:
            path = await download.save("received/")
        ```

        The URL comes from outside, so it is fetched without the token, over connections of its own (not those of `session`), and only
        from public addresses: also after a redirect, and each address is checked when it is connected to. Nothing is retried.

        Args:
            attachment: The attachment of an event, or its http or https URL.
            max_bytes: The most bytes of the file, decompressed, 1 or more; by default 104,857,600, which is WhatsApp's largest file.
            timeout: The seconds from the request to the last byte, more than 0.
            allow_private_hosts: Whether addresses of this machine and of private networks are allowed, for tests with a sandbox.

        Returns:
            A context manager; `async with` requests the file and yields the `Download`.

        Raises:
            ConfigurationError: An argument is not valid.
            DownloadError: The file can't be downloaded, now or while it is read; `expired` if the link no longer works.
        """
        given = Attachment(url=attachment) if isinstance(attachment, str) else attachment
        check_instance("attachment", given, Attachment, "pass one of event.attachments, or its URL")
        check_count("max_bytes", max_bytes, unit="bytes")
        check_seconds("timeout", timeout, positive=True)
        check_flag("allow_private_hosts", allow_private_hosts)
        if self.closed:
            raise ClientClosedError("the client is closed; build a new one")
        return open_download(
            given,
            max_bytes=max_bytes,
            timeout=timeout,
            is_allowed=lambda address: allow_private_hosts or is_public_address(address),
        )
