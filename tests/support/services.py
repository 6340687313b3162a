"""Private Redis and PostgreSQL servers: on free ports of 127.0.0.1, in a temporary directory, ended with the block that uses them.

```python
with redis_server() as redis, postgres_server() as postgres:
    ...  # redis.url, postgres.url; redis.kill(), redis.start(), redis.suspend(), redis.resume()
```
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["REQUIRED", "Service", "need_package", "postgres_server", "redis_server", "skip_or_fail"]

REQUIRED = "CALLBELL_REQUIRE_SERVICES"
"""The environment variable that, set to 1, makes a missing server a failure instead of a skip."""

# Loaded here, because a child process may not between fork and exec.
_LIBC = ctypes.CDLL(None)

_POSTGRES_DIRECTORIES = "/usr/lib/postgresql"


class Service:
    """A server process that can be killed, suspended and started again at the same address.

    Attributes:
        url: The address of the server.
        port: Its port on 127.0.0.1.
    """

    def __init__(self, command: list[str], *, url: str, port: int, user: int | None, ready: Callable[[], bool]) -> None:
        self._command = command
        self._user = user
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self.url = url
        self.port = port

    def start(self) -> None:
        """Start the server, and return when it accepts connections."""
        self._process = subprocess.Popen(
            self._command,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            cwd="/",
            env=_clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in the terminal ends the tests, which end the server.
            start_new_session=True,
            # Tests that are killed end no server.
            preexec_fn=_die_with_the_parent if sys.platform == "linux" else None,
        )
        deadline = time.monotonic() + 60.0
        while not self._ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} ended with {self._process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} does not accept connections")
            time.sleep(0.02)

    def kill(self) -> None:
        """End the server and its children at once, as a power failure would; does nothing if it has ended."""
        process, self._process = self._process, None
        if process is not None:
            # PostgreSQL's backends have process groups of their own.
            children = _children(process.pid)
            process.kill()
            process.wait()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def suspend(self) -> None:
        """Stop the server and its children where they are; their connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended server continue."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        for process in (self._process.pid, *_children(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)


def _die_with_the_parent() -> None:
    """Let the kernel kill this process when the thread that started it ends, in whatever way (PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def redis_server() -> Iterator[Service]:
    """A Redis server without persistence; skips the test where there is none."""
    program = _find("redis-server", None)
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="callbell-redis-") as directory:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        service = Service(
            [*command, "--dir", directory],
            url=f"redis://127.0.0.1:{port}/0",
            port=port,
            user=None,
            ready=lambda: _accepts(port),
        )
        try:
            service.start()
            yield service
        finally:
            service.kill()


@contextlib.contextmanager
def postgres_server() -> Iterator[Service]:
    """A PostgreSQL server with an empty database `callbell`; skips the test where there is none.

    It refuses to run as root, so root starts it as the user `postgres`.
    """
    initdb, program = _find("initdb", _POSTGRES_DIRECTORIES), _find("postgres", _POSTGRES_DIRECTORIES)
    port = _free_port()
    user = _postgres_user()
    with tempfile.TemporaryDirectory(prefix="callbell-postgres-") as directory:
        if user is not None:
            os.chown(directory, user, user)
        data = str(Path(directory, "data"))
        subprocess.run(
            [initdb, "-D", data, "-U", "callbell", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            env=_clean_environment(),
            check=True,
            capture_output=True,
        )
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "16MB"}
        service = Service(
            [
                program,
                "-D",
                data,
                "-p",
                str(port),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            url=f"postgresql://callbell@127.0.0.1:{port}/postgres",
            port=port,
            user=user,
            ready=lambda: _postgres_accepts(port),
        )
        try:
            service.start()
            yield service
        finally:
            service.kill()


def _find(program: str, directory: str | None) -> str:
    """Return the path of a program, of its newest version; skip or fail without it."""
    found = shutil.which(program)
    if found is None and directory is not None:
        versions = [path for path in Path(directory).glob(f"*/bin/{program}") if path.parts[-3].isdigit()]
        found = str(max(versions, key=lambda path: int(path.parts[-3]))) if versions else None
    if found is None:
        skip_or_fail(f"{program} is not installed")
    return found


def need_package(name: str) -> None:
    """Skip the test, or fail it, if this Python package is not installed."""
    if importlib.util.find_spec(name) is None:
        skip_or_fail(f"{name} is not installed")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test for this reason, or fail it where nothing may be skipped."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{reason}, and {REQUIRED}=1")
    pytest.skip(reason)


def _postgres_user() -> int | None:
    import pwd

    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_uid
    except KeyError:
        skip_or_fail("PostgreSQL does not run as root, and there is no user postgres")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def _clean_environment() -> Mapping[str, str]:
    """Return an environment in which neither a language nor a developer's database is set."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
        connection.settimeout(1.0)
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _postgres_accepts(port: int) -> bool:
    import psycopg

    try:
        psycopg.connect(f"postgresql://callbell@127.0.0.1:{port}/postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
