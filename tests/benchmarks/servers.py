"""Servers in processes of their own: nginx, or a small one of the project, for speed; the strict one for the rate."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import trustme

from tests.benchmarks.serve import RESPONSE_BODY

ROOT = Path(__file__).parents[2]

_NGINX = """
daemon off;
master_process off;
error_log stderr crit;
pid {directory}/pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_timeout 3600;
  keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port}{tls};
    default_type application/json;
    location = /v1/messages/send {{ return 200 '{body}'; }}
  }}
}}
"""


_NGINX_TLS = """ ssl;
    ssl_certificate {directory}/server.pem;
    ssl_certificate_key {directory}/server.key"""


@attrs.frozen
class Server:
    """A running server: its kind, its port, its process, and for TLS the context with which a client trusts it."""

    name: str
    port: int
    pid: int
    tls: ssl.SSLContext | None = None

    @property
    def base_url(self) -> str:
        """The base URL, with the version."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/v1"

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of its one thread so far; 0 if the system does not provide them."""
        try:
            nanoseconds, *_ = Path(f"/proc/{self.pid}/schedstat").read_text().split()
        except OSError:
            return 0.0
        return int(nanoseconds) / 1e9

    def stats(self) -> dict[str, Any]:
        """Return the numbers of requests that a strict server has counted."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", "/stats")
            stats = json.load(connection.getresponse())
        assert isinstance(stats, dict)
        return stats


@contextlib.contextmanager
def fast_server(*, tls: bool = False) -> Iterator[Server]:
    """Run a server that accepts every message: nginx if it is installed, otherwise a small one without TLS."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    with _nginx(nginx, tls) if nginx else _own("constant") as server:
        yield server


def strict_server(
    *, delay: float = 0.0, inject: int = 0, header: str = ""
) -> contextlib.AbstractContextManager[Server]:
    """Run a server that refuses the 301st request in any window of one second; see `tests.benchmarks.serve.Strict`."""
    return _own("strict", f"--delay={delay}", f"--inject={inject}", f"--header={header}")


@contextlib.contextmanager
def _nginx(program: str, tls: bool) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "nginx.conf")
        context = _certify(Path(directory)) if tls else None
        keys = _NGINX_TLS.format(directory=directory) if tls else ""
        config.write_text(_NGINX.format(directory=directory, port=port, body=RESPONSE_BODY.decode(), tls=keys))
        with _running([program, "-p", directory, "-c", str(config)]) as process:
            _wait_until_up(port)
            yield Server("nginx with TLS" if tls else "nginx", port, process.pid, context)


def _certify(directory: Path) -> ssl.SSLContext:
    """Write a certificate and its key for 127.0.0.1, and return a context that trusts it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(directory / "server.pem")
    certificate.private_key_pem.write_to_path(directory / "server.key")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@contextlib.contextmanager
def _own(*arguments: str) -> Iterator[Server]:
    with _running([sys.executable, "-m", "tests.benchmarks.serve", *arguments]) as process:
        assert process.stdout is not None
        yield Server("a small asyncio server", int(process.stdout.readline()), process.pid)


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait_until_up(port: int) -> None:
    deadline = time.monotonic() + 10.0
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
