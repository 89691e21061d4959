"""The supervisor's part of a parent that forks: the two ends of the socket on which it is asked to."""

import contextlib
import socket
from dataclasses import dataclass, field

from modelyard.core.start_process import WARM_FD, can_fork, given_channel

ROOM = "-" * 64
"""Such a parent's last argument, which means nothing: a child writes its command line over its parent's."""


@dataclass(frozen=True)
class WarmChannel:
    """What children that may ask are given. `serving` is the parent's end; None where it is not to be started."""

    environment: dict[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    serving: int | None = None

    @property
    def asking(self) -> int | None:
        """The descriptor on which this process may ask."""
        return self.descriptors[0] if self.descriptors else None


def open_channel(stack: contextlib.ExitStack, variable: str = WARM_FD, *, wanted: bool) -> WarmChannel:
    """Open a channel for as long as the stack lasts; an empty one where there is to be no such parent.

    `variable` is the one that names the descriptor to those who may ask. This process keeps both ends, so requests that
    a parent did not live to read are read by the next one. If this process was itself given a channel, its children
    share that one.
    """
    if not wanted or not can_fork():
        return WarmChannel()
    given = given_channel(variable)
    if given is not None:
        return WarmChannel({variable: str(given)}, (given,))
    asking, serving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stack.enter_context(asking)
    stack.enter_context(serving)
    return WarmChannel({variable: str(asking.fileno())}, (asking.fileno(),), serving.fileno())
