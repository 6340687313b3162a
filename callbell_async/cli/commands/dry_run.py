"""`send-many --dry-run`: checks every row, shows the first messages, and sends nothing."""

from __future__ import annotations

from contextlib import ExitStack

from callbell_async.cli.duplicates import DuplicateRowError, DuplicateRows
from callbell_async.cli.exit_codes import DONE, NOT_ALL_DONE
from callbell_async.cli.failed_rows import Outputs
from callbell_async.cli.input_rows import RowFile
from callbell_async.cli.message_form import MessagePlan
from callbell_async.cli.output import info, result, result_json
from callbell_async.cli.row_results import unsendable_row
from callbell_async.cli.summary import explain_no_rows
from callbell_async.models.messages import Message
from callbell_async.wire import dump_message, load_json

__all__ = ["dry_run"]

SHOWN_BODIES = 5
"""The number of messages that are shown: enough to check the placeholders."""


def dry_run(rows: RowFile, plan: MessagePlan, outputs: Outputs, *, skip_duplicates: bool = True) -> int:
    """Check every row, print all errors and duplicates, and return the exit status."""
    good = bad = repeats = 0
    with ExitStack() as stack:
        writer = outputs.failed_rows(rows)
        failed = None if writer is None else stack.enter_context(writer)
        duplicates = stack.enter_context(DuplicateRows()) if skip_duplicates else None
        for row in rows.rows():
            item = plan.item(row)
            if duplicates is not None:
                item = duplicates.checked(item, row.line)
            if isinstance(item, Message):
                good += 1
                if good <= SHOWN_BODIES:
                    _show(row.line, dump_message(item), as_json=outputs.as_json)
                continue
            is_duplicate = isinstance(item, DuplicateRowError)
            repeats += is_duplicate
            bad += not is_duplicate
            found = unsendable_row(row.line, item)
            if failed is not None:
                failed.add(row, found)
            if outputs.as_json:
                result_json(found.as_json())
            else:
                info(f"line {row.line}: {found.outcome.value}: {found.reason}")
    total = good + bad + repeats
    if outputs.as_json:
        result_json({"total": total, "good": good, "bad": bad, "duplicates": repeats})
    else:
        for name, count in (("good", good), ("bad", bad), ("duplicates", repeats)):
            result(f"{name:<12}{count}")
    if not total:
        explain_no_rows(rows.name)
        return NOT_ALL_DONE
    if not outputs.as_json:
        info("dry run: nothing was sent")
    return NOT_ALL_DONE if bad else DONE


def _show(line: int, body: bytes, *, as_json: bool) -> None:
    if as_json:
        result_json({"line": line, "body": load_json(body)})
    else:
        result(f"line {line}: {body.decode()}")
