"""An asyncio-native client for the Callbell API: no message lost, none sent twice, and for each one the truth.

Each name is imported when it is first asked for: pytest imports this package, for its plugin, in every project that has it installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from callbell_async._version import __version__

if TYPE_CHECKING:
    from callbell_async.bulk import SendRun
    from callbell_async.client import CallbellClient
    from callbell_async.errors import (
        APIError,
        AuthenticationError,
        BadRequestError,
        BulkSendError,
        CallbellError,
        ClientClosedError,
        ConfigurationError,
        ConnectError,
        ConnectionLostError,
        InvalidMessageError,
        NotFoundError,
        Outcome,
        PaginationError,
        PaymentRequiredError,
        PermissionDeniedError,
        RateLimitError,
        RequestTimeoutError,
        ResponseDecodeError,
        ServerError,
        StatusTimeoutError,
        TransportError,
        UnprocessableEntityError,
    )
    from callbell_async.models.account import (
        Account,
        Channel,
        CustomStatus,
        Deletion,
        Funnel,
        Plan,
        Team,
        TeamMember,
        Template,
        TemplateStatus,
        TemplateType,
        UserStatus,
        Webhook,
        WebhookDelivery,
        WebhookResponse,
    )
    from callbell_async.models.contacts import (
        Bot,
        Contact,
        Conversation,
        CustomField,
        HistoryMessage,
        ReplyWindow,
        Success,
    )
    from callbell_async.models.failures import MessageFailure
    from callbell_async.models.messages import (
        AudioMessage,
        BotStatus,
        CustomMessage,
        Document,
        DocumentMessage,
        Image,
        ImageMessage,
        Message,
        MessageReceipt,
        MessageStatus,
        TemplateMessage,
        TextMessage,
        Video,
        VideoMessage,
    )
    from callbell_async.models.pages import Page
    from callbell_async.models.results import SendReport, SendResult
    from callbell_async.models.unset import UNSET
    from callbell_async.paging import Pages
    from callbell_async.rate_limit import RateLimiter, WindowRateLimiter
    from callbell_async.retry import RetryPolicy

_HOMES = {
    "callbell_async.bulk": ("SendRun",),
    "callbell_async.client": ("CallbellClient",),
    "callbell_async.errors": (
        "APIError",
        "AuthenticationError",
        "BadRequestError",
        "BulkSendError",
        "CallbellError",
        "ClientClosedError",
        "ConfigurationError",
        "ConnectError",
        "ConnectionLostError",
        "InvalidMessageError",
        "NotFoundError",
        "Outcome",
        "PaginationError",
        "PaymentRequiredError",
        "PermissionDeniedError",
        "RateLimitError",
        "RequestTimeoutError",
        "ResponseDecodeError",
        "ServerError",
        "StatusTimeoutError",
        "TransportError",
        "UnprocessableEntityError",
    ),
    "callbell_async.models.account": (
        "Account",
        "Channel",
        "CustomStatus",
        "Deletion",
        "Funnel",
        "Plan",
        "Team",
        "TeamMember",
        "Template",
        "TemplateStatus",
        "TemplateType",
        "UserStatus",
        "Webhook",
        "WebhookDelivery",
        "WebhookResponse",
    ),
    "callbell_async.models.contacts": (
        "Bot",
        "Contact",
        "Conversation",
        "CustomField",
        "HistoryMessage",
        "ReplyWindow",
        "Success",
    ),
    "callbell_async.models.failures": ("MessageFailure",),
    "callbell_async.models.messages": (
        "AudioMessage",
        "BotStatus",
        "CustomMessage",
        "Document",
        "DocumentMessage",
        "Image",
        "ImageMessage",
        "Message",
        "MessageReceipt",
        "MessageStatus",
        "TemplateMessage",
        "TextMessage",
        "Video",
        "VideoMessage",
    ),
    "callbell_async.models.pages": ("Page",),
    "callbell_async.models.results": ("SendReport", "SendResult"),
    "callbell_async.models.unset": ("UNSET",),
    "callbell_async.paging": ("Pages",),
    "callbell_async.rate_limit": ("RateLimiter", "WindowRateLimiter"),
    "callbell_async.retry": ("RetryPolicy",),
}
"""Where each name comes from; the same as above, which only type checkers and editors read."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(home), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "UNSET",
    "APIError",
    "Account",
    "AudioMessage",
    "AuthenticationError",
    "BadRequestError",
    "Bot",
    "BotStatus",
    "BulkSendError",
    "CallbellClient",
    "CallbellError",
    "Channel",
    "ClientClosedError",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLostError",
    "Contact",
    "Conversation",
    "CustomField",
    "CustomMessage",
    "CustomStatus",
    "Deletion",
    "Document",
    "DocumentMessage",
    "Funnel",
    "HistoryMessage",
    "Image",
    "ImageMessage",
    "InvalidMessageError",
    "Message",
    "MessageFailure",
    "MessageReceipt",
    "MessageStatus",
    "NotFoundError",
    "Outcome",
    "Page",
    "Pages",
    "PaginationError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "Plan",
    "RateLimitError",
    "RateLimiter",
    "ReplyWindow",
    "RequestTimeoutError",
    "ResponseDecodeError",
    "RetryPolicy",
    "SendReport",
    "SendResult",
    "SendRun",
    "ServerError",
    "StatusTimeoutError",
    "Success",
    "Team",
    "TeamMember",
    "Template",
    "TemplateMessage",
    "TemplateStatus",
    "TemplateType",
    "TextMessage",
    "TransportError",
    "UnprocessableEntityError",
    "UserStatus",
    "Video",
    "VideoMessage",
    "Webhook",
    "WebhookDelivery",
    "WebhookResponse",
    "WindowRateLimiter",
    "__version__",
]
