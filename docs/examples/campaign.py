"""Send a text to each row of a CSV file with the columns `phone` and `name`. Start it again after a crash: it sends the rest.

Run it with `python campaign.py recipients.csv`. The environment has CALLBELL_TOKEN.
"""

import argparse
import asyncio
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from callbell_async import CallbellClient, InvalidMessageError, Journal, Outcome, SendReport, SendResult, TextMessage


def messages(file: Path) -> Iterator[TextMessage | InvalidMessageError]:
    """Yield the message of each row, or the error in its place; the other rows are sent."""
    with file.open(encoding="utf-8-sig", newline="") as rows:
        table = csv.DictReader(rows)
        if missing := {"phone", "name"}.difference(table.fieldnames or ()):
            sys.exit(f"{file}: there is no column {', '.join(sorted(missing))}")
        for row in table:
            try:
                yield TextMessage(to=row["phone"], text=f"Dear {row['name']}, our spring sale begins today.")
            except InvalidMessageError as error:
                yield error


def report_failure(result: SendResult) -> None:
    """Print the line and the error of a row that was not accepted; the text of an error has no personal data."""
    if result.outcome is not Outcome.ACCEPTED and not result.is_duplicate:
        # A row is one line, and the header row is line 1.
        print(f"line {result.index + 2}: {result.outcome}: {result.error}", file=sys.stderr)


async def run(file: Path, journal: Journal) -> SendReport:
    """Send the messages, and resolve those whose outcome is unknown."""
    async with CallbellClient() as callbell:
        report = await callbell.send_many(messages(file), journal=journal, on_result=report_failure)
        async with journal:
            await callbell.reconcile(journal)
            counts = await journal.counts()
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    return report


def main() -> int:
    """Run the campaign; return 0 if every message was accepted, now or before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="the CSV file")
    parser.add_argument("--journal", type=Path, default=Path("campaign.db"), help="the file that records what was sent")
    arguments = parser.parse_args()
    report = asyncio.run(run(arguments.file, Journal(arguments.journal)))
    return 0 if report.accepted + report.duplicates == report.total else 1


if __name__ == "__main__":
    sys.exit(main())
