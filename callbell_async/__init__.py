"""An asyncio-native client for the Callbell API: no message lost, none sent twice, and a definite outcome for every message."""

from importlib import import_module
from typing import TYPE_CHECKING

from callbell_async._version import __version__ as __version__

# Names are imported at their first use: pytest imports this package, for its plugin, in every project that has it installed.
# Type checkers read the imports instead, so that they report a misspelt name, which `__getattr__` would hide from them.
if TYPE_CHECKING:
    from callbell_async.arguments import UNSET as UNSET
    from callbell_async.bulk import SendRun as SendRun
    from callbell_async.client import CallbellClient as CallbellClient
    from callbell_async.errors import (
        APIError as APIError,
        AuthenticationError as AuthenticationError,
        BadRequestError as BadRequestError,
        BulkSendError as BulkSendError,
        CallbellError as CallbellError,
        ClientClosedError as ClientClosedError,
        ConfigurationError as ConfigurationError,
        ConnectError as ConnectError,
        ConnectionLostError as ConnectionLostError,
        ContactConflictError as ContactConflictError,
        DownloadError as DownloadError,
        DuplicateMessageError as DuplicateMessageError,
        EventDecodeError as EventDecodeError,
        EventNotHandledError as EventNotHandledError,
        HandOffError as HandOffError,
        InvalidMessageError as InvalidMessageError,
        JournalError as JournalError,
        NotFoundError as NotFoundError,
        OptedOutError as OptedOutError,
        OutageError as OutageError,
        Outcome as Outcome,
        PaginationError as PaginationError,
        PaymentRequiredError as PaymentRequiredError,
        PermissionDeniedError as PermissionDeniedError,
        RateLimitError as RateLimitError,
        RateLimiterError as RateLimiterError,
        RequestTimeoutError as RequestTimeoutError,
        ResponseDecodeError as ResponseDecodeError,
        ServerError as ServerError,
        SignatureError as SignatureError,
        StatusTimeoutError as StatusTimeoutError,
        TransportError as TransportError,
        UnprocessableEntityError as UnprocessableEntityError,
    )
    from callbell_async.http.download import Download as Download
    from callbell_async.http.pagination import Page as Page, Paginator as Paginator
    from callbell_async.http.retry import RetryPolicy as RetryPolicy
    from callbell_async.journal import Journal as Journal
    from callbell_async.limits.base import RateLimiter as RateLimiter
    from callbell_async.limits.window import WindowRateLimiter as WindowRateLimiter
    from callbell_async.models.account import (
        Account as Account,
        Channel as Channel,
        CustomStatus as CustomStatus,
        DeletionResponse as DeletionResponse,
        Funnel as Funnel,
        Plan as Plan,
        Team as Team,
        TeamMember as TeamMember,
        Template as Template,
        TemplateStatus as TemplateStatus,
        TemplateType as TemplateType,
        UserStatus as UserStatus,
        Webhook as Webhook,
        WebhookDelivery as WebhookDelivery,
        WebhookResponse as WebhookResponse,
    )
    from callbell_async.models.contacts import (
        Bot as Bot,
        Contact as Contact,
        Conversation as Conversation,
        CustomField as CustomField,
        HistoryMessage as HistoryMessage,
        ReplyWindow as ReplyWindow,
        SuccessResponse as SuccessResponse,
    )
    from callbell_async.models.events import (
        AgentSessionUpdated as AgentSessionUpdated,
        AgentStatusUpdated as AgentStatusUpdated,
        ContactCreated as ContactCreated,
        ContactDeleted as ContactDeleted,
        ContactUpdated as ContactUpdated,
        ConversationClosed as ConversationClosed,
        ConversationOpened as ConversationOpened,
        Event as Event,
        MembershipReason as MembershipReason,
        MessageCreated as MessageCreated,
        MessageStatusUpdated as MessageStatusUpdated,
        ReplyFields as ReplyFields,
        SessionAction as SessionAction,
        TeamMembershipUpdated as TeamMembershipUpdated,
        UnknownEvent as UnknownEvent,
    )
    from callbell_async.models.journal import (
        JournalEntry as JournalEntry,
        ReconcileReport as ReconcileReport,
        RefreshReport as RefreshReport,
        UnresolvedEntry as UnresolvedEntry,
    )
    from callbell_async.models.message_parts import (
        Attachment as Attachment,
        AttachmentKind as AttachmentKind,
        ContactCard as ContactCard,
        ContactCardPhone as ContactCardPhone,
        InteractiveList as InteractiveList,
        ListItem as ListItem,
        ListSection as ListSection,
        Location as Location,
        MessageContext as MessageContext,
        ReplyButton as ReplyButton,
        ReplyOption as ReplyOption,
    )
    from callbell_async.models.messages import (
        AudioMessage as AudioMessage,
        BotStatus as BotStatus,
        CustomMessage as CustomMessage,
        Document as Document,
        DocumentMessage as DocumentMessage,
        Image as Image,
        ImageMessage as ImageMessage,
        Message as Message,
        TemplateMessage as TemplateMessage,
        TextMessage as TextMessage,
        Video as Video,
        VideoMessage as VideoMessage,
    )
    from callbell_async.models.receipts import (
        MessageFailure as MessageFailure,
        MessageReceipt as MessageReceipt,
        MessageStatus as MessageStatus,
        WindowReceipt as WindowReceipt,
    )
    from callbell_async.models.results import SendReport as SendReport, SendResult as SendResult
    from callbell_async.observe import (
        AttemptInfo as AttemptInfo,
        CallInfo as CallInfo,
        EventInfo as EventInfo,
        Observer as Observer,
        RequestInfo as RequestInfo,
        RunInfo as RunInfo,
        RunSummary as RunSummary,
    )
    from callbell_async.recipients.opt_outs import OptOutList as OptOutList
    from callbell_async.recipients.parser import RecipientParser as RecipientParser
else:
    _EXPORTS = {
        "callbell_async.arguments": ("UNSET",),
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
            "ContactConflictError",
            "DownloadError",
            "DuplicateMessageError",
            "EventDecodeError",
            "EventNotHandledError",
            "HandOffError",
            "InvalidMessageError",
            "JournalError",
            "NotFoundError",
            "OptedOutError",
            "OutageError",
            "Outcome",
            "PaginationError",
            "PaymentRequiredError",
            "PermissionDeniedError",
            "RateLimitError",
            "RateLimiterError",
            "RequestTimeoutError",
            "ResponseDecodeError",
            "ServerError",
            "SignatureError",
            "StatusTimeoutError",
            "TransportError",
            "UnprocessableEntityError",
        ),
        "callbell_async.http.download": ("Download",),
        "callbell_async.http.pagination": (
            "Page",
            "Paginator",
        ),
        "callbell_async.http.retry": ("RetryPolicy",),
        "callbell_async.journal": ("Journal",),
        "callbell_async.limits.base": ("RateLimiter",),
        "callbell_async.limits.window": ("WindowRateLimiter",),
        "callbell_async.models.account": (
            "Account",
            "Channel",
            "CustomStatus",
            "DeletionResponse",
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
            "SuccessResponse",
        ),
        "callbell_async.models.events": (
            "AgentSessionUpdated",
            "AgentStatusUpdated",
            "ContactCreated",
            "ContactDeleted",
            "ContactUpdated",
            "ConversationClosed",
            "ConversationOpened",
            "Event",
            "MembershipReason",
            "MessageCreated",
            "MessageStatusUpdated",
            "ReplyFields",
            "SessionAction",
            "TeamMembershipUpdated",
            "UnknownEvent",
        ),
        "callbell_async.models.journal": (
            "JournalEntry",
            "ReconcileReport",
            "RefreshReport",
            "UnresolvedEntry",
        ),
        "callbell_async.models.message_parts": (
            "Attachment",
            "AttachmentKind",
            "ContactCard",
            "ContactCardPhone",
            "InteractiveList",
            "ListItem",
            "ListSection",
            "Location",
            "MessageContext",
            "ReplyButton",
            "ReplyOption",
        ),
        "callbell_async.models.messages": (
            "AudioMessage",
            "BotStatus",
            "CustomMessage",
            "Document",
            "DocumentMessage",
            "Image",
            "ImageMessage",
            "Message",
            "TemplateMessage",
            "TextMessage",
            "Video",
            "VideoMessage",
        ),
        "callbell_async.models.receipts": ("MessageFailure", "MessageReceipt", "MessageStatus", "WindowReceipt"),
        "callbell_async.models.results": (
            "SendReport",
            "SendResult",
        ),
        "callbell_async.observe": (
            "AttemptInfo",
            "CallInfo",
            "EventInfo",
            "Observer",
            "RequestInfo",
            "RunInfo",
            "RunSummary",
        ),
        "callbell_async.recipients.opt_outs": ("OptOutList",),
        "callbell_async.recipients.parser": ("RecipientParser",),
    }

    __all__ = sorted(
        (name for names in _EXPORTS.values() for name in names), key=lambda name: (not name.isupper(), name)
    )
    __all__ += ["__version__"]

    def __getattr__(name: str) -> object:
        for module, names in _EXPORTS.items():
            if name in names:
                value = globals()[name] = getattr(import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted(__all__)
