"""Which series of metrics the operator's page shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.telemetry.history import Level, Quantile, Rate, Series

HALF: Final = 0.5
NEARLY_ALL: Final = 0.99

SHOWN: Final[Mapping[str, Series]] = {
    "connections": Level("synkrone_connections"),
    "connects": Rate(("synkrone_connects_total",)),
    "disconnects": Rate(("synkrone_disconnects_total",)),
    "notifications": Rate(("synkrone_notifications_total",)),
    "deliveries": Rate(("synkrone_deliveries_total",)),
    "replayed": Rate(("synkrone_replayed_entries_total",)),
    "to_socket_p50": Quantile("synkrone_publish_to_socket_seconds", HALF),
    "to_socket_p99": Quantile("synkrone_publish_to_socket_seconds", NEARLY_ALL),
    "to_commit_p50": Quantile("synkrone_publish_to_commit_seconds", HALF),
    "to_commit_p99": Quantile("synkrone_publish_to_commit_seconds", NEARLY_ALL),
    "connect_refusals": Rate(("synkrone_connect_refusals_total",)),
    "request_refusals": Rate(("synkrone_request_refusals_total", "synkrone_caller_refusals_total")),
    "publish_refusals": Rate(("synkrone_publish_refusals_total",)),
    "slow_readers": Rate(("synkrone_disconnects_total",), {"reason": "slow_consumer"}),
    "commits": Rate(("synkrone_store_commits_total",)),
    "commit_p50": Quantile("synkrone_store_commit_seconds", HALF),
    "commit_p99": Quantile("synkrone_store_commit_seconds", NEARLY_ALL),
    "store_bytes": Level("synkrone_store_bytes"),
    "pause_p50": Quantile("synkrone_loop_pause_seconds", HALF),
    "pause_p99": Quantile("synkrone_loop_pause_seconds", NEARLY_ALL),
}
"""By the names under which the page asks for them. A quantile is in seconds, a rate is a number each second."""
