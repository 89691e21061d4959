"""Which broker an instance has. Imports no SQLAlchemy, because the supervisor keeps what it has imported."""

from typing import Any
from urllib.parse import urlsplit

from modelyard.core.errors import InvalidRequest
from modelyard.core.extras import Extra, require
from modelyard.core.settings import Settings

CONNECT_SECONDS = 3.0


def broker_options(settings: Settings) -> tuple[str, dict[str, Any]]:
    """Return the broker's URL and Kombu's options for it. Raises InvalidRequest for a URL of another scheme.

    Raises ExtraMissing for Redis where its client is not installed.
    """
    # Kombu would otherwise try for ever to reach a broker that is down, inside a user's request.
    options: dict[str, Any] = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
    if settings.broker_url is None:
        return "safefs://embedded", options | {"folder": str(settings.broker_folder), "polling_interval": 0.2}
    match urlsplit(settings.broker_url).scheme:
        case "redis" | "rediss" | "sentinel":
            require(Extra.REDIS)
            return settings.broker_url, options | {
                # A job's lease decides who may take it over; Redis must never hand out a running one again.
                "visibility_timeout": 86_400,
                "global_keyprefix": "modelyard:",
                "socket_connect_timeout": CONNECT_SECONDS,
                "socket_timeout": CONNECT_SECONDS,  # more than the second for which Kombu's BRPOP waits
                "socket_keepalive": True,
            }
        case "amqp" | "amqps" | "pyamqp":
            return settings.broker_url, options
        case scheme:
            raise InvalidRequest(
                f"MODELYARD_BROKER_URL begins with {scheme or 'no scheme'!r}, which is not supported.",
                hint="Use redis://…, rediss://…, amqp://… or leave it unset for the embedded queue.",
            )
