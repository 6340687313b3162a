"""Tasks of Celery: `celery --app celery_tasks worker --concurrency 4`."""

import os
from typing import Any

from callbell_sync import close, send
from celery import Celery
from celery.signals import worker_process_shutdown

from callbell_async import CallbellError, DuplicateMessageError, Outcome, TextMessage

app = Celery("shop", broker=os.environ["BROKER_URL"])


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=8)
def confirm(task: Any, order: str, phone: str) -> str:
    """Send the confirmation of an order once, however often the task is delivered."""
    message = TextMessage(to=phone, text=f"We have your order {order}.", key=f"confirm-{order}")
    try:
        return send(message).uuid
    except CallbellError as error:
        other_sends = isinstance(error, DuplicateMessageError) and error.entry.in_flight
        if other_sends or error.outcome is Outcome.NEVER_SENT:
            raise task.retry(exc=error, countdown=2**task.request.retries) from error
        raise


@worker_process_shutdown.connect
def close_client(**_: Any) -> None:
    """Close the client of a child process, which skips the functions of `atexit`."""
    close()
