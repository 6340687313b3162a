"""A Callbell on this machine: real HTTP on a loopback port, in memory, without an account."""

from callbell_async.sandbox.server import Sandbox
from callbell_async.sandbox.state import SandboxMessage

__all__ = ["Sandbox", "SandboxMessage"]
