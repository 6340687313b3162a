"""The attributes and methods of a sandbox that the control API uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.fault_rules import FaultRule, FaultRules
from callbell_async.sandbox.faults import Fault
from callbell_async.sandbox.webhook_sender import WebhookSender

__all__ = ["ControlledSandbox"]


class ControlledSandbox(Protocol):
    """A `Sandbox`, which has these attributes and methods."""

    account: SandboxAccount
    deliveries: WebhookSender
    requests: list[SandboxRequest]
    fault_rules: FaultRules

    @property
    def url(self) -> str:
        """The base URL for a client."""
        ...

    def inject(
        self,
        *faults: Fault,
        times: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
        when: Callable[[SandboxRequest], bool] | None = None,
    ) -> FaultRule:
        """Apply faults to requests."""
        ...

    def remove_faults(self) -> None:
        """End all rules of `inject`."""

    def seed(self, document: Mapping[str, Any]) -> int:
        """Add records."""
        ...

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""

    async def reset(self) -> None:
        """Return to the state of a new sandbox."""
