"""A worker of procrastinate. Start any number of them, on any number of machines: `python procrastinate_worker.py`."""

import asyncio

from procrastinate_tasks import STALLED_AFTER, app
from sending import open_client, open_journal


async def main() -> None:
    """Run a worker until it is stopped."""
    async with app.open_async(), open_client() as callbell:
        await app.run_worker_async(
            concurrency=50,
            delete_jobs="successful",
            update_heartbeat_interval=STALLED_AFTER / 3,
            stalled_worker_timeout=STALLED_AFTER,
            additional_context={"callbell": callbell, "journal": open_journal()},
        )


if __name__ == "__main__":
    asyncio.run(main())
