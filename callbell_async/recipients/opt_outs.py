"""Recipients that a run never sends to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Self

from callbell_async.errors import ConfigurationError, InvalidMessageError, OptedOutError
from callbell_async.models.messages import WHATSAPP, Message
from callbell_async.models.validation import check_string, normalize_recipient, number_variants
from callbell_async.recipients.parser import RecipientParser
from callbell_async.recipients.tables import Records, Sheet, csv_records, guess_delimiter, is_spreadsheet

__all__ = ["OptOutList"]

_BSUID = re.compile(r"[A-Z]{2}(?:\.ENT)?\.[A-Za-z0-9]{1,128}")


class OptOutList:
    """Recipients who do not want messages.

    ```python
    report = await callbell.send_many(messages, exclude=OptOutList.read("opt-outs.csv"))
    ```

    A message to one of them is not sent: its result is `SKIPPED`, with an `OptedOutError`. Numbers are compared in one form, and also in all
    forms to which WhatsApp may correct them. A message to a number can't be recognized by the BSUID of its contact, nor the reverse.

    Args:
        recipients: Telephone numbers, and WhatsApp user IDs (BSUID); on another channel its identifiers.
        channel: The channel. On other channels than `whatsapp`, any text that is not blank is a recipient.
        parser: Reads the numbers, such as `RecipientParser(region="ES")`. By default they are in international form.

    Raises:
        ConfigurationError: A recipient can't be read. The error has its position, and the reason.
    """

    def __init__(
        self, recipients: Iterable[str] = (), *, channel: str = WHATSAPP, parser: RecipientParser | None = None
    ) -> None:
        if isinstance(recipients, str) or not isinstance(recipients, Iterable):
            raise ConfigurationError("exclude: must be an OptOutList, or a collection of recipients")
        self._channel = channel
        self._parser = RecipientParser() if parser is None else parser
        self._recipients: set[str] = set()
        for index, recipient in enumerate(recipients):
            try:
                self.add(recipient)
            except InvalidMessageError as error:
                raise ConfigurationError(f"exclude[{index}]: {error.reason}") from None

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        column: str = "to",
        sheet: str | None = None,
        channel: str = WHATSAPP,
        parser: RecipientParser | None = None,
    ) -> Self:
        """Read a list from a file: CSV or a spreadsheet with a header row, or a text file with one recipient on each line.

        Every row must be readable: a recipient that is passed over would get messages. Empty rows are skipped. An empty file is an
        error, because it may be the output of a command that failed.

        Args:
            path: The file; text is UTF-8.
            column: The column with the recipients, if there are several columns.
            sheet: The sheet of a spreadsheet. By default the first one that is not hidden.
            channel: As for the class.
            parser: As for the class.

        Raises:
            ConfigurationError: The file or one of its rows can't be read. The error names the line, and does not quote it.
        """
        path = Path(path)
        try:
            records = Sheet(path, sheet).rows() if is_spreadsheet(path) else _text_records(path)
            return cls._from_records(records, path, column, channel, parser)
        except OSError as error:
            raise ConfigurationError(f"{path}: can't be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f'{path}: is not UTF-8; save it as "CSV UTF-8"') from None

    @classmethod
    def _from_records(
        cls, records: Records, path: Path, column: str, channel: str, parser: RecipientParser | None
    ) -> Self:
        found = cls(channel=channel, parser=parser)
        width, place = 1, 0
        count = -1
        for count, (line, cells) in enumerate(records):
            try:
                if count == 0 and (place_of_column := found._header_place(cells, column)) is not None:
                    width, place = len(cells), place_of_column
                elif len(cells) != width:
                    raise InvalidMessageError("row", f"the number of its cells is {len(cells)}, and must be {width}")
                else:
                    found.add(cells[place])
            except InvalidMessageError as error:
                raise ConfigurationError(
                    f"{path}: line {line}: {error.reason}; correct the line, because its recipient would get messages"
                ) from None
        if count < 0:
            # More likely the output of a command that failed than a list of nobody.
            raise ConfigurationError(f"{path}: is empty; a list without recipients has a header row, such as: {column}")
        return found

    def _header_place(self, cells: list[str], column: str) -> int | None:
        """Return the place of the column if this is a header row, and `None` if the file is a plain list."""
        names = [cell.strip() for cell in cells]
        if names.count(column) > 1:
            raise InvalidMessageError("row", f"has several columns {column!r}; give each its own name")
        if column in names:
            return names.index(column)
        if len(names) > 1:
            raise InvalidMessageError(
                "row", f"has several cells, and none is {column!r}; name the column of the recipients {column!r}"
            )
        # A first recipient must not pass as a header, also if it can't be read.
        is_header = self._channel == WHATSAPP and not (any(map(str.isdigit, names[0])) or _BSUID.fullmatch(names[0]))
        return 0 if is_header else None

    def add(self, recipient: str) -> None:
        """Add a recipient, also during a run. Raises `InvalidMessageError` for one that can't be read."""
        if self._channel != WHATSAPP or (isinstance(recipient, str) and _BSUID.fullmatch(recipient.strip())):
            self._recipients.add(check_string("to", recipient).strip())
            return
        number = self._parser(recipient)
        self._recipients.update((number, *number_variants(number)))

    def update(self, other: OptOutList) -> None:
        """Add the recipients of another list."""
        self._recipients |= other._recipients

    def excludes(self, message: Message) -> bool:
        """Return whether the message is for one of the recipients: by its `to` or its `bsuid`."""
        if message.channel != self._channel:
            return False
        return (message.to is not None and message.to in self) or message.bsuid in self._recipients

    def check(self, message: Message) -> None:
        """Raise `OptedOutError` if the message is for one of the recipients."""
        if self.excludes(message):
            raise OptedOutError

    def __contains__(self, recipient: str) -> bool:
        return (normalize_recipient(recipient) if self._channel == WHATSAPP else recipient) in self._recipients

    def __bool__(self) -> bool:
        return bool(self._recipients)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._channel}>"


def _text_records(path: Path) -> Records:
    with path.open(encoding="utf-8-sig", newline="") as file:
        # A pipe can be read only once.
        first = file.readline()
        yield from csv_records(chain([first], file), guess_delimiter(first), name=str(path))
