"""Checks the template of a run once, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callbell_async.cli.message_form import MessagePlan
from callbell_async.errors import ConfigurationError, InvalidMessageError

if TYPE_CHECKING:
    from callbell_async.client import CallbellClient

__all__ = ["check_template"]

_OPTIONS = {
    "template_uuid": "--template",
    "values": "--values",
    "media": "--image, --document or --video",
}
_REMEDY = "--no-check skips this check"


async def check_template(callbell: CallbellClient, plan: MessagePlan, *, by_title: bool) -> MessagePlan:
    """Return the plan once it is known that Callbell would send its template: it exists, is approved, and the values and media fit.

    A plan without a template, or with another template for each row, is returned unchecked.

    Args:
        callbell: The client that asks for the template.
        plan: The plan of the run.
        by_title: Accept the title of a template in place of its UUID.

    Raises:
        ConfigurationError: The template would be refused; the error names the option.
        CallbellError: Callbell can't be asked.
    """
    try:
        sample = plan.template_sample()
        if sample is None:
            return plan
        if by_title:
            plan = plan.with_template(await _uuid_of(callbell, sample.template_uuid))
            sample = plan.template_sample() or sample
        await callbell.templates.check(sample)
    except InvalidMessageError as error:
        option = _OPTIONS.get(error.field, error.field)
        raise ConfigurationError(f"{option}: {error.reason} ({_REMEDY})") from None
    return plan


async def _uuid_of(callbell: CallbellClient, name: str) -> str:
    """The UUID of the template with this UUID or title."""
    titles = []
    async for template in callbell.templates.list():
        if name in (template.uuid, template.title):
            return template.uuid or name
        titles.append(repr(template.title))
    raise ConfigurationError(
        f"--template: there is no template {name!r}; there is {', '.join(titles) or 'none'} ({_REMEDY})"
    )
