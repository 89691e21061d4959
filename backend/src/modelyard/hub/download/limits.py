"""What a download may use: connections, bandwidth, patience, disk."""

from dataclasses import dataclass, field

from modelyard.core.storage import DISK_RESERVE_BYTES
from modelyard.hub.retry import RetryPolicy


@dataclass(frozen=True)
class FetchLimits:
    """`connections` and the bandwidth may change while a download runs; the rest is read when it starts."""

    connections: int = 8
    bandwidth_bytes_per_second: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    connect_timeout_seconds: float = 10.0
    stall_seconds: float = 20.0
    minimum_bytes_per_second: float = 10_000.0
    minimum_rate_seconds: float = 30.0
    disk_reserve_bytes: int = DISK_RESERVE_BYTES
