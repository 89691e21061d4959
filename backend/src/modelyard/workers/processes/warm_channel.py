"""The socket between the supervisor's children and the warm parent, on which forks are requested."""

import contextlib
import socket
from dataclasses import dataclass, field

from modelyard.core.start_process import WARM_FD, can_fork, given_channel

ROOM = "-" * 64
"""The warm parent's last argument, which means nothing: a child writes its command line over its parent's."""


@dataclass(frozen=True)
class WarmChannel:
    """The descriptors of a channel. `serving` is the warm parent's end, None if it is not started here."""

    environment: dict[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    serving: int | None = None


def open_channel(stack: contextlib.ExitStack, *, wanted: bool) -> WarmChannel:
    """Open a channel for as long as the stack lasts, an empty one if there is no warm parent.

    This process keeps both ends, so requests that a warm parent did not live to read are read by the next one. If this
    process was itself given a channel, its children share that one.
    """
    if not wanted or not can_fork():
        return WarmChannel()
    given = given_channel()
    if given is not None:
        return WarmChannel({WARM_FD: str(given)}, (given,))
    asking, serving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stack.enter_context(asking)
    stack.enter_context(serving)
    return WarmChannel({WARM_FD: str(asking.fileno())}, (asking.fileno(),), serving.fileno())
