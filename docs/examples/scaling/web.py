"""A web application whose workers share one limit and one journal: `uvicorn web:app --workers 4`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel
from sending import confirmation, may_retry, open_client, open_journal

from callbell_async import CallbellError, Outcome


class Order(BaseModel):
    """A request to confirm an order."""

    id: str
    phone: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one client for each worker process."""
    async with open_client() as callbell:
        app.state.callbell, app.state.journal = callbell, open_journal()
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders")
async def confirm(order: Order, request: Request) -> dict[str, str]:
    """Send the confirmation once, however many times and to whichever worker this request is sent."""
    state = request.app.state
    try:
        receipt = await state.callbell.send(confirmation(order.id, order.phone), journal=state.journal)
    except CallbellError as error:
        if may_retry(error):
            raise HTTPException(503, "not sent; try again", headers={"Retry-After": "1"}) from error
        if error.outcome in (Outcome.UNKNOWN, Outcome.SKIPPED):
            raise HTTPException(409, "it may have been sent; not sent again") from error
        raise HTTPException(422, f"refused: {error}") from error
    return {"uuid": receipt.uuid}
