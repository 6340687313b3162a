"""Records from JSON and to JSON, under the names of the attributes of the `Sandbox…` classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

import attrs
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api.validation import Rule, flag, one_of, strings, text
from callbell_async.sandbox.clock import is_writable
from callbell_async.sandbox.records import (
    ChannelType,
    SandboxChannel,
    SandboxContact,
    SandboxCustomField,
    SandboxCustomStatus,
    SandboxFunnel,
    SandboxTeam,
    SandboxTemplate,
    SandboxUser,
    SandboxWebhook,
)

__all__ = ["KINDS", "add_records", "list_records", "to_json"]

KINDS: Mapping[str, tuple[type[Any], Callable[[SandboxAccount], Iterable[Any]]]] = {
    "channels": (SandboxChannel, lambda account: account.channels),
    "templates": (SandboxTemplate, lambda account: account.templates),
    "teams": (SandboxTeam, lambda account: account.teams),
    "users": (SandboxUser, lambda account: account.users),
    "custom_statuses": (SandboxCustomStatus, lambda account: account.custom_statuses),
    "funnels": (SandboxFunnel, lambda account: account.funnels),
    "contacts": (SandboxContact, lambda account: account.contacts),
    "webhooks": (SandboxWebhook, lambda account: [] if account.webhook is None else [account.webhook]),
}
"""The class of each kind of record, and the records of an account."""

CUSTOM_FIELDS = "custom_fields"
KEPT_BY_THE_ACCOUNT = ("bot", "history", "last_reply", "activity")


def _checked(rule: Rule) -> Callable[[Any, Any], Any]:
    """Return a hook that takes the values which the rule accepts, without conversion."""

    def structure(value: Any, _: Any) -> Any:
        if error := rule(value):
            raise TypeError(error)
        return value

    return structure


def _whole_number(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) else "must be a whole number"


def _field_value(value: Any) -> str | None:
    return None if text(value) is None or strings(value) is None else "must be a string or a list of strings"


def _date(value: Any, _: Any) -> datetime:
    try:
        date = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a date such as 2026-01-01T12:00:00Z") from None
    if not is_writable(date):
        raise ValueError("must be a date from the year 2 to the year 9998")
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _checked(text))
    converter.register_structure_hook(bool, _checked(flag))
    converter.register_structure_hook(int, _checked(_whole_number))
    converter.register_structure_hook(datetime, _date)
    converter.register_structure_hook_func(lambda type_: type_ == ChannelType, _checked(one_of(get_args(ChannelType))))
    converter.register_structure_hook_func(lambda type_: type_ == str | list[str], _checked(_field_value))
    converter.register_structure_hook_func(lambda type_: type_ in (list[str], Sequence[str]), _checked(strings))
    converter.register_unstructure_hook(datetime, lambda date: date.astimezone(UTC).isoformat().replace("+00:00", "Z"))
    omitted: dict[str, Any] = {name: override(omit=True) for name in KEPT_BY_THE_ACCOUNT}
    attrs.resolve_types(SandboxContact)
    converter.register_structure_hook(
        SandboxContact,
        make_dict_structure_fn(SandboxContact, converter, _cattrs_forbid_extra_keys=True, **omitted),
    )
    converter.register_unstructure_hook(SandboxContact, make_dict_unstructure_fn(SandboxContact, converter, **omitted))
    return converter


_converter = _make_converter()


def to_json(record: Any) -> dict[str, Any]:
    """Return a record as JSON."""
    document: dict[str, Any] = _converter.unstructure(record)
    return document


def list_records(account: SandboxAccount, kind: str) -> list[Any]:
    """Return the account's records of a kind."""
    return list(KINDS[kind][1](account))


def add_records(account: SandboxAccount, document: Any) -> int:
    """Add records of all kinds, or none of them if one is wrong.

    Args:
        account: The account.
        document: For each kind (`contacts`, `templates` …) a list of records. `custom_fields` has a type for each name.

    Returns:
        The number of records.

    Raises:
        ValueError: A kind, a field or a value is wrong; the text names the place.
    """
    if not isinstance(document, Mapping):
        raise ValueError('must be a JSON object with lists of records, such as {"contacts": [{…}]}')
    records: list[Any] = []
    for kind, given in document.items():
        if kind == CUSTOM_FIELDS:
            continue
        if kind not in KINDS:
            raise ValueError(f"{kind}: unknown; must be one of: {', '.join([*KINDS, CUSTOM_FIELDS])}")
        records += _read(list[KINDS[kind][0]], given, kind)  # type: ignore[misc]
    fields = _read(dict[str, SandboxCustomField], document.get(CUSTOM_FIELDS, {}), CUSTOM_FIELDS)
    for record in records:
        account.seed(record)
    account.custom_fields.update(fields)
    return len(records) + len(fields)


def _read(type_: Any, value: Any, place: str) -> Any:
    expected = "a list" if place != CUSTOM_FIELDS else "an object"
    if not isinstance(value, list if place != CUSTOM_FIELDS else dict):
        raise ValueError(f"{place}: must be {expected}")
    try:
        return _converter.structure(value, type_)
    except BaseValidationError as error:
        errors = transform_error(error, path=place, format_exception=_explain)
        # "text @ place" becomes "place: text", as everywhere else.
        raise ValueError("; ".join(": ".join(reversed(line.rsplit(" @ ", 1))) for line in errors)) from None


def _explain(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    if unknown := getattr(error, "extra_fields", None):
        return f"unknown field: {', '.join(sorted(unknown))}"
    if isinstance(error, TypeError | ValueError) and str(error).startswith("must be"):
        return str(error)
    return "must be a JSON object"
