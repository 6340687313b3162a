"""The application creates jobs of procrastinate: one for a message, and one for a batch of rows."""

import asyncio

from procrastinate_tasks import app, confirm, confirm_batch


async def main() -> None:
    """Create the jobs of three orders."""
    async with app.open_async():
        await confirm.defer_async(order="1234", phone="+447700900001")
        await confirm_batch.defer_async(rows=[["1235", "+447700900002"], ["1236", "+447700900003"]])


if __name__ == "__main__":
    asyncio.run(main())
