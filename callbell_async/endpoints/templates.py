"""Templates: the messages that may be sent at any time."""

from __future__ import annotations

from callbell_async.endpoints.base import Endpoint
from callbell_async.errors import InvalidMessageError, NotFoundError
from callbell_async.http.pagination import Paginator, load_page
from callbell_async.models.account import Template
from callbell_async.models.messages import TemplateMessage
from callbell_async.models.template_validation import check_template
from callbell_async.wire import load_one

__all__ = ["TemplatesEndpoint"]

# The response to PATCH uses the plural for one template.
_template = load_one(Template, "template", "templates")


class TemplatesEndpoint(Endpoint):
    """Templates: `callbell.templates`. Source: Callbell's Template Messages API."""

    def list(self) -> Paginator[Template]:
        """List all templates.

        Returns:
            The templates. Iteration fetches the pages, and raises `APIError` and `TransportError` as any call does.
        """
        return self._pages("templates", load=load_page(Template, "templates"))

    async def get(self, uuid: str) -> Template:
        """Return one template.

        Args:
            uuid: the template's identifier.

        Returns:
            The template.

        Raises:
            NotFoundError: the template does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        return await self._call("GET", "templates", uuid, load=_template)

    async def update(self, uuid: str, *, title: str) -> Template:
        """Change a template's title.

        Args:
            uuid: the template's identifier.
            title: the new title.

        Returns:
            The changed template.

        Raises:
            NotFoundError: the template does not exist.
            APIError: Callbell refused the request.
            TransportError: no readable response came; its `outcome` states whether the change may have been made.
        """
        return await self._call("PATCH", "templates", uuid, load=_template, json={"title": title})

    async def check(self, message: TemplateMessage) -> Template:
        """Check a template message before it is sent: the template exists, is approved, and fits, and WhatsApp takes the values.

        Args:
            message: the message to check. It is not sent.

        Returns:
            The message's template.

        Raises:
            InvalidMessageError: Callbell or WhatsApp would refuse the message. Its `field` is `template_uuid` (no such template, or not
                approved), `values` (too few or too many), `values[0]` and so on (a line break, a tab, or more than four blanks in a row),
                or `media` (missing, not needed, or of another kind).
            APIError: Callbell refused the request.
            TransportError: no readable response came.
        """
        try:
            template = await self.get(message.template_uuid)
        except NotFoundError as error:
            raise InvalidMessageError("template_uuid", "the template does not exist; check its identifier") from error
        check_template(message, template)
        return template
