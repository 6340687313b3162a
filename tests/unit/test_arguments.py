"""The checks of arguments: secrets are trimmed and never quoted, and every error names the argument and the remedy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from callbell_async import CallbellClient, ConfigurationError, InvalidMessageError, TemplateMessage
from callbell_async.arguments import (
    check_base_url,
    check_count,
    check_flag,
    check_instance,
    check_seconds,
    check_secret,
    check_string_list,
    check_token,
    is_insecure,
)
from callbell_async.models.template_validation import fill_template
from callbell_async.sandbox import Sandbox, SandboxUser, SandboxWebhook

SECRET = "whsec_9yQ2nT7bLr0XvK4m"


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        f"{SECRET}\n",
        f"{SECRET}\r\n",
        f"\t {SECRET} \n\n",
        f"\ufeff{SECRET}\n",
        f"\u00a0{SECRET}\u200b",
    ],
)
def test_blanks_around_a_secret_are_removed(written: str) -> None:
    """Line breaks, blanks and invisible marks around a secret, as files and shells add them, are removed."""
    assert check_secret("secret", written) == SECRET
    assert check_token(written) == SECRET


def test_the_padding_of_base64_belongs_to_a_secret() -> None:
    """A secret that ends with equals signs is not taken for an assignment."""
    assert check_secret("secret", "dGVzdA==") == "dGVzdA=="
    assert check_token("dGVzdA==") == "dGVzdA=="


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (f'"{SECRET}"', "quotation marks"),
        (f"'{SECRET}'\n", "quotation marks"),
        (f"\u201c{SECRET}\u201d", "quotation marks"),
        (f'{SECRET}"', "quotation marks"),
        (f"CALLBELL_TOKEN={SECRET}", "NAME=value"),
        (f"secret = {SECRET}", "NAME=value"),
        (f"export WEBHOOK_SECRET='{SECRET}", "NAME=value"),
        ("", "is blank"),
        (" \n\ufeff", "is blank"),
        (None, "must be a string, not NoneType"),
        (SECRET.encode(), "must be a string, not bytes"),
    ],
)
def test_a_secret_with_more_around_it_is_refused(written: Any, reason: str) -> None:
    """Quotation marks and `NAME=` are refused with the remedy, and the error shows nothing of the secret."""
    with pytest.raises(ConfigurationError, match=f"^secret: .*{reason}") as caught:
        check_secret("secret", written)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (f'Bearer "{SECRET}"', "quotation marks"),
        (f'"Bearer {SECRET}"', "quotation marks"),
        (f"CALLBELL_TOKEN=Bearer {SECRET}", "NAME=value"),
        (f"{SECRET} {SECRET}", "blanks or line breaks"),
        (f"{SECRET}\n{SECRET}", "blanks or line breaks"),
        (f"{SECRET}\0", "header"),
        (f"{SECRET}ö", "header"),
        (SECRET.encode(), "must be a string, not bytes"),
    ],
)
def test_a_token_that_no_request_can_carry_is_refused(written: Any, reason: str) -> None:
    """A token is one word of printable ASCII; the error names the remedy and does not quote it."""
    with pytest.raises(ConfigurationError, match=f"^token: .*{reason}") as caught:
        check_token(written)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    ("value", "positive", "endless", "optional"),
    [
        (0.1, True, False, False),
        (30, True, False, False),
        (0, False, False, False),
        (math.inf, False, True, False),
        (None, True, False, True),
    ],
)
def test_seconds_in_range_are_taken(value: Any, positive: bool, endless: bool, optional: bool) -> None:
    """Integers and floats are seconds; infinity and `None` only where they have a meaning."""
    check_seconds("timeout", value, positive=positive, endless=endless, optional=optional)


@pytest.mark.parametrize(
    ("value", "positive", "endless", "optional"),
    [
        (0, True, False, False),
        (-1, False, True, True),
        (-math.inf, False, True, False),
        (math.inf, True, False, True),
        (math.nan, False, True, True),
        (10**400, False, True, False),
        (True, False, False, False),
        ("30", True, False, True),
        (None, True, False, False),
    ],
)
def test_other_seconds_are_refused(value: Any, positive: bool, endless: bool, optional: bool) -> None:
    """A boolean, a string, NaN and what is out of range are refused, by the argument's name."""
    with pytest.raises(ConfigurationError, match=r"^timeout=.*: must be a number of seconds, "):
        check_seconds("timeout", value, positive=positive, endless=endless, optional=optional)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, math.nan, math.inf, "5", None])
def test_a_count_is_a_whole_number(value: Any) -> None:
    """A boolean, a float, a string and a number below the least are not a count."""
    with pytest.raises(ConfigurationError, match=r"^limit=.*: must be a whole number of requests, 1 or more$"):
        check_count("limit", value, unit="requests")


@pytest.mark.parametrize("value", [1, 0, "no", None])
def test_a_flag_is_a_boolean(value: Any) -> None:
    """The string "no" is true in Python, so it is refused where a flag is meant."""
    with pytest.raises(ConfigurationError, match=r"^resend_unknown=.*: must be True or False$"):
        check_flag("resend_unknown", value)


def test_an_instance_is_not_its_class() -> None:
    """The error names the type that was given, or the class, and what to give."""
    assert check_instance("number", 3, int, "give 3") == 3
    with pytest.raises(ConfigurationError, match=r"^number: must be int, not the class int; give 3$"):
        check_instance("number", int, int, "give 3")
    with pytest.raises(ConfigurationError, match=r"^number: must be int, not str; give 3$"):
        check_instance("number", "3", int, "give 3")


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        None,
        3,
        "api.callbell.eu/v1",
        "ftp://api.callbell.eu/v1",
        "https://",
        "http://[::1",
        "https://api.callbell.eu:port/v1",
        "https://api.callbell.eu:99999/v1",
        "https://api.callbell.eu\n/v1",
        "https://api callbell.eu/v1",
        "https://api.callbell.eu/v1?x=1",
        "https://api.callbell.eu/v1#x",
    ],
)
def test_a_base_url_that_leads_nowhere_is_refused(url: Any) -> None:
    """A base URL is absolute, http or https, without a query; the error shows one."""
    with pytest.raises(ConfigurationError, match=r"^base_url: .* such as https://example\.com/v1$"):
        check_base_url(url, example="https://example.com/v1")


@pytest.mark.parametrize("url", [" https://example.com/v1/ ", "https://example.com/v1//\n"])
def test_blanks_and_slashes_around_a_base_url_are_removed(url: str) -> None:
    """Blanks and slashes that a file or a shell adds around the URL are removed."""
    assert check_base_url(url, example="") == "https://example.com/v1"


@pytest.mark.parametrize(
    ("url", "insecure"),
    [
        ("https://api.callbell.eu/v1", False),
        ("http://api.callbell.eu/v1", True),
        ("http://10.0.0.5:8080", True),
        ("http://127.0.0.1.example.com", True),
        ("http://localhost.example.com", True),
        ("http://127.0.0.1:8080/v1", False),
        ("http://127.8.8.8", False),
        ("http://[::1]:8080", False),
        ("http://localhost", False),
        ("http://LOCALHOST:1", False),
        ("http://callbell.localhost", False),
    ],
)
def test_plain_http_is_insecure_beyond_this_machine(url: str, insecure: bool) -> None:
    """Only http to this machine itself keeps the token off the network."""
    assert is_insecure(url) is insecure


@pytest.mark.parametrize("value", [["a", "b"], ("a", "b"), iter(["a", "b"]), {"a": 1, "b": 2}.keys()])
def test_a_list_of_strings_may_be_any_iterable(value: Any) -> None:
    """Any iterable of strings is taken, once, in its order."""
    assert check_string_list("names", value) == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "found"),
    [("ab", "one string"), (b"ab", "bytes"), (None, "NoneType"), (5, "int"), ({"a": 1}, "dict"), (["a", 5], "list")],
)
def test_one_string_is_no_list_of_strings(value: Any, found: str) -> None:
    """One string is not taken letter by letter; the error shows how to write it, and quotes no value."""
    with pytest.raises(
        ConfigurationError, match=rf'names: must be a list of strings, not {found}; write names=\["…"\]'
    ):
        check_string_list("names", value)


TAKES_STRINGS: dict[str, tuple[str, Callable[[CallbellClient], Any]]] = {
    "webhooks.subscribe": (
        "subscriptions",
        lambda callbell: callbell.webhooks.subscribe("https://x.example", "message_created"),
    ),
    "webhooks.events": ("subscriptions", lambda callbell: callbell.webhooks.events(subscriptions="message_created")),
    "contacts.list": ("tags", lambda callbell: callbell.contacts.list(tags="lead")),
    "contacts.create": (
        "tags",
        lambda callbell: callbell.contacts.create(identifier="ada", source="instagram", name="Ada", tags="lead"),
    ),
    "contacts.update": ("tags", lambda callbell: callbell.contacts.update("u", tags="lead")),
    "fill_template": ("values", lambda callbell: fill_template("{{1}}", "Ada")),
    "TemplateMessage": (
        "values",
        lambda callbell: TemplateMessage(to="+31612345678", template_uuid="t", values="Ada", optin_contact=True),
    ),
    "sandbox.receive_message": (
        "attachments",
        lambda callbell: Sandbox().account.receive_message(
            sender="+31612345678", attachments="https://x.example/a.png"
        ),
    ),
    "SandboxWebhook": (
        "subscriptions",
        lambda callbell: SandboxWebhook(url="http://127.0.0.1", subscriptions="message_created"),  # type: ignore[arg-type]
    ),
    "SandboxUser": ("teams", lambda callbell: SandboxUser(email="ada@x.example", teams="t")),
}


async def _awaited(call: Callable[[CallbellClient], Any], callbell: CallbellClient) -> None:
    result = call(callbell)
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize(("name", "call"), TAKES_STRINGS.values(), ids=TAKES_STRINGS)
async def test_a_parameter_for_strings_refuses_one_string(name: str, call: Callable[[CallbellClient], Any]) -> None:
    """Every parameter that takes several strings refuses a single one, with the parameter's name, before anything is sent."""
    async with CallbellClient("token", base_url="http://127.0.0.1:9/v1") as callbell:
        with pytest.raises((ConfigurationError, InvalidMessageError), match=f"{name}.*must be a list of strings"):
            await _awaited(call, callbell)
