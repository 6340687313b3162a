"""A service that confirms orders by WhatsApp, each of them once, and shows the status of each message.

Run it with `uvicorn --factory fastapi_service:create_app`. The environment has CALLBELL_TOKEN, the webhook's secret as
CALLBELL_WEBHOOK_SECRET, and, if it is not `orders.db`, the journal's file as ORDERS_JOURNAL.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from starlette.routing import Route

from callbell_async import (
    CallbellClient,
    CallbellError,
    DuplicateMessageError,
    Event,
    InvalidMessageError,
    Journal,
    MessageCreated,
    Outcome,
    RetryPolicy,
    TextMessage,
)
from callbell_async.webhooks import WebhookApp


class Order(BaseModel):
    """The body of a request."""

    number: str
    phone: str


def confirmation(order: Order) -> TextMessage:
    """Return the message for an order. Its key is the same for each request of the order."""
    return TextMessage(to=order.phone, text=f"We have your order {order.number}.", key=f"order-{order.number}")


def http_error(error: CallbellError) -> HTTPException:
    """Return the response for a message that was not accepted, without any personal data."""
    match error:
        case InvalidMessageError():
            return HTTPException(422, str(error))
        case DuplicateMessageError():
            return HTTPException(409, "this order is being confirmed, or its message may have been accepted")
        case _ if error.outcome is Outcome.UNKNOWN:
            return HTTPException(504, "the message may have been accepted")
        case _:
            return HTTPException(502, "the message was not accepted; try again")


def create_app() -> FastAPI:
    """Return the application."""
    journal = Journal(os.environ.get("ORDERS_JOURNAL", "orders.db"))

    async def handler(event: Event) -> None:
        if isinstance(event, MessageCreated) and event.is_incoming and event.sender:
            await app.state.callbell.send(TextMessage(to=event.sender, text="We will look at your question."))

    webhook = WebhookApp(handler, secret=os.environ["CALLBELL_WEBHOOK_SECRET"])
    # An event proves that Callbell has the message that it names, and it brings the message's status.
    webhook.receiver.add_listener(journal.handle_event)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A caller waits for the response, so there is little time for retries.
        client = CallbellClient(timeout=5.0, retry=RetryPolicy(attempts=2, timeout=8.0))
        async with journal, client as callbell, webhook:
            app.state.callbell = callbell
            yield

    app = FastAPI(lifespan=lifespan)
    app.router.routes.append(Route("/callbell", webhook))

    @app.post("/orders", status_code=202)
    async def confirm(order: Order) -> dict[str, str]:
        try:
            receipt = await app.state.callbell.send(confirmation(order), journal=journal)
        except CallbellError as error:
            raise http_error(error) from error
        return {"uuid": receipt.uuid}

    @app.get("/orders/{number}")
    async def look(number: str) -> dict[str, str | None]:
        entry = await journal.entry(f"order-{number}")
        if entry is None:
            raise HTTPException(404, "no confirmation of this order was sent")
        return {"outcome": entry.outcome, "status": entry.status}

    @app.get("/health")
    async def health() -> dict[str, int]:
        stats = webhook.receiver.stats
        return {"pending": stats.pending, "refused": stats.refused, "failed": stats.failed}

    return app
