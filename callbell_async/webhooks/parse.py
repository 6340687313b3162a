"""What it says: the event in a webhook's request."""

from __future__ import annotations

from callbell_async.errors import EventDecodeError
from callbell_async.models.events import Event
from callbell_async.wire.events import load_event
from callbell_async.wire.json_text import WireError

__all__ = ["parse_event"]


def parse_event(body: bytes) -> Event:
    """The event in the body of a webhook's request; raises `EventDecodeError` where it is no JSON object with a string `event`.

    Nothing else is refused: an event this library does not know is an `UnknownEvent`, and what is missing, of another kind than documented or
    new costs nothing but its own field. Everything that came is in `raw`.
    """
    try:
        return load_event(body)
    except WireError as error:
        raise EventDecodeError(f"no event: {error}") from None
