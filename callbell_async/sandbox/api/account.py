"""The account: its owner, plan, channels, templates and funnels."""

from __future__ import annotations

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses, validation
from callbell_async.sandbox.api.pagination import page_of
from callbell_async.sandbox.api.validation import CHANNELS, Fields, read_json
from callbell_async.sandbox.exchange import Operation, SandboxRequest, SandboxResponse, refusal

__all__ = ["OPERATIONS"]


def me(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Return the owner of the token: the first user."""
    user = next(iter(account.users))
    key = request.headers.get("authorization", "").removeprefix("Bearer ").encode("utf-8", "replace").decode()
    return SandboxResponse(200, {"status": "ok", "user_email": user.email, "user_name": user.name, "api_key": key})


def plan(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Return the plan; the response is the object itself."""
    document = {
        "plan": account.plan,
        "includedChannels": account.included_channels,
        "licenses": account.licenses,
        "activeUsers": len(account.users),
        "teams": [responses.team(account, team) for team in account.teams],
    }
    return SandboxResponse(200, document)


def get_channels(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """List the channels, filtered by type and by active or not."""
    kind, active = request.query.get("type"), request.query.get("active")
    if error := None if kind is None else validation.one_of(CHANNELS)(kind):
        raise refusal(400, {"type": [error]})
    if error := None if active is None else validation.one_of(("true", "false"))(active):
        raise refusal(400, {"active": [error]})
    fitting = [
        channel
        for channel in account.channels
        if kind in (None, channel.type) and (active is None or channel.discarded == (active == "false"))
    ]
    page, meta = page_of(fitting, request.query)
    return SandboxResponse(
        200, {"channels": [responses.channel(channel, listed=True) for channel in page], "meta": meta}
    )


def get_channel(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Return one channel."""
    return SandboxResponse(200, {"channel": responses.channel(account.channels.get(uuid))})


def patch_channel(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Change a channel's title."""
    channel = account.channels.get(uuid)
    channel.title = _required(request, "title")
    return SandboxResponse(200, {"channel": responses.channel(channel)})


def get_templates(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """List the templates."""
    page, meta = page_of(list(account.templates), request.query)
    return SandboxResponse(200, {"templates": [responses.template(template) for template in page], "meta": meta})


def get_template(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Return one template."""
    return SandboxResponse(200, {"template": responses.template(account.templates.get(uuid))})


def patch_template(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Change a template's title; the key of the response is a plural."""
    template = account.templates.get(uuid)
    template.title = _required(request, "title")
    return SandboxResponse(200, {"templates": responses.template(template, patched=True)})


def get_funnels(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """List all stages of the funnel, on one page."""
    return SandboxResponse(200, {"funnels": [responses.funnel(funnel) for funnel in account.funnels]})


def _required(request: SandboxRequest, name: str) -> str:
    fields = Fields(read_json(request.body))
    value: str = fields.required(name)
    fields.check()
    return value


OPERATIONS: dict[str, Operation] = {
    "GET /auth/me": me,
    "GET /plan": plan,
    "GET /channels": get_channels,
    "GET /channels/:uuid": get_channel,
    "PATCH /channels/:uuid": patch_channel,
    "GET /templates": get_templates,
    "GET /templates/:uuid": get_template,
    "PATCH /templates/:uuid": patch_template,
    "GET /funnels": get_funnels,
}
