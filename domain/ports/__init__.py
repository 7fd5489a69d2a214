"""What the domain needs of the world, and what it offers a transport and a publisher: one Protocol a file."""

from domain.ports.amendments import Amendments, Revise
from domain.ports.caller_verifier import CallerVerifier
from domain.ports.checkpoints import Checkpoints
from domain.ports.clock import Clock
from domain.ports.connection_directory import ConnectionDirectory
from domain.ports.connection_events import ConnectionEvents
from domain.ports.delivery_reports import DeliveryReports
from domain.ports.editor import Editor
from domain.ports.erasures import Erasures
from domain.ports.inbox_access import InboxAccess
from domain.ports.inbox_lookup import InboxLookup, Looked
from domain.ports.inboxes import Inboxes
from domain.ports.ledger import Ledger
from domain.ports.log import Log, Wanted
from domain.ports.notification_reports import NotificationReports
from domain.ports.notification_source import NotificationSource
from domain.ports.outbox import Outbox
from domain.ports.pids import Pids
from domain.ports.presence import Presence
from domain.ports.publisher import Publisher
from domain.ports.randomness import Randomness
from domain.ports.recipients import Recipients
from domain.ports.restrictions import Restrictions
from domain.ports.schedule import Schedule
from domain.ports.store import Store
from domain.ports.subscribers import Subscribers
from domain.ports.telemetry import Sent, Telemetry
from domain.ports.token_verifier import TokenVerifier
from domain.ports.topic_members import TopicMembers
from domain.ports.topics import Topics
from domain.ports.transport import Frame, Outlet, Transport
from domain.ports.user_access import UserAccess
from domain.ports.user_erasure import UserErasure
from domain.ports.user_export import UserExports
from domain.ports.user_inboxes import UserInboxes

__all__ = [
    "Amendments",
    "CallerVerifier",
    "Checkpoints",
    "Clock",
    "ConnectionDirectory",
    "ConnectionEvents",
    "DeliveryReports",
    "Editor",
    "Erasures",
    "Frame",
    "InboxAccess",
    "InboxLookup",
    "Inboxes",
    "Ledger",
    "Log",
    "Looked",
    "NotificationReports",
    "NotificationSource",
    "Outbox",
    "Outlet",
    "Pids",
    "Presence",
    "Publisher",
    "Randomness",
    "Recipients",
    "Restrictions",
    "Revise",
    "Schedule",
    "Sent",
    "Store",
    "Subscribers",
    "Telemetry",
    "TokenVerifier",
    "TopicMembers",
    "Topics",
    "Transport",
    "UserAccess",
    "UserErasure",
    "UserExports",
    "UserInboxes",
    "Wanted",
]
