"""A Callbell on this machine: real HTTP on a loopback port, in memory, without an account."""

from callbell_async.sandbox import faults
from callbell_async.sandbox.account import Account
from callbell_async.sandbox.exchange import Reply, SandboxRequest
from callbell_async.sandbox.fault import Exchange, Fault
from callbell_async.sandbox.fault_rules import Rule
from callbell_async.sandbox.message_lifecycle import Failure, Pace
from callbell_async.sandbox.records import (
    Channel,
    Contact,
    CustomField,
    CustomStatus,
    Funnel,
    SandboxMessage,
    Team,
    Template,
    User,
    Webhook,
    WebhookEvent,
)
from callbell_async.sandbox.server import Sandbox
from callbell_async.sandbox.webhook_sender import Deliveries

__all__ = [
    "Account",
    "Channel",
    "Contact",
    "CustomField",
    "CustomStatus",
    "Deliveries",
    "Exchange",
    "Failure",
    "Fault",
    "Funnel",
    "Pace",
    "Reply",
    "Rule",
    "Sandbox",
    "SandboxMessage",
    "SandboxRequest",
    "Team",
    "Template",
    "User",
    "Webhook",
    "WebhookEvent",
    "faults",
]
