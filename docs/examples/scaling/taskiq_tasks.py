"""Tasks on Redis with taskiq: `taskiq worker taskiq_tasks:broker`, and one `taskiq scheduler taskiq_tasks:scheduler`."""

import os

from sending import confirmation, may_retry, open_client, open_journal
from taskiq import TaskiqDepends, TaskiqEvents, TaskiqScheduler, TaskiqState
from taskiq.middlewares import SmartRetryMiddleware
from taskiq.schedule_sources import LabelScheduleSource
from taskiq_redis import ListRedisScheduleSource, RedisStreamBroker

REDIS_URL = os.environ["REDIS_URL"]
IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", "120"))
"""A task that is not acknowledged for this time is delivered again: longer than the longest task."""


class TryAgain(Exception):  # noqa: N818 - it is not a failure yet
    """The message was not sent, and sending it later can't create a duplicate."""


retries = ListRedisScheduleSource(REDIS_URL)
broker = RedisStreamBroker(
    REDIS_URL,
    queue_name="callbell",
    # Tasks that were sent before the first worker started are not skipped.
    consumer_id="0",
    idle_timeout=IDLE_SECONDS * 1000,
    unacknowledged_lock_timeout=10.0,
    xread_count=10,
).with_middlewares(
    SmartRetryMiddleware(
        types_of_exceptions=[TryAgain],
        default_retry_label=True,
        default_retry_count=8,
        default_delay=10.0,
        use_delay_exponent=True,
        schedule_source=retries,
    )
)
scheduler = TaskiqScheduler(broker, [LabelScheduleSource(broker), retries])

SHARED: TaskiqState = TaskiqDepends()
"""taskiq puts the state of the worker process in its place."""


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def prepare(state: TaskiqState) -> None:
    """Prepare one client for each worker process."""
    state.callbell, state.journal = open_client(), open_journal()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close(state: TaskiqState) -> None:
    """Close the client, and with it the journal."""
    await state.callbell.close()


@broker.task
async def confirm(order: str, phone: str, state: TaskiqState = SHARED) -> None:
    """Send one message."""
    try:
        await state.callbell.send(confirmation(order, phone), journal=state.journal)
    except Exception as error:
        if may_retry(error):
            raise TryAgain from error
        raise


@broker.task(schedule=[{"interval": IDLE_SECONDS}])
async def wake_up() -> None:
    """Let a worker look for unacknowledged tasks. It does so only when it gets a task, so one must come now and then."""
