"""The rest of the sandbox's account: channels, templates, teams, users and their statuses."""

from __future__ import annotations

from callbell_async.sandbox import (
    Sandbox,
    SandboxChannel,
    SandboxCustomStatus,
    SandboxFunnel,
    SandboxTeam,
    SandboxTemplate,
    SandboxUser,
)
from tests.fixtures.sandbox import Clock, ask, get, seed


async def test_channels_are_filtered(sandbox: Sandbox) -> None:
    """Channels are found by type, and by being active."""
    seed(sandbox.account)
    sandbox.account.seed(SandboxChannel(uuid="telegram", title="bot", type="telegram"))

    async def found(query: str) -> list[str]:
        return [channel["uuid"] for channel in (await get(sandbox, f"/channels?{query}"))["channels"]]

    assert await found("type=whatsapp") == ["channel", "old-channel"]
    assert await found("active=true") == ["channel", "telegram"]
    assert await found("active=false&type=whatsapp") == ["old-channel"]
    assert (await ask(sandbox, "GET", "/channels?type=pigeon"))[0] == 400
    assert (await ask(sandbox, "GET", "/channels?active=perhaps"))[0] == 400


async def test_seeds_replace_the_defaults(sandbox: Sandbox) -> None:
    """A new account has defaults; the first seed of a kind replaces those of its kind only."""
    assert len((await get(sandbox, "/channels"))["channels"]) == 4
    assert len((await get(sandbox, "/templates"))["templates"]) == 1
    sandbox.account.seed(SandboxChannel(title="mine"))
    assert [channel["title"] for channel in (await get(sandbox, "/channels"))["channels"]] == ["mine"]
    assert len((await get(sandbox, "/templates"))["templates"]) == 1


async def test_lists_are_paged(sandbox: Sandbox) -> None:
    """Templates, teams, channels and custom statuses come 20 a page; the funnels all at once."""
    for place in range(21):
        sandbox.account.seed(SandboxTemplate(title=str(place)))
        sandbox.account.seed(SandboxTeam(name=str(place)))
        sandbox.account.seed(SandboxChannel(title=str(place)))
        sandbox.account.seed(SandboxCustomStatus(name=str(place)))
        sandbox.account.seed(SandboxFunnel(name=str(place)))
    for path, key in [("templates",) * 2, ("teams",) * 2, ("channels",) * 2, ("custom_statuses", "customStatuses")]:
        second = await get(sandbox, f"/{path}?page=2")
        assert len(second[key]) == 1
        assert second["meta"] == {"page": 2, "pages": 2}
    assert len((await get(sandbox, "/funnels"))["funnels"]) == 21


async def test_members_and_their_statuses(sandbox: Sandbox, clock: Clock) -> None:
    """A user's custom status is shown among the team's members, and not after it was removed or deleted."""
    seed(sandbox.account)
    sandbox.account.seed(SandboxTeam(uuid="night", name="Night"))
    sandbox.account.seed(SandboxUser(email="owl@example.com", teams=["night"]))
    assert [user["email"] for user in (await get(sandbox, "/teams/night/members"))["users"]] == ["owl@example.com"]
    assert [team["members"] for team in (await get(sandbox, "/teams"))["teams"]] == [2, 1]
    clock.now += 60
    body = {"available": False, "custom_status_uuid": "status"}
    _, changed = await ask(sandbox, "PUT", "/users/user/status", json=body)
    assert changed["user_status"]["appearance"]["last_updated_at"] == "2026-01-01T13:01:00.000+01:00"
    away = (await get(sandbox, "/teams/team/members?status=away"))["users"]
    assert [user["userCustomStatus"]["name"] for user in away] == ["Vacationing", "Vacationing"]
    assert (await get(sandbox, "/teams/team/members?status=available"))["users"] == []
    assert (await ask(sandbox, "GET", "/teams/team/members?status=asleep"))[0] == 400
    _, removed = await ask(sandbox, "PUT", "/users/user/status", json={"custom_status_uuid": None})
    assert removed["user_status"]["custom_status"] is None
    assert (await ask(sandbox, "PUT", "/users/user/status", json={"custom_status_uuid": "x"}))[0] == 400
    await ask(sandbox, "DELETE", "/custom_statuses/status")
    members = (await get(sandbox, "/teams/team/members"))["users"]
    assert not any("userCustomStatus" in user for user in members)


async def test_custom_statuses_change(sandbox: Sandbox, clock: Clock) -> None:
    """A custom status is created, changed with its date, and not found after it was deleted."""
    _, created = await ask(sandbox, "POST", "/custom_statuses", json={"name": "Lunch", "emoji": "🍙"})
    path = f"/custom_statuses/{created['customStatus']['id']}"
    clock.now += 60
    await ask(sandbox, "PUT", path, json={"name": "Dinner"})
    assert (await get(sandbox, path))["customStatus"] == {
        "id": created["customStatus"]["id"],
        "name": "Dinner",
        "emoji": "🍙",
        "createdAt": "2026-01-01 13:00:00 +0100",
        "updatedAt": "2026-01-01 13:01:00 +0100",
    }
    await ask(sandbox, "DELETE", path)
    assert (await ask(sandbox, "GET", path))[0] == 404


async def test_a_custom_status_without_emoji(sandbox: Sandbox) -> None:
    """The name is enough to create a custom status, as in the documented example."""
    _, created = await ask(sandbox, "POST", "/custom_statuses", json={"name": "Lunch"})
    status = created["customStatus"]
    assert (status["name"], status["emoji"]) == ("Lunch", None)
    assert (await get(sandbox, f"/custom_statuses/{status['id']}"))["customStatus"] == status


async def test_titles_are_changed(sandbox: Sandbox) -> None:
    """A new title or name of a channel, template or team is found by the next request."""
    seed(sandbox.account)
    await ask(sandbox, "PATCH", "/channels/channel", json={"title": "New"})
    await ask(sandbox, "PATCH", "/templates/template", json={"title": "New"})
    await ask(sandbox, "PATCH", "/teams/team", json={"name": "New"})
    assert (await get(sandbox, "/channels/channel"))["channel"]["title"] == "New"
    assert (await get(sandbox, "/templates/template"))["template"]["title"] == "New"
    assert (await get(sandbox, "/teams/team"))["team"]["name"] == "New"
