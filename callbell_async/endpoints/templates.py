"""Templates: what may be sent at any time."""

from __future__ import annotations

from callbell_async.endpoints.base import Endpoint
from callbell_async.errors import InvalidMessageError, NotFoundError
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import Template
from callbell_async.models.messages import TemplateMessage
from callbell_async.models.template_validation import check_template
from callbell_async.wire import load_one

__all__ = ["TemplatesEndpoint"]

# A PATCH answers with the plural, though it is one.
_template = load_one(Template, "template", "templates")


class TemplatesEndpoint(Endpoint):
    """Templates: `callbell.templates`. Source: Callbell's Template Messages API."""

    def list(self) -> Paginator[Template]:
        """All templates."""
        return self._pages("templates", load=load_page(Template, "templates"))

    async def get(self, uuid: str) -> Template:
        """One template."""
        return await self._call("GET", "templates", uuid, load=_template)

    async def update(self, uuid: str, *, title: str) -> Template:
        """Change a template's title."""
        return await self._call("PATCH", "templates", uuid, load=_template, json={"title": title})

    async def check(self, message: TemplateMessage) -> Template:
        """The template of a message, once it is sure that Callbell would send it: it exists, is approved, and fits.

        Raises `InvalidMessageError` with the field: `template_uuid` (no such template, or not approved), `values` (too few or too many), `media` (none,
        needless, or of another kind).
        """
        try:
            template = await self.get(message.template_uuid)
        except NotFoundError as error:
            raise InvalidMessageError("template_uuid", "there is no such template") from error
        check_template(message, template)
        return template
