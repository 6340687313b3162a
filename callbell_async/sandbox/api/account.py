"""The account: its owner, plan, channels, templates and funnels, and its team: teams, custom statuses, and the status of each user."""

from __future__ import annotations

from typing import Any

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.api import responses, validation
from callbell_async.sandbox.api.pagination import page_of
from callbell_async.sandbox.api.validation import CHANNELS, Fields, query_choice, read_json, required_field
from callbell_async.sandbox.exchange import Operation, SandboxRequest, SandboxResponse
from callbell_async.sandbox.records import SandboxCustomStatus

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
    kind = query_choice(request.query, "type", CHANNELS)
    active = query_choice(request.query, "active", ("true", "false"))
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
    channel.title = required_field(request.body, "title")
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
    template.title = required_field(request.body, "title")
    return SandboxResponse(200, {"templates": responses.template(template, patched=True)})


def get_funnels(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """List all stages of the funnel, on one page."""
    return SandboxResponse(200, {"funnels": [responses.funnel(funnel) for funnel in account.funnels]})


# --- the team ---------------------------------------------------------------------------------------------------------


def get_teams(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """List the teams."""
    page, meta = page_of(list(account.teams), request.query)
    return SandboxResponse(200, {"teams": [responses.team(account, team) for team in page], "meta": meta})


def get_team(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Return one team."""
    return SandboxResponse(200, {"team": responses.team(account, account.teams.get(uuid))})


def patch_team(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Change a team's name."""
    team = account.teams.get(uuid)
    team.name = required_field(request.body, "name")
    return SandboxResponse(200, {"team": responses.team(account, team)})


def get_members(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """List the members of a team, filtered by available or away."""
    members = account.members(account.teams.get(uuid))
    status = query_choice(request.query, "status", ("available", "away"))
    fitting = [user for user in members if status is None or user.available == (status == "available")]
    page, meta = page_of(fitting, request.query)
    return SandboxResponse(200, {"users": [responses.member(account, user) for user in page], "meta": meta})


def get_custom_statuses(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """List the custom statuses."""
    page, meta = page_of(list(account.custom_statuses), request.query)
    return SandboxResponse(200, {"customStatuses": [responses.custom_status(status) for status in page], "meta": meta})


def post_custom_status(account: SandboxAccount, request: SandboxRequest) -> SandboxResponse:
    """Create a custom status; the emoji is optional."""
    fields = Fields(read_json(request.body))
    name, emoji = fields.required("name"), fields.optional("emoji", validation.filled)
    fields.check()
    now = account.calendar.now()
    status = SandboxCustomStatus(name=name, emoji=emoji, created_at=now, updated_at=now)
    account.custom_statuses.add(status)
    return SandboxResponse(200, {"customStatus": responses.custom_status(status)})


def get_custom_status(account: SandboxAccount, request: SandboxRequest, identifier: str) -> SandboxResponse:
    """Return one custom status."""
    return SandboxResponse(200, {"customStatus": responses.custom_status(account.custom_statuses.get(identifier))})


def put_custom_status(account: SandboxAccount, request: SandboxRequest, identifier: str) -> SandboxResponse:
    """Change a custom status: its name, its emoji or both."""
    status = account.custom_statuses.get(identifier)
    fields = Fields(read_json(request.body))
    name, emoji = fields.optional("name", validation.filled), fields.optional("emoji", validation.filled)
    fields.check()
    status.name, status.emoji = name or status.name, emoji or status.emoji
    status.updated_at = account.calendar.now()
    return SandboxResponse(200, {"customStatus": responses.custom_status(status)})


def delete_custom_status(account: SandboxAccount, request: SandboxRequest, identifier: str) -> SandboxResponse:
    """Delete a custom status, also from the users who have it."""
    status = account.custom_statuses.get(identifier)
    account.custom_statuses.remove(status)
    for user in account.users:
        if user.custom_status == identifier:
            user.custom_status = user.custom_status_at = None
            account.emit("agent_status_updated", user)
    return SandboxResponse(200, {"status": "custom status was destroyed"})


def put_user_status(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Change a user's availability and custom status; `null` removes the custom status."""
    user = account.users.get(uuid)
    fields = Fields(read_json(request.body))
    available = fields.optional("available", validation.flag)
    custom: Any = fields.optional("custom_status_uuid", validation.filled)
    if isinstance(custom, str) and account.custom_statuses.find(custom) is None:
        fields.add_error("custom_status_uuid", "is unknown")
    fields.check()
    now = account.calendar.now()
    if available is not None:
        user.available, user.updated_at = available, now
    if "custom_status_uuid" in fields:
        user.custom_status, user.custom_status_at = custom, None if custom is None else now
    account.emit("agent_status_updated", user)
    return SandboxResponse(200, {"user_status": responses.user_status(account, user)})


def delete_user_status(account: SandboxAccount, request: SandboxRequest, uuid: str) -> SandboxResponse:
    """Remove a user's custom status."""
    user = account.users.get(uuid)
    user.custom_status = user.custom_status_at = None
    account.emit("agent_status_updated", user)
    return SandboxResponse(204)


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
    "GET /teams": get_teams,
    "GET /teams/:uuid": get_team,
    "PATCH /teams/:uuid": patch_team,
    "GET /teams/:uuid/members": get_members,
    "GET /custom_statuses": get_custom_statuses,
    "POST /custom_statuses": post_custom_status,
    "GET /custom_statuses/:id": get_custom_status,
    "PUT /custom_statuses/:id": put_custom_status,
    "DELETE /custom_statuses/:id": delete_custom_status,
    "PUT /users/:uuid/status": put_user_status,
    "DELETE /users/:uuid/status": delete_user_status,
}
