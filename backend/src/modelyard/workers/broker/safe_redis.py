"""Kombu's Redis transport, which would end its worker over an entry that is not a message."""

from typing import Any

from kombu.transport import redis

from modelyard.workers.broker.messages import envelope_problem, log_dropped


class _Tolerant:
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, RecursionError) as error:  # not JSON; it has left the list already
            log_dropped("it is not JSON", "of this worker", str(error))
            return True


class _Checking:
    def _deliver(self, message: Any, queue: str) -> None:
        problem = envelope_problem(message)
        if problem is None:
            super()._deliver(message, queue)  # type: ignore[misc]
        else:
            log_dropped(problem, queue, message)


class Channel(_Tolerant, redis.Channel):
    """A channel that drops entries that are not JSON."""


class Transport(_Checking, redis.Transport):  # type: ignore[misc]
    """The transport of redis:// and rediss://."""

    Channel = Channel


class _SentinelChannel(_Tolerant, redis.SentinelChannel):
    pass


class SentinelTransport(_Checking, redis.SentinelTransport):  # type: ignore[misc]
    """The transport of sentinel://."""

    Channel = _SentinelChannel
