"""The line of sequences that wait for a model: requests take turns, so that one with many does not keep others out."""

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf

from modelyard.ml.generation.sequence import Sequence

Group = SequenceOf[Sequence]
"""Sequences with the same prompt, which begin together."""


class WaitingLine:
    """Groups in their order within a request, and requests with equally many rows in turn. Not thread-safe."""

    def __init__(self) -> None:
        self._requests: deque[deque[Group]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._requests))

    def first(self, rows: Mapping[object, int]) -> Group | None:
        """Return whose turn it is, which `take` takes: of the request that has the fewest rows; None where none waits.

        `rows` says how many sequences of a request are being written.
        """
        if not self._requests:
            return None
        turn = min(range(len(self._requests)), key=lambda place: rows.get(self._requests[place][0][0].request, 0))
        groups = self._requests[turn]
        del self._requests[turn]
        self._requests.appendleft(groups)
        return groups[0]

    def add(self, groups: SequenceOf[Group]) -> None:
        """Let the groups of a request wait."""
        if groups:
            self._requests.append(deque(groups))

    def add_first(self, group: Group) -> None:
        """Let a group wait that goes on before those of requests with as many rows."""
        self._requests.appendleft(deque([group]))

    def add_back(self, sequence: Sequence) -> None:
        """Let a sequence that had begun wait for the next turn of its request."""
        for groups in self._requests:
            if groups[0][0].request is sequence.request:
                groups.appendleft([sequence])
                return
        self._requests.append(deque([[sequence]]))

    def take(self) -> Group:
        """Take out the first group; its request comes last then."""
        groups = self._requests.popleft()
        group = groups.popleft()
        if groups:
            self._requests.append(groups)
        return group

    def take_unwanted(self) -> list[Sequence]:
        """Take out the sequences that nobody wants any more."""
        unwanted = []
        waiting, self._requests = self._requests, deque()
        for groups in waiting:
            unwanted += [sequence for group in groups for sequence in group if sequence.unwanted]
            self.add([left for group in groups if (left := [each for each in group if not each.unwanted])])
        return unwanted
