"""Tasks on PostgreSQL with procrastinate: one for each message, and one for each batch of rows."""

import os

from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.jobs import Job
from sending import confirmation, may_retry

STALLED_AFTER = float(os.environ.get("STALLED_AFTER", "30"))
"""Seconds without a sign of life after which a worker counts as dead."""

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]))


class SafeRetry(BaseRetryStrategy):
    """Retries what can't create a duplicate: after 2, 4, 8 … seconds, 8 times."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when the job runs again, or `None` if it has failed."""
        if isinstance(exception, Exception) and may_retry(exception) and job.attempts < 8:
            return RetryDecision(retry_in={"seconds": 2 ** (job.attempts + 1)})
        return None


@app.task(queue="callbell", retry=SafeRetry(), pass_context=True)
async def confirm(context: JobContext, order: str, phone: str) -> None:
    """Send one message."""
    shared = context.additional_context
    await shared["callbell"].send(confirmation(order, phone), journal=shared["journal"])


@app.task(queue="callbell", retry=SafeRetry(), pass_context=True)
async def confirm_batch(context: JobContext, rows: list[list[str]]) -> None:
    """Send the messages of a batch of rows; a row has an order and a telephone number."""
    shared = context.additional_context
    messages = [confirmation(order, phone) for order, phone in rows]
    report = await shared["callbell"].send_many(messages, journal=shared["journal"])
    report.raise_for_failures()


@app.periodic(cron=os.environ.get("STALLED_CRON", "* * * * *"))
@app.task(queue="callbell", queueing_lock="retry_stalled_jobs", priority=1)
async def retry_stalled_jobs(timestamp: int) -> None:
    """Put the jobs of dead workers back into the queue. procrastinate does not do this by itself."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER):
        await app.job_manager.retry_job(job)
