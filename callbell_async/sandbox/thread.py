"""A sandbox on an event loop in its own thread, for synchronous code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from callbell_async.models.message_parts import Location
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.assertions import Assertions
from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.fault_rules import FaultRule
from callbell_async.sandbox.faults import Fault
from callbell_async.sandbox.records import HistoryItem, SandboxMessage
from callbell_async.sandbox.server import Sandbox

__all__ = ["SandboxThread"]

P = ParamSpec("P")
T = TypeVar("T")


class SandboxThread(Assertions):
    """A `Sandbox` on an event loop in its own thread. Its methods wait for their result and may be called from any other thread.

    ```python
    with SandboxThread() as sandbox:
        ...  # `sandbox.url` and `sandbox.token` for a client on any event loop
        sandbox.assert_sent(1)
    ```

    Args:
        sandbox: The sandbox to run (default: a new one); it must not be running.

    Attributes:
        sandbox: The sandbox. Read it from any thread, and change it by `call`.
        token: The token for a client.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self.sandbox = Sandbox() if sandbox is None else sandbox
        self.token = self.sandbox.token
        self.requests = self.sandbox.requests
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    @property
    def url(self) -> str:
        """The base URL for a client, with `/v1`; raises `RuntimeError` if the sandbox is not running."""
        return self.sandbox.url

    @property
    def inbox_url(self) -> str:
        """The address of the inbox, for a browser; raises `RuntimeError` if the sandbox is not running."""
        return self.sandbox.inbox_url

    @property
    def account(self) -> SandboxAccount:
        """The account: read it from any thread, and change it by `call`, such as `call(sandbox.account.seed, record)`."""
        return self.sandbox.account

    @property
    def messages(self) -> list[SandboxMessage]:
        """The accepted messages, in order."""
        return self.sandbox.messages

    # --- the thread -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="callbell-sandbox", daemon=True)
        self._thread.start()
        ready.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self, ready: concurrent.futures.Future[None]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            # For example the port is taken: `__enter__` raises it.
            ready.set_exception(error)

    async def _serve(self, ready: concurrent.futures.Future[None]) -> None:
        self._stop = asyncio.Event()
        async with self.sandbox:
            self._loop = asyncio.get_running_loop()
            ready.set_result(None)
            await self._stop.wait()

    @overload
    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...

    def call(self, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call a function, or a coroutine function, in the sandbox's thread.

        Args:
            function: The function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            Its result.

        Raises:
            RuntimeError: The sandbox is not running, or this is its own thread.
        """
        if self._loop is None:
            raise RuntimeError("the sandbox is not running; use `with SandboxThread() as sandbox:`")
        if threading.current_thread() is self._thread:
            raise RuntimeError("this is the sandbox's own thread; use the methods of `sandbox.sandbox` here")

        async def run() -> Any:
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    # --- the sandbox's methods ----------------------------------------------------------------------------------------------

    def receive_message(
        self,
        text: str = "",
        *,
        sender: str,
        channel: str = "whatsapp",
        attachments: Sequence[str] = (),
        location: Location | None = None,
    ) -> HistoryItem:
        """Receive a message from a customer, as `SandboxAccount.receive_message` does."""
        return self.call(
            self.account.receive_message,
            text,
            sender=sender,
            channel=channel,
            attachments=attachments,
            location=location,
        )

    def seed(self, document: Mapping[str, Any]) -> int:
        """Add records that are given as JSON, as `Sandbox.seed` does."""
        return self.call(self.sandbox.seed, document)

    def inject(
        self,
        *faults: Fault,
        times: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
        when: Callable[[SandboxRequest], bool] | None = None,
    ) -> FaultRule:
        """Apply faults to requests, as `Sandbox.inject` does; `when` is called in the sandbox's thread."""
        return self.call(self.sandbox.inject, *faults, times=times, probability=probability, seed=seed, when=when)

    def remove_faults(self) -> None:
        """End all rules of `inject`."""
        self.call(self.sandbox.remove_faults)

    def advance(self, seconds: float) -> None:
        """Move the clock forward, as `Sandbox.advance` does."""
        self.call(self.sandbox.advance, seconds)

    def reset(self) -> None:
        """Return to the state of a new sandbox, as `Sandbox.reset` does."""
        self.call(self.sandbox.reset)

    def emit(self, event: str, payload: Any) -> None:
        """Post an event with any payload to the webhook, as `Sandbox.emit` does."""
        self.call(self.sandbox.emit, event, payload)

    def probe(self) -> int | None:
        """Post `{}` to the webhook, as `Sandbox.probe` does."""
        return self.call(self.sandbox.probe)

    def deliver_to(self, post: Callable[[bytes, Mapping[str, str]], int]) -> None:
        """Post webhook events by a function in place of HTTP, such as with a test client of the application.

        Args:
            post: Called with the body and the headers of each post, in a further thread; returns the status of the response.
        """

        async def post_in_thread(body: bytes, headers: Mapping[str, str]) -> int:
            return await asyncio.to_thread(post, body, headers)

        self.call(self.sandbox.deliver_to, post_in_thread)

    def wait_delivered(self, *, statuses: bool = False, timeout: float = 10.0) -> None:
        """Return when no event is queued, in flight, or waiting for its next attempt.

        Args:
            statuses: Whether to wait also for the changes of messages' statuses.
            timeout: The greatest number of seconds to wait.

        Raises:
            TimeoutError: An event is still to be delivered after `timeout`. The text has the response to the last attempt.
        """

        async def wait() -> None:
            try:
                async with asyncio.timeout(timeout):
                    await self.sandbox.wait_delivered(statuses=statuses)
            except TimeoutError:
                raise TimeoutError(f"after {timeout:g} s, {self._undelivered()}") from None

        self.call(wait)

    def _undelivered(self) -> str:
        deliveries = self.sandbox.deliveries
        count = deliveries.waiting
        events = "1 event is" if count == 1 else f"{count} events are"
        changes = f", and {deliveries.changing} statuses to change" if deliveries.changing else ""
        last = next(iter(self.account.webhook_events), None)
        response = "no attempt has ended yet" if last is None else f"the last attempt got {last.code or 'no response'}"
        return f"{events} still to be delivered{changes}; {response}"
