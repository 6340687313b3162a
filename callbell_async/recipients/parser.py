"""Telephone numbers in national form, and which numbers exist. Both need the extra `phone`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from callbell_async.errors import ConfigurationError, InvalidMessageError
from callbell_async.models.validation import check_digits, check_number, normalize_recipient, number_variants

__all__ = ["RecipientParser", "can_check_numbers"]

_LANDLINE = "is the number of a landline, which WhatsApp messages rarely reach; give a mobile number"


def can_check_numbers() -> bool:
    """Return whether the extra `phone` is installed."""
    return find_spec("phonenumbers") is not None


class RecipientParser:
    """Reads telephone numbers as people write them, and returns them in international form.

    ```python
    parse = RecipientParser(region="ES")
    message = TextMessage(to=parse("612 345 678"), text="Hello!")  # to +34612345678
    ```

    Without arguments it accepts the numbers that a message accepts. Blanks, dashes, dots and brackets are removed.

    Args:
        region: The region of numbers without `+` or `00`: two letters of ISO 3166-1, such as `ES`. Needs the extra `phone`.
        strict: Refuse numbers that do not exist: too short or too long for their country, in no range that is in use, or landlines. Needs
            the extra `phone`. A number is also accepted if it exists in the form to which WhatsApp corrects it.
        landlines: Accept landlines although `strict` is set: WhatsApp Business accounts may have such numbers.

    Raises:
        ConfigurationError: The region is not known.
        ModuleNotFoundError: The extra `phone` is needed and not installed.
    """

    def __init__(self, region: str | None = None, *, strict: bool = False, landlines: bool = False) -> None:
        self._numbers: Any = None
        if region is not None or strict:
            self._numbers = _phonenumbers("strict" if region is None else "region")
        if region is not None:
            region = region.upper() if isinstance(region, str) else region
            if region not in self._numbers.SUPPORTED_REGIONS:
                raise ConfigurationError(
                    f"region={region!r}: unknown region; give two letters of ISO 3166-1, such as 'ES' or 'GB'"
                )
        self._region = region
        self._strict = strict
        self._landlines = landlines

    def __repr__(self) -> str:
        return f"<{type(self).__name__} region={self._region!r} strict={self._strict}>"

    def __call__(self, number: str, *, field: str = "to") -> str:
        """Return the number in international form.

        Args:
            number: The number, in national or international form.
            field: The name of the value in the error.

        Returns:
            A `+` and 7 to 15 digits.

        Raises:
            InvalidMessageError: The value is not a telephone number, or with `strict` the number does not exist. The error has the reason.
        """
        if self._region is not None:
            number = self._international(field, number)
        number = normalize_recipient(check_number(field, number))
        if self._strict and (reason := self._fault(number)) is not None:
            raise InvalidMessageError(field, reason)
        return number

    def _international(self, field: str, number: str) -> str:
        digits = check_digits(field, number)
        if digits[0] == "+":
            return number
        remedy = "check the digits, and write numbers of other countries with + and country code"
        numbers = self._numbers
        try:
            parsed = numbers.parse(digits, self._region)
        except numbers.NumberParseException:
            reason = f"is not a telephone number of the region {self._region}; {remedy}"
            raise InvalidMessageError(field, reason) from None
        if (wrong := self._wrong_length(parsed, f"of the region {self._region}")) is not None:
            raise InvalidMessageError(field, f"{wrong}; {remedy}")
        found = str(numbers.format_number(parsed, numbers.PhoneNumberFormat.E164))
        code = str(numbers.country_code_for_region(self._region))
        # Where numbers differ in length, as in Germany, one that has lost its + may look like a national number.
        if digits.startswith(code) and found != f"+{digits}" and self._exists(f"+{digits}"):
            raise InvalidMessageError(
                field, f"can be read with and without the country code {code}; write it with + and country code"
            )
        return found

    def _exists(self, number: str) -> bool:
        return bool(self._numbers.is_valid_number(self._numbers.parse(number)))

    def _fault(self, number: str) -> str | None:
        """Return the reason for which a number does not exist, in all forms to which WhatsApp may correct it."""
        reason = self._fault_of_form(number)
        # In Argentina a mobile number without its 9 looks like a landline. Elsewhere a landline has no other form.
        if reason is None or (reason is _LANDLINE and not number.startswith("+54")):
            return reason
        is_corrected = any(self._fault_of_form(variant) is None for variant in number_variants(number))
        return None if is_corrected else reason

    def _fault_of_form(self, number: str) -> str | None:
        numbers = self._numbers
        try:
            parsed = numbers.parse(number)
        except numbers.NumberParseException:
            return "begins with a country code that does not exist; check the digits"
        kind = f"with country code {parsed.country_code}"
        if (reason := self._wrong_length(parsed, kind)) is not None:
            return f"{reason}; check the digits"
        if not numbers.is_valid_number(parsed):
            return f"does not exist: no number {kind} begins like this; check the digits"
        is_landline = numbers.number_type(parsed) == numbers.PhoneNumberType.FIXED_LINE
        return _LANDLINE if is_landline and not self._landlines else None

    def _wrong_length(self, parsed: Any, kind: str) -> str | None:
        result = self._numbers.ValidationResult
        match self._numbers.is_possible_number_with_reason(parsed):
            case result.IS_POSSIBLE:
                return None
            case result.TOO_LONG:
                return f"is too long for a number {kind}"
            case result.TOO_SHORT | result.IS_POSSIBLE_LOCAL_ONLY:
                return f"is too short for a number {kind}"
            case _:
                return f"has a number of digits that no number {kind} has"


def _phonenumbers(argument: str) -> Any:
    """Return the driver, which is imported at its first use, because it is an extra."""
    try:
        return import_module("phonenumbers")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{argument}: needs the package phonenumbers: pip install 'callbell-async[phone]'", name=error.name
        ) from None
