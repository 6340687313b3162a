"""`callbell-async listen`: the webhook's events on standard output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from callbell_async.cli.commands.listen import colour_of, event_line, serve_events, write_json, write_line
from callbell_async.cli.exits import ShutdownSignals
from callbell_async.models.events import Event
from callbell_async.webhooks import SIGNATURE_HEADER, parse_event, sign
from tests.support.calls import until
from tests.support.command_line import read_until, run, started, started_in_terminal

SECRET = "whsec_bWlsbHdoZWVs"
OWN = "milk-wheel.2026"
EVENTS = Path(__file__).parents[1] / "fixtures" / "events"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@contextmanager
def listening(*options: object, **more: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command on a free port, and its URL."""
    environment = {"CALLBELL_WEBHOOK_SECRET": SECRET, **more.pop("environment", {})}
    with started("listen", "--port", "0", *options, environment=environment, **more) as process:
        assert process.stderr is not None
        text = process.stderr.readline()
        assert text.startswith("listening on http://127.0.0.1:")
        yield process, text.split()[-1]


def post(url: str, body: bytes, secret: str | None = SECRET, **more: str) -> int:
    """The status of the response to a delivery; `more` are headers."""
    headers = {**more} if secret is None else {SIGNATURE_HEADER: sign(body, secret), **more}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def read(name: str) -> bytes:
    """A documented delivery."""
    return (EVENTS / f"{name}.json").read_bytes()


def test_events_are_lines() -> None:
    """Each event that Callbell signed is a line, as it comes; what it did not sign is refused; SIGINT ends it with the status 0."""
    with listening("--path", "/hook") as (process, url):
        assert process.stdout is not None
        assert url.endswith("/hook")
        assert post(url, read("contact_deleted")) == 200
        assert " contact_deleted " in process.stdout.readline()
        assert post(url, read("message_created"), "whsec_wrong") == 401
        assert post(url, read("message_status_updated")) == 200
        assert " message_status_updated " in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err
    assert SECRET not in err


def test_events_as_json_are_what_callbell_sent(tmp_path: Path) -> None:
    """`--json` writes the whole document on a line; the secret may come from a file; SIGTERM ends it as well."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    options = ["--json", "--secret-file", secret]
    with listening(*options, environment={"CALLBELL_WEBHOOK_SECRET": "whsec_other"}) as (process, url):
        assert process.stdout is not None
        assert post(url, read("message_created")) == 200
        assert json.loads(process.stdout.readline()) == json.loads(read("message_created"))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_unsigned_events_are_taken_only_if_asked_for() -> None:
    """`--unsigned` is for accounts whose events Callbell does not sign."""
    with listening("--unsigned", "--host", "127.0.0.1") as (process, url):
        assert process.stdout is not None
        assert post(url, read("contact_created"), None) == 200
        assert " contact_created " in process.stdout.readline()


def test_a_secret_in_the_url_takes_the_place_of_a_signature(tmp_path: Path) -> None:
    """With `--url-secret-file`, the URL must hold the secret, and no signature is needed; no output shows the secret."""
    secret = tmp_path / "secret"
    secret.write_text(f"{OWN}\n")
    secret.chmod(0o600)
    environment = {"CALLBELL_WEBHOOK_SECRET": ""}
    with listening("--url-secret-file", secret, environment=environment) as (process, url):
        assert process.stdout is not None
        assert post(f"{url}?secret=other", read("contact_created"), None) == 401
        assert post(f"{url}?secret={OWN}", read("contact_deleted"), None) == 200
        assert " contact_deleted " in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert OWN not in url + out + err


@pytest.mark.parametrize(("options", "header"), [((), "X-Webhook-Secret"), (("--header", "X-Own"), "X-Own")])
def test_each_secret_is_demanded(options: tuple[str, ...], header: str) -> None:
    """A request needs the signature, the secret in the URL and the secret in the header, where all three are set."""
    environment = {"CALLBELL_WEBHOOK_URL_SECRET": OWN, "CALLBELL_WEBHOOK_HEADER_SECRET": "proxy-x"}
    with listening(*options, environment=environment) as (process, url):
        assert process.stdout is not None
        right = f"{url}?secret={OWN}"
        assert post(right, read("contact_created"), None, **{header: "proxy-x"}) == 401
        assert post(right, read("contact_created"), **{header: "proxy-y"}) == 401
        assert post(url, read("contact_created"), **{header: "proxy-x"}) == 401
        assert post(right, read("contact_deleted"), **{header: "proxy-x"}) == 200
        assert " contact_deleted " in process.stdout.readline()


def test_unsigned_ignores_the_secret_of_the_signature_only() -> None:
    """`--unsigned` takes events without a signature; a secret in the environment for the URL is still demanded."""
    environment = {"CALLBELL_WEBHOOK_URL_SECRET": OWN}
    with listening("--unsigned", environment=environment) as (_, url):
        assert post(url, read("contact_created"), None) == 401
        assert post(f"{url}?secret={OWN}", read("contact_created"), None) == 200


def test_a_terminal_gets_colours() -> None:
    """On a terminal each family of events has its colour, unless NO_COLOR is set."""
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        with started_in_terminal(
            "listen", "--port", "0", "--unsigned", environment=environment, stderr=subprocess.PIPE
        ) as (process, terminal):
            assert process.stderr is not None
            assert post(process.stderr.readline().split()[-1], read("contact_created"), None) == 200
            assert terminal.read(until="\n").startswith("\x1b[36m") is coloured


@pytest.mark.parametrize(
    ("request_bytes", "error"),
    [
        (b"GET\x1b[2J /secret HTTP/9\r\n\r\n", "BadHttpMethod"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nsecret\x1b[2J\r\n\r\n", "BadHttpMessage"),
    ],
)
def test_a_request_that_is_not_http_is_one_line(request_bytes: bytes, error: str) -> None:
    """A malformed request is one line on standard error, without a traceback and without its content, and the next event is handled."""
    with listening("--unsigned") as (process, url):
        assert process.stdout is not None
        assert process.stderr is not None
        address = urllib.parse.urlsplit(url)
        with socket.create_connection((address.hostname, address.port or 0)) as connection:
            connection.sendall(request_bytes)
            assert b" 400 " in connection.recv(4096)
        assert post(url, read("contact_created"), None) == 200
        assert " contact_created " in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert err == f"callbell-async: warning: Error handling request from 127.0.0.1 ({error})\n"


@pytest.mark.parametrize(
    ("host", "url_secret", "warned"),
    [("0.0.0.0", "", True), ("0.0.0.0", OWN, False), ("127.0.0.1", "", False), ("localhost", "", False)],
)
def test_open_doors_are_a_warning(host: str, url_secret: str, warned: bool) -> None:
    """`--unsigned` without any secret, on an address that other machines can reach, is a warning."""
    environment = {"CALLBELL_WEBHOOK_URL_SECRET": url_secret}
    with started("listen", "--port", "0", "--unsigned", "--host", host, environment=environment) as process:
        text = "".join(read_until(process.stderr, "listening on"))
    warning = f"callbell-async: warning: --unsigned: anybody who can reach {host} can send events\n"
    assert text.startswith(warning) is warned


def test_it_ends_when_nobody_reads() -> None:
    """A closed output (`| head -1`) ends it."""
    with listening("--unsigned") as (process, url):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert post(url, read("contact_created"), None) == 200
        err = process.stderr.read()
        assert process.wait() == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("path", ["/", "/hook"])
def test_a_signal_ends_the_serving(capsys: pytest.CaptureFixture[str], path: str) -> None:
    """Events are written until a signal comes; then the port is free again."""
    seen: list[Event] = []

    async def main() -> str:
        serving = asyncio.ensure_future(serve_events(signals, "127.0.0.1", 0, path, {"secret": SECRET}, seen.append))
        text = ""
        while not text:
            await asyncio.sleep(0)
            text = capsys.readouterr().err
        url = text.split()[-1]
        assert await asyncio.to_thread(post, url, read("contact_deleted")) == 200
        await until(lambda: seen)
        os.kill(os.getpid(), signal.SIGINT)
        await serving
        return url

    with ShutdownSignals() as signals:
        url = asyncio.run(main())
    assert [event.name for event in seen] == ["contact_deleted"]
    with pytest.raises(urllib.error.URLError):
        post(url, b"")


def test_an_output_that_fails_ends_the_serving(capsys: pytest.CaptureFixture[str]) -> None:
    """What `write` raises because nobody reads comes out, once; a cancellation of another kind comes out too."""

    def write(event: Event) -> None:
        raise BrokenPipeError

    async def main(*, cancelled: bool) -> None:
        serving = asyncio.ensure_future(serve_events(signals, "127.0.0.1", 0, "/", {"unsigned": True}, write))
        text = ""
        while not text:
            await asyncio.sleep(0)
            text = capsys.readouterr().err
        if cancelled:
            serving.cancel()
        else:
            assert await asyncio.to_thread(post, text.split()[-1], read("contact_deleted"), None) == 200
        await serving

    with ShutdownSignals() as signals, pytest.raises(BrokenPipeError):
        asyncio.run(main(cancelled=False))
    with ShutdownSignals() as signals, pytest.raises(asyncio.CancelledError):
        asyncio.run(main(cancelled=True))


def test_the_command_writes_lines_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The two forms of an event where standard output is not a terminal."""
    event = parse_event(read("contact_deleted"))
    write_line(event)
    write_json(event)
    line, document = capsys.readouterr().out.splitlines()
    assert line.endswith("contact_deleted fad77e68757b43c3b77b51cd66ec18f3")
    assert "\x1b" not in line
    assert json.loads(document) == json.loads(read("contact_deleted"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--port", "0"],
            "no webhook secret; set CALLBELL_WEBHOOK_SECRET or use --secret-file FILE, or --url-secret-file FILE or --unsigned",
        ),
        (["--port", "0", "--unsigned", "--secret-file", "x"], "--unsigned: can't be used together with --secret-file"),
        (["--port", "0", "--secret-file", "/none"], "--secret-file: /none can't be read"),
        (["--port", "0", "--url-secret-file", "/none"], "--url-secret-file: /none can't be read"),
        (["--port", "0", "--unsigned", "--header", "X-A"], "--header: requires --header-secret-file or CALLBELL_"),
        (["--port", "0", "--unsigned", "--path", "hook"], "--path: must begin with a slash"),
        (["--port", "0", "--unsigned", "--path", "/hook?secret"], "--path: must begin with a slash"),
        (["--port", "0", "--unsigned", "--host", "192.0.2.1"], "--port: 0 on 192.0.2.1 can't be used"),
    ],
)
def test_wrong_use_is_one_line(options: list[str], text: str) -> None:
    """A mistake that prevents it from listening is status 2 and one line."""
    result = run("listen", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"callbell-async: {text}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "options", "text"),
    [
        (
            {"CALLBELL_WEBHOOK_URL_SECRET": "whsec_x/"},
            (),
            "CALLBELL_WEBHOOK_URL_SECRET: holds a character that a URL may",
        ),
        (
            {"CALLBELL_WEBHOOK_HEADER_SECRET": "whsec_x\u00e9"},
            (),
            "CALLBELL_WEBHOOK_HEADER_SECRET: a header can't hold it",
        ),
        ({"CALLBELL_WEBHOOK_HEADER_SECRET": "whsec_x"}, ("--header", "X A"), "--header: must be the name of a header"),
        (
            {"CALLBELL_WEBHOOK_HEADER_SECRET": "whsec_x"},
            ("--header", SIGNATURE_HEADER),
            f"CALLBELL_WEBHOOK_HEADER_SECRET: {SIGNATURE_HEADER} holds Callbell's signature; use another header",
        ),
    ],
)
def test_a_secret_of_ones_own_that_can_not_be_one_is_one_line(
    environment: dict[str, str], options: tuple[str, ...], text: str
) -> None:
    """A secret that a URL or a header can't hold is status 2 and one line, which names its source and does not show it."""
    result = run("listen", "--port", "0", *options, environment=environment)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"callbell-async: {text}")
    assert "whsec_x" not in result.stderr


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("", "no webhook secret"),
        ("  \n", "no webhook secret"),
        ('"whsec_x"', "CALLBELL_WEBHOOK_SECRET: has quotation marks around it; remove them"),
        (
            "CALLBELL_WEBHOOK_SECRET=whsec_x",
            "CALLBELL_WEBHOOK_SECRET: has the form NAME=value",
        ),
    ],
)
def test_a_secret_that_can_not_be_one_is_one_line(secret: str, text: str) -> None:
    """A secret that is empty, quoted or a line of `.env` is status 2 and one line, which does not show it."""
    result = run("listen", "--port", "0", environment={"CALLBELL_WEBHOOK_SECRET": secret})
    assert result.exit_code == 2
    assert result.stderr.startswith(f"callbell-async: {text}")
    assert "whsec_x" not in result.stderr


def test_a_secret_with_a_line_end_is_used_without_it() -> None:
    """A secret from a file or from the environment may end with a line break."""
    with listening(environment={"CALLBELL_WEBHOOK_SECRET": f" {SECRET}\n"}) as (_, url):
        assert post(url, read("contact_deleted")) == 200


def test_a_port_that_is_taken_is_one_line() -> None:
    """A port that can't be used is status 2 and one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("listen", "--port", str(port), "--unsigned")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"callbell-async: --port: {port} on 127.0.0.1 can't be used")


def line_of(document: dict[str, Any]) -> tuple[str, str]:
    """An event's line without the time, and its colour."""
    event = parse_event(json.dumps(document).encode())
    time, _, line = event_line(event, now=NOW).partition(" ")
    assert time == "03:04:05"
    return line, colour_of(event)


@pytest.mark.parametrize(
    ("name", "line", "colour"),
    [
        ("agent_session_updated", "agent_session_updated john.doe@gmail.com user_logged_in", "magenta"),
        ("agent_status_updated", "agent_status_updated john.doe@gmail.com away Vacationing", "magenta"),
        ("contact_created", "contact_created John Doe 331122334455 eb2b914a977e4ab896e7b886698b3eac", "cyan"),
        ("contact_updated", "contact_updated John Doe 331122334455 eb2b914a977e4ab896e7b886698b3eac", "cyan"),
        ("contact_deleted", "contact_deleted fad77e68757b43c3b77b51cd66ec18f3", "cyan"),
        (
            "conversation_opened",
            "conversation_opened with John Doe 331122334455 eb2b914a977e4ab896e7b886698b3eac",
            "blue",
        ),
        (
            "conversation_closed",
            "conversation_closed with John Doe 331122334455 eb2b914a977e4ab896e7b886698b3eac issue_resolved",
            "blue",
        ),
        (
            "message_created",
            "message_created whatsapp from 335544332211: Hello [a location] [1 contact cards]",
            "green",
        ),
        ("message_status_updated", "message_status_updated adf3d1216d4c4dcd908199d6700f2381 read", "green"),
        ("team_membership_updated", "team_membership_updated Support Team agent_added john.doe@gmail.com", "magenta"),
    ],
)
def test_each_documented_event_has_its_line(name: str, line: str, colour: str) -> None:
    """Callbell's own examples, each with what one wants to know of it."""
    assert line_of(json.loads(read(name))) == (line, colour)


@pytest.mark.parametrize(
    ("event", "payload", "line", "colour"),
    [
        ("new_thing", {"a": 1}, 'new_thing {"a": 1}', "yellow"),
        (
            "message_created",
            {"status": "sent", "to": "1", "from": "2", "text": "a\x1b[2Jb"},
            "message_created None to 1: a\\x1b[2Jb",
            "green",
        ),
        (
            "message_created",
            {"status": "received", "from": "2", "attachments": ["https://a.example/b"]},
            "message_created None from 2: [1 attachments]",
            "green",
        ),
        (
            "message_status_updated",
            {"uuid": "u", "status": "failed"},
            "message_status_updated u failed (no reason given)",
            "red",
        ),
        (
            "message_status_updated",
            {"uuid": "u", "status": "failed", "messageStatusPayload": {"payload": {"reason": "gone", "code": 7}}},
            "message_status_updated u failed (7 gone)",
            "red",
        ),
        ("conversation_opened", {}, "conversation_opened with nobody", "blue"),
        (
            "agent_status_updated",
            {"email": "a@b.example", "available": True},
            "agent_status_updated a@b.example available",
            "magenta",
        ),
        ("agent_session_updated", {}, "agent_session_updated", "magenta"),
        ("team_membership_updated", {}, "team_membership_updated", "magenta"),
    ],
)
def test_what_is_missing_or_strange_has_a_line_too(event: str, payload: Any, line: str, colour: str) -> None:
    """An event with missing fields, of an unknown kind, or with control characters is one line, too."""
    assert line_of({"event": event, "payload": payload}) == (line, colour)


def test_a_long_line_is_cut() -> None:
    """A text of any length stays a line."""
    line, _ = line_of({"event": "message_created", "payload": {"status": "received", "text": "x" * 5_000}})
    assert len(line) == 300
    assert line.endswith("x…")
