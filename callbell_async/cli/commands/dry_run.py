"""`send-many --dry-run`: every row is checked, the first are shown, and nothing is sent."""

from __future__ import annotations

from contextlib import nullcontext

from callbell_async.cli.exit_codes import DONE, NOT_ALL_DONE
from callbell_async.cli.failed_rows import Outputs
from callbell_async.cli.input_rows import RowFile
from callbell_async.cli.message_form import MessagePlan
from callbell_async.cli.output import escape_control, info, result, result_json
from callbell_async.cli.row_results import RowResult
from callbell_async.errors import Outcome
from callbell_async.models.messages import Message
from callbell_async.wire import dump_message, load_json

__all__ = ["dry_run"]

SHOWN_BODIES = 5
"""Enough to see what a row becomes."""


def dry_run(rows: RowFile, plan: MessagePlan, outputs: Outputs) -> int:
    """Check every row, and give the exit status; what is wrong is told of each row, however many there are."""
    good = bad = 0
    with outputs.failed_rows(rows) or nullcontext() as failed:
        for row in rows.rows():
            item = plan.item(row)
            if isinstance(item, Message):
                good += 1
                if good <= SHOWN_BODIES:
                    _show(row.line, dump_message(item), as_json=outputs.as_json)
                continue
            bad += 1
            verdict = RowResult(
                line=row.line, outcome=Outcome.NEVER_SENT, complete=False, may_be_accepted=False, reason=str(item)
            )
            if failed is not None:
                failed.add(row, verdict)
            if outputs.as_json:
                result_json(verdict.as_json())
            else:
                info(escape_control(f"line {row.line}: {verdict.outcome.value}: {item}"))
    if outputs.as_json:
        result_json({"total": good + bad, "good": good, "bad": bad})
    else:
        result(f"{'good':<12}{good}")
        result(f"{'bad':<12}{bad}")
        info("dry run: nothing was sent")
    return NOT_ALL_DONE if bad else DONE


def _show(line: int, body: bytes, *, as_json: bool) -> None:
    if as_json:
        result_json({"line": line, "body": load_json(body)})
    else:
        result(f"line {line}: {escape_control(body.decode())}")
