"""The application creates tasks of taskiq."""

import asyncio

from taskiq_tasks import broker, confirm


async def main() -> None:
    """Create the tasks of two orders."""
    await broker.startup()
    await confirm.kiq("1234", "+447700900001")
    await confirm.kiq("1235", "+447700900002")
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
