"""`callbell-async sandbox`: a Callbell for programs in any language."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from callbell_async.cli.program import app
from callbell_async.sandbox.api.validation import read_json
from tests.fixtures.sandbox import GOOD, SEED_PAGE
from tests.support.docs_requests import curl_commands

DOCS = Path(__file__).parents[2] / "docs"


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and its base URL."""
    command = [sys.executable, "-m", "callbell_async", "sandbox", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            # Read here: a buffer may hold it already, and `communicate` does not look there.
            assert process.stdout.readline() == f"inbox: {url.removesuffix('/v1')}/_sandbox/\n"
            yield process, url
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One running command for all that only asks."""
    with running() as (_, url):
        yield url


def post(url: str, body: bytes, token: str = "any") -> tuple[int, Any]:
    """The status and the JSON of the response to a message."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/messages/send", body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


REQUESTS = re.findall(r"```bash[^\n]*\n(curl .+?)\n```", SEED_PAGE.read_text(encoding="utf-8"), re.DOTALL)


def words(command: str) -> list[str]:
    """The words of a command, as a shell splits them."""
    return shlex.split(command.replace("\\\n", " "))


def test_the_page_s_requests_are_all_there() -> None:
    """The page has ten requests."""
    assert len(REQUESTS) == SEED_PAGE.read_text(encoding="utf-8").count("curl -X POST") == 10


@pytest.mark.parametrize("place", range(10))
def test_the_page_s_requests_work(url: str, place: int) -> None:
    """Each curl request of Callbell's page on sending, unchanged but for the host, gets a receipt."""
    command = words(REQUESTS[place].replace("https://api.callbell.eu/v1", url))
    if shutil.which("curl"):
        done = subprocess.run([*command, "--silent", "--show-error", "--noproxy", "*"], capture_output=True, check=True)
        document = json.loads(done.stdout)
    else:
        token = command[command.index("-H") + 1].removeprefix("Authorization: Bearer ")
        _, document = post(url, command[command.index("-d") + 1].encode(), token)
    assert document["message"]["status"] == "enqueued"
    assert len(document["message"]["uuid"]) == 32


def test_the_mistake_on_the_page_is_accepted() -> None:
    """The one request of the page with invalid JSON lacks a quotation mark after `text`; only this mistake is accepted."""
    caption = next(request for request in REQUESTS if "my caption" in request)
    body = words(caption)[-1].encode()
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    assert read_json(body)["content"] == {"url": "https://example.com/my_image.jpeg", "text": "This is my caption"}


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_cleanly(number: signal.Signals) -> None:
    """It takes the port and the token it is given; SIGINT and SIGTERM end it with status 0, and its port is free again."""
    port = free_port()
    with running("--port", str(port), "--token", "secret", "--limit", "1") as (process, url):
        assert url == f"http://127.0.0.1:{port}/v1"
        assert post(url, b"{}") == (401, {"error": "not authorized"})
        assert post(url, json.dumps(GOOD).encode(), "secret")[0] == 200
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (0, "stopped; 2 requests, 1 message accepted\n", "")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def get(url: str) -> Any:
    """The JSON at an address."""
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def test_the_account_is_seeded_from_a_file(tmp_path: Path) -> None:
    """`--seed` adds the records of a file, which are there again after a reset."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps({"contacts": [{"identifier": "+31612345678", "name": "Ann"}]}), encoding="utf-8")
    with running("--seed", str(path)) as (_, url):
        control = url.removesuffix("/v1") + "/_sandbox"
        with urllib.request.urlopen(urllib.request.Request(f"{control}/reset", method="POST")) as response:
            assert response.status == 204
        assert [contact["name"] for contact in get(f"{control}/records/contacts")["contacts"]] == ["Ann"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "line 1: not JSON"),
        ("[]", 'must be a JSON object with lists of records, such as {"contacts": [{…}]}'),
        ('{"contacts": [{"name": "Ann"}]}', "contacts[0].identifier: is missing"),
    ],
)
def test_a_wrong_seed_file_is_one_line(tmp_path: Path, text: str, error: str) -> None:
    """A file that is not JSON, or has a wrong record, ends it with status 2 and the place of the error."""
    path = tmp_path / "account.json"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["sandbox", "--seed", str(path)])
    assert (result.exit_code, result.output) == (2, f"callbell-async: --seed: {path}: {error}\n")


def test_the_requests_of_our_page_work() -> None:
    """Each curl command of docs/how-to/sandbox.md works, in the order of the page; no request is refused."""
    commands = curl_commands(DOCS / "how-to" / "sandbox.md")
    assert len(commands) == 15
    with running() as (_, url):
        host = url.removesuffix("/v1")
        for words_ in commands:
            command = [word.replace("http://127.0.0.1:8080", host) for word in words_]
            assert command != words_
            assert send(command) < 300, words_


def send(command: list[str]) -> int:
    """Send the request of a curl command, with curl where it is installed, and return the status of its response."""
    if shutil.which("curl"):
        options = ["--silent", "--noproxy", "*", "--output", "-", "--write-out", "\n%{http_code}"]
        done = subprocess.run([*command, *options], capture_output=True, check=True, text=True)
        return int(done.stdout.rpartition("\n")[2])
    address = next(word for word in command if word.startswith("http"))
    values = {option: value for option, value in pairwise(command) if option in ("-X", "-d")}
    headers = dict(value.split(": ", 1) for option, value in pairwise(command) if option == "-H")
    body = values["-d"].encode() if "-d" in values else None
    request = urllib.request.Request(address, body, headers, method=values.get("-X"))
    with urllib.request.urlopen(request) as response:
        status: int = response.status
        return status


def test_a_port_that_is_taken_is_one_line() -> None:
    """A port that can't be used ends it with status 2 and the reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["sandbox", "--port", str(port)])
    assert result.exit_code == 2
    assert result.output.startswith(f"callbell-async: --port: {port} can't be used")
