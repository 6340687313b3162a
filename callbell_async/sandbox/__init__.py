"""A Callbell on this machine: real HTTP on a loopback port, in memory, without an account."""

from callbell_async.sandbox import faults
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.exchange import SandboxRequest, SandboxResponse
from callbell_async.sandbox.fault import Exchange, Fault
from callbell_async.sandbox.fault_rules import FaultRule
from callbell_async.sandbox.message_lifecycle import DeliveryFailure, StatusTimings
from callbell_async.sandbox.records import (
    SandboxChannel,
    SandboxContact,
    SandboxCustomField,
    SandboxCustomStatus,
    SandboxFunnel,
    SandboxMessage,
    SandboxTeam,
    SandboxTemplate,
    SandboxUser,
    SandboxWebhook,
    SandboxWebhookDelivery,
)
from callbell_async.sandbox.server import Sandbox
from callbell_async.sandbox.webhook_sender import WebhookSender

__all__ = [
    "DeliveryFailure",
    "Exchange",
    "Fault",
    "FaultRule",
    "Sandbox",
    "SandboxAccount",
    "SandboxChannel",
    "SandboxContact",
    "SandboxCustomField",
    "SandboxCustomStatus",
    "SandboxFunnel",
    "SandboxMessage",
    "SandboxRequest",
    "SandboxResponse",
    "SandboxTeam",
    "SandboxTemplate",
    "SandboxUser",
    "SandboxWebhook",
    "SandboxWebhookDelivery",
    "StatusTimings",
    "WebhookSender",
    "faults",
]
