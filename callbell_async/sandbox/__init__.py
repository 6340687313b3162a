"""A mock Callbell server on 127.0.0.1: real HTTP, in memory, without an account."""

from callbell_async.sandbox import faults
from callbell_async.sandbox.account import SandboxAccount
from callbell_async.sandbox.exchange import Exchange, SandboxRequest, SandboxResponse
from callbell_async.sandbox.fault_rules import FaultRule
from callbell_async.sandbox.faults import Fault
from callbell_async.sandbox.message_lifecycle import DeliveryFailure, StatusTimings
from callbell_async.sandbox.records import (
    HistoryItem,
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
from callbell_async.sandbox.thread import SandboxThread
from callbell_async.sandbox.webhook_sender import WebhookSender

__all__ = [
    "DeliveryFailure",
    "Exchange",
    "Fault",
    "FaultRule",
    "HistoryItem",
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
    "SandboxThread",
    "SandboxUser",
    "SandboxWebhook",
    "SandboxWebhookDelivery",
    "StatusTimings",
    "WebhookSender",
    "faults",
]
