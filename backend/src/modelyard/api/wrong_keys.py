"""Wrong keys: how fast one client may try them, and what the log says of it."""

import asyncio
import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from modelyard.core.errors import TooManyAttempts, Unauthorized

BURST = 10
SECONDS_PER_ATTEMPT = 6.0
MAX_NETWORKS = 10_000
LOG_SECONDS = 60.0
MAX_LOGGED_NETWORKS = 20

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Allowance:
    """How many wrong keys are still answered with 401; it grows back with time."""

    attempts: float
    at: float


class WrongKeys:
    """Counts wrong keys per client, in bounded memory and with a bounded number of log lines.

    A client is an IPv4 address or an IPv6 /64, because whoever has one IPv6 address has 2^64 of them. Each may send
    `BURST` wrong keys at once and one more every `SECONDS_PER_ATTEMPT`. Belongs to one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._unlogged: dict[str, int] = {}
        """Wrong keys since a network's last log line, of the networks of the current minute."""
        self._unnamed = 0
        """Wrong keys of this minute from networks beyond `MAX_LOGGED_NETWORKS`."""
        self._flush_due: asyncio.TimerHandle | None = None

    def note(self, address: str | None) -> Unauthorized | TooManyAttempts:
        """Count one wrong key from `address`; return the error to answer with."""
        network = network_of(address)
        self._log(network)
        wait = self._take(network)
        if wait is None:
            return Unauthorized("That is not this server's key.")
        return TooManyAttempts("Too many wrong keys came from this address.", retry_after_seconds=math.ceil(wait))

    def _take(self, network: str) -> float | None:
        """Use up one attempt; return the seconds until there is one, or None if there was."""
        now = self._clock()
        known = self._allowances.setdefault(network, _Allowance(BURST, now))
        self._allowances.move_to_end(network)
        while len(self._allowances) > MAX_NETWORKS:
            self._allowances.popitem(last=False)
        known.attempts = min(BURST, known.attempts + (now - known.at) / SECONDS_PER_ATTEMPT)
        known.at = now
        if known.attempts < 1:
            return (1 - known.attempts) * SECONDS_PER_ATTEMPT
        known.attempts -= 1
        return None

    def _log(self, network: str) -> None:
        """One line at a network's first wrong key of a minute, and one with the count of the others at its end."""
        if self._flush_due is None:
            self._flush_due = asyncio.get_running_loop().call_later(LOG_SECONDS, self._flush)
        if network in self._unlogged:
            self._unlogged[network] += 1
        elif len(self._unlogged) < MAX_LOGGED_NETWORKS:
            self._unlogged[network] = 0
            logger.warning("A wrong key came from %s", network)
        else:
            self._unnamed += 1

    def _flush(self) -> None:
        self._flush_due = None
        for network, count in self._unlogged.items():
            if count:
                logger.warning("%d more wrong keys came from %s within %d s", count, network, LOG_SECONDS)
        if self._unnamed:
            logger.warning("%d more wrong keys came from other addresses within %d s", self._unnamed, LOG_SECONDS)
        self._unlogged.clear()
        self._unnamed = 0


def network_of(address: str | None) -> str:
    """Return the IPv4 address, the IPv6 /64, or `an unknown address` for anything that is no address."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "an unknown address"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)
