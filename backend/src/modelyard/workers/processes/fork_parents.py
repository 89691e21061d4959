"""The supervisor's part of the processes that its other children are forked from.

The worker parent has imported what every worker needs, and the warm parent, which is forked from it, torch and
transformers as well.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelyard.core.child_environment import child_environment
from modelyard.core.queues import Queue
from modelyard.core.start_process import WARM_FD, WORKERS_FD, given_channel
from modelyard.workers.processes.child_log import ChildLog
from modelyard.workers.processes.supervised_child import SupervisedChild
from modelyard.workers.processes.warm_channel import ROOM, WarmChannel, open_channel


@dataclass(frozen=True)
class ForkParents:
    """The channels to the two parents; empty ones where every child is started afresh."""

    warm: WarmChannel
    workers: WarmChannel

    @classmethod
    def open(cls, stack: contextlib.ExitStack, *, wanted: bool, models: bool) -> "ForkParents":
        """Open the channels for as long as the stack lasts; without `models` there is nothing for a warm parent.

        Where somebody else's warm parent is used, workers are forked from a worker parent only if that is given too.
        """
        warm = open_channel(stack, WARM_FD, wanted=wanted and models)
        both = not models or warm.serving is not None or given_channel(WORKERS_FD) is not None
        return cls(warm, open_channel(stack, WORKERS_FD, wanted=wanted and both))

    def children(
        self, pipe: int, environment: Mapping[str, str], log: Callable[[str], ChildLog | None]
    ) -> list[SupervisedChild]:
        """Return the parents that are to be started; `pipe` is the parent pipe. They get no key and no token."""
        found = []
        for name, module, channel, asked in (
            ("workers", "worker_parent", self.workers, None),
            ("warm", "warm_parent", self.warm, self.workers.asking),
        ):
            if channel.serving is not None:
                arguments = [f"modelyard.workers.processes.{module}", str(channel.serving), ROOM]
                variables, descriptors = child_environment(**environment), (pipe, channel.serving)
                found.append(SupervisedChild(name, arguments, descriptors, variables, log(name), asked))
        return found

    def asked_for(self, queues: Sequence[str]) -> int | None:
        """Return the descriptor on which a worker of these queues is asked for; None: it starts afresh.

        Only who loads models needs torch and transformers, which were told on their import that there is no Hub.
        """
        loads_models = Queue.INFERENCE in queues and Queue.DOWNLOADS not in queues
        return self.warm.asking if loads_models else self.workers.asking
