"""What happens on a connection while the event loop is blocked or the process is suspended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from callbell_async import Outcome, RetryPolicy
from tests.support.calls import MESSAGE, client_for, half_a_minute_passes, ticks, until
from tests.support.clock import current_loop

RECEIPT = b'{"message": {"uuid": "f00d", "status": "enqueued"}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(RECEIPT), RECEIPT)

both_paths = pytest.mark.usefixtures("http_path")


class ImpatientServer:
    """Accepts messages in threads of its own, also while the event loop is blocked.

    Attributes:
        may_respond: Set while the server responds. If it is not, the server waits before each response.
        responded: Released after each response.
        requests: The number of requests.
        connections: The number of connections so far.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._idle: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.may_respond = threading.Event()
        self.may_respond.set()
        self.responded = threading.Semaphore(0)
        self.requests = self.connections = 0

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._idle.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        heard = b""
        with connection:
            while data := connection.recv(65536):
                heard += data
                head, end, body = heard.partition(b"\r\n\r\n")
                if end and len(body) == int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
                    heard = b""
                    self.requests += 1
                    self.may_respond.wait()
                    connection.sendall(OK)
                    self.responded.release()

    def drop_idle(self) -> None:
        """Close all connections; their end has arrived at the client when this returns."""
        while self._idle:
            with contextlib.suppress(OSError):
                # The client may have closed it.
                self._idle.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all threads."""
        self.may_respond.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        self.drop_idle()
        for thread in self._threads[1:]:
            thread.join()


def skip_one_look_at_the_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the selector return nothing once, as when SIGCONT interrupts it after the time for which it was to wait."""
    selector = current_loop()._selector  # type: ignore[attr-defined]
    select = selector.select

    def return_nothing(timeout: float | None = None) -> list[object]:
        monkeypatch.setattr(selector, "select", select)
        return []

    monkeypatch.setattr(selector, "select", return_nothing)


@pytest.fixture
def server() -> Iterator[ImpatientServer]:
    """A running server."""
    server = ImpatientServer()
    yield server
    server.close()


@both_paths
async def test_a_connection_that_ended_while_the_loop_was_blocked_is_not_used(server: ImpatientServer) -> None:
    """A request is not written on a connection that the server closed while the program did not return to the event loop."""
    async with client_for(server.url) as callbell:
        await callbell.send(MESSAGE)
        server.drop_idle()
        # Without an await in between: the event loop has not seen the end.
        report = await callbell.send_many([MESSAGE])
    assert [result.outcome for result in report.results] == [Outcome.ACCEPTED]
    assert (server.requests, server.connections) == (2, 2)


async def test_many_ended_connections_cost_no_attempt(server: ImpatientServer) -> None:
    """After a pause in which the server closed all idle connections, each message is accepted at its first attempt."""
    async with client_for(server.url, retry=RetryPolicy(attempts=1)) as callbell:
        first = await callbell.send_many([MESSAGE] * 5, concurrency=5)
        server.drop_idle()
        second = await callbell.send_many([MESSAGE] * 5, concurrency=5)
    for report in (first, second):
        assert [(result.outcome, result.attempts) for result in report.results] == [(Outcome.ACCEPTED, 1)] * 5
    assert server.requests == 10


@both_paths
async def test_a_kept_connection_is_used_again(server: ImpatientServer) -> None:
    """A connection that is still open has all the requests that follow one another."""
    async with client_for(server.url) as callbell:
        for _ in range(3):
            await callbell.send(MESSAGE)
            await asyncio.sleep(0)
    assert (server.requests, server.connections) == (3, 1)


@both_paths
@pytest.mark.parametrize("by_a_signal", [False, True], ids=["blocked", "suspended"])
async def test_a_response_that_came_in_time_counts(
    server: ImpatientServer, by_a_signal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that arrived while the loop was blocked, or the process suspended, for longer than the timeout is read."""
    server.may_respond.clear()
    async with client_for(server.url) as callbell:
        sending = asyncio.create_task(callbell.send(MESSAGE))
        await until(lambda: server.requests)
        await ticks()
        server.may_respond.set()
        assert server.responded.acquire(timeout=10)
        # From here on the response is there, and the loop has not read it.
        half_a_minute_passes()
        if by_a_signal:
            skip_one_look_at_the_sockets(monkeypatch)
        assert (await sending).uuid == "f00d"
