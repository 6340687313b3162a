"""What `send-many` stores in its journal for `resume`: the file and the options, never the token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from callbell_async.cli.connection import full_address, same_address
from callbell_async.cli.input_rows import STANDARD_INPUT, RowFile, is_stream
from callbell_async.cli.message_form import MessageForm, recipient_parser
from callbell_async.cli.options import DEFAULT_OUTAGE_TIMEOUT
from callbell_async.cli.output import info, pluralize
from callbell_async.cli.output_files import restore_cell
from callbell_async.cli.places import JournalPlace
from callbell_async.errors import ConfigurationError, JournalError, Outcome
from callbell_async.journal import Journal
from callbell_async.recipients.opt_outs import OptOutList

__all__ = [
    "SendJob",
    "allow_resend",
    "attach_journal",
    "check_unchanged",
    "read_keys",
    "saved_job",
    "saved_options",
]

_FORMAT = "1"


@attrs.frozen(kw_only=True)
class SendJob:
    """The input, the messages and the options of a run: everything but the token."""

    file: Path
    form: MessageForm
    to_column: str = "to"
    bsuid_column: str | None = None
    key_column: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    exclude: tuple[Path, ...] = ()
    duplicates: str = "skip"
    check_template: bool = True
    sandbox: bool = False
    base_url: str | None = None
    rate: int
    concurrency: int | None
    outage_timeout: int = DEFAULT_OUTAGE_TIMEOUT
    digest: str | None = None

    def notes(self) -> dict[str, str]:
        """The job as a journal stores it; the digest identifies the content of the file."""
        is_stream = self.file == STANDARD_INPUT
        file = self.file if is_stream else self.file.absolute()
        options = attrs.asdict(self, filter=attrs.filters.exclude("file", "digest"))
        options["exclude"] = [str(path.absolute()) for path in self.exclude]
        return {
            "send-many": _FORMAT,
            "file": str(file),
            "digest": self.digest or "",
            "options": json.dumps(options, ensure_ascii=True),
        }

    def with_digest(self) -> SendJob:
        """The same job with the digest of its file; a stream has none."""
        return attrs.evolve(self, digest=None if is_stream(self.file) else _digest(self.file))

    def opt_outs(self) -> OptOutList | None:
        """The recipients in the files of `--exclude`; `None` without any. Raises `ConfigurationError`, which names the line."""
        if not self.exclude:
            return None
        parser = recipient_parser(self.form, landlines=True)
        found = OptOutList(channel=self.form.channel, parser=parser)
        for path in self.exclude:
            try:
                found.update(OptOutList.read(path, column=self.to_column, channel=self.form.channel, parser=parser))
            except ConfigurationError as error:
                raise ConfigurationError(f"--exclude: {error}") from None
        return found


def saved_job(notes: Mapping[str, str], journal: JournalPlace) -> SendJob:
    """The job in a journal's notes; raises `ConfigurationError` when there is none that can be resumed."""
    if notes.get("send-many") != _FORMAT:
        raise ConfigurationError(
            f"{journal}: was not written by send-many; only a journal of send-many can be resumed. "
            "To send the rest, run the program again that wrote it"
        )
    file = Path(notes["file"])
    if not notes["digest"]:
        source = "standard input" if file == STANDARD_INPUT else str(file)
        raise ConfigurationError(
            f"{journal}: its messages came from {source}, which can't be read again; run the same send-many --journal "
            "with the same input: no message is sent twice"
        )
    options = saved_options(notes)
    try:
        options["exclude"] = tuple(map(Path, options.get("exclude", ())))
        return SendJob(file=file, digest=notes["digest"], **{**options, "form": MessageForm(**options["form"])})
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"{journal}: was written by another version of this program; run the same send-many --journal again: "
            "no message is sent twice"
        ) from None


def saved_options(notes: Mapping[str, str]) -> dict[str, Any]:
    """The options in a journal's notes; empty if another program wrote the journal."""
    options: dict[str, Any] = json.loads(notes["options"]) if notes.get("send-many") == _FORMAT else {}
    return options


def check_unchanged(job: SendJob, journal: JournalPlace) -> None:
    """Raise `ConfigurationError` unless the job's file is there with the same content as before."""
    try:
        digest = _digest(job.file)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; resuming {journal} needs this file") from None
    if digest != job.digest:
        raise ConfigurationError(
            f"{job.file}: has changed since the run; to send its present content, run send-many --journal {journal} "
            "again: no message is sent twice"
        )


async def attach_journal(job: SendJob, journal: Journal) -> None:
    """Store a job in its journal, which may have an earlier one.

    Raises `ConfigurationError` where only one of the two has `--sandbox`: messages that never reached Callbell would count as
    accepted, and would never be sent.
    """
    before = saved_options(await journal.notes())
    if before and before.get("sandbox", False) != job.sandbox:
        counts = await journal.counts()
        if counts[Outcome.ACCEPTED] or counts[Outcome.UNKNOWN]:
            difference = "sent to Callbell, not with" if job.sandbox else "sent with"
            raise ConfigurationError(
                f"--journal: the messages in {journal.label} were {difference} --sandbox; use another journal"
            )
    elif before and not job.sandbox and not same_address(before.get("base_url"), job.base_url):
        old, new = full_address(before.get("base_url")), full_address(job.base_url)
        info(
            f"{journal.label}: the last run sent to {old}, this one sends to {new}; accepted messages are not sent again"
        )
    try:
        await journal.write_notes(job.notes())
    except ConfigurationError:
        # The options are written as ASCII.
        raise ConfigurationError(
            f"{job.file}: its path is not UTF-8, so --journal can't store it for resume; rename the file or its folder"
        ) from None


async def allow_resend(journal: Journal, keys: tuple[str, ...]) -> None:
    """Allow the journal to send these messages again, all or none; raises `ConfigurationError` if one is not `UNKNOWN`."""
    if not keys:
        return
    try:
        await journal.allow_resend(*keys)
    except JournalError as error:
        raise ConfigurationError(f"--resend: {error}") from None
    info(f"{pluralize(len(keys), 'message')} that may have been accepted will be sent again")


def read_keys(file: Path) -> Iterator[str]:
    """The keys in CSV or JSONL with a `key`, as `export` and `reconcile` write it.

    Raises `ConfigurationError`, which names the line.
    """
    rows = RowFile(file)
    if rows.columns is not None and "key" not in rows.columns:
        raise ConfigurationError(
            f"--resend-file: {rows.name} has no column 'key'; it must be a file that export wrote, with its header row"
        )
    column = None if rows.columns is None else rows.columns.index("key")
    for row in rows.rows():
        # Spaces around a key belong to it: without them it would be another key.
        key = row.cells.get("key") if column is None or row.error else restore_cell(row.original[column])
        if row.error is not None or not key:
            raise ConfigurationError(f"--resend-file: line {row.line} of {rows.name} {row.error or 'has no key'}")
        yield key


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"{file}: can't be read ({error.strerror})") from None
