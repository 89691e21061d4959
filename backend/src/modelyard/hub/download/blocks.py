"""Which blocks of an unfinished file are filled, and which connection fetches which of them."""

from dataclasses import dataclass

BLOCK_BYTES = 8 << 20

Ranges = list[tuple[int, int]]
"""Pairs of the position of the first byte and that behind the last one."""


@dataclass
class Claim:
    """A run of blocks that one connection fetches, from `position` to `stop` (exclusive)."""

    first_block: int
    last_block: int
    position: int
    stop: int
    revoked: bool = False


class Blocks:
    """The blocks of one file of `size_bytes`; each is filled from its start on. Its owner guards it with a lock."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.prefix = 0
        """So many bytes are there from the start of the file without a gap."""
        self._filled = [0] * -(-size_bytes // BLOCK_BYTES)
        self._claims: list[Claim] = []
        self._sequential = False

    @property
    def filled_bytes(self) -> int:
        return sum(self._filled)

    @property
    def is_complete(self) -> bool:
        return self.prefix == self.size_bytes

    def claim(self, max_blocks: int) -> Claim | None:
        """Take the next blocks that nobody fetches; None when there are none (for now)."""
        if self._sequential:
            return None if self._claims else self._new_claim_of_rest()
        taken = {block for claim in self._claims for block in range(claim.first_block, claim.last_block + 1)}
        first = None
        last = 0
        for block, filled in enumerate(self._filled):
            if first is None:
                if block not in taken and filled < self._length(block):
                    first = last = block
            elif block in taken or filled or block - first >= max_blocks:
                break
            else:
                last = block
        return None if first is None else self._new_claim(first, last)

    def claim_rest(self) -> Claim | None:
        """Take everything from the first gap on, and take the other claims away."""
        self._sequential = True
        self._revoke_claims()
        return self._new_claim_of_rest()

    def unclaimed(self) -> int:
        """Return how many blocks are left to claim."""
        if self._sequential:
            return 0 if self._claims else 1
        taken = sum(claim.last_block - claim.first_block + 1 for claim in self._claims)
        gaps = sum(filled < self._length(block) for block, filled in enumerate(self._filled))
        return max(0, gaps - taken)

    def release(self, claim: Claim) -> None:
        """End a claim; what it did not fill may be claimed again."""
        if claim in self._claims:
            self._claims.remove(claim)

    def advance(self, claim: Claim, length: int) -> bool:
        """Count `length` bytes of a claim as filled; returns whether that completed a block."""
        completed = False
        while length:
            block = claim.position // BLOCK_BYTES
            start = block * BLOCK_BYTES
            step = min(length, start + self._length(block) - claim.position)
            claim.position += step
            length -= step
            self._filled[block] = claim.position - start
            completed = completed or self._filled[block] == self._length(block)
        self._move_prefix()
        return completed

    def clear(self) -> None:
        """Forget everything filled, and take all claims away."""
        self._revoke_claims()
        self._filled = [0] * len(self._filled)
        self.prefix = 0

    def fill(self, ranges: Ranges) -> None:
        """Count ranges as filled that an earlier process fetched."""
        for start, stop in ranges:
            for block in range(-(-start // BLOCK_BYTES), -(-stop // BLOCK_BYTES)):
                self._filled[block] = min(stop - block * BLOCK_BYTES, self._length(block))
        self._move_prefix()

    def ranges(self) -> Ranges:
        """Return what is filled."""
        ranges: Ranges = []
        for block, filled in enumerate(self._filled):
            start = block * BLOCK_BYTES
            if not filled:
                continue
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], start + filled)
            else:
                ranges.append((start, start + filled))
        return ranges

    def _revoke_claims(self) -> None:
        for claim in self._claims:
            claim.revoked = True
        self._claims.clear()

    def _new_claim_of_rest(self) -> Claim | None:
        if self.is_complete:
            return None
        first = self.prefix // BLOCK_BYTES
        for block in range(first + 1, len(self._filled)):
            self._filled[block] = 0
        return self._new_claim(first, len(self._filled) - 1)

    def _new_claim(self, first: int, last: int) -> Claim:
        stop = last * BLOCK_BYTES + self._length(last)
        claim = Claim(first, last, first * BLOCK_BYTES + self._filled[first], stop)
        self._claims.append(claim)
        return claim

    def _length(self, block: int) -> int:
        return min(BLOCK_BYTES, self.size_bytes - block * BLOCK_BYTES)

    def _move_prefix(self) -> None:
        block = self.prefix // BLOCK_BYTES
        while block < len(self._filled):
            self.prefix = block * BLOCK_BYTES + self._filled[block]
            if self._filled[block] < self._length(block):
                return
            block += 1


def valid_ranges(value: object, end: int) -> Ranges:
    """Read ranges out of a journal, none of them beyond `end`; nothing where they make no sense."""
    if not isinstance(value, list):
        return []
    ranges: Ranges = []
    for item in value:
        match item:
            case [int(start), int(stop)] if 0 <= start < min(stop, end):
                ranges.append((start, min(stop, end)))
            case _:
                return []
    return ranges
