"""Token ids to text as they come, up to a stop string."""

from bisect import bisect_left
from collections.abc import Sequence

from modelyard.ml.untrusted import Tokenizer

CONTEXT_TOKENS = 8
"""So many tokens before the text decide how its first token is written."""


class TextStream:
    """Decodes tokens as they come, and holds back what may still change.

    New tokens are decoded together with the piece before them, because tokenizers treat the start of a text specially.
    A character whose bytes are spread over several tokens comes out with its last byte. `stop` strings end the text
    and are cut from it, so what may be the beginning of one is held back too; `own_stops` end it and stay in it.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str] = (),
        own_stops: Sequence[str] = (),
        before: Sequence[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._stop, self._own_stops = stop, own_stops
        self._longest = max(map(len, (*stop, *own_stops)), default=0)
        self._ids = list(before[-CONTEXT_TOKENS:])
        self._context, self._read = 0, len(self._ids)
        self._decoded = ""
        self._searched = 0
        self._starts: list[int] = []
        self._has_ended = False
        self.text = ""
        """What is certain."""
        self.is_stopped = False
        """Whether a stop string has come."""

    def put(self, ids: Sequence[int]) -> None:
        """Add tokens; those after a stop string are ignored."""
        if self.is_stopped or not ids:
            return
        # With stop strings one by one, so that the token that completes one is known.
        for some in [[token] for token in ids] if self._longest else [ids]:
            self._starts += [len(self._decoded)] * len(some)
            self._ids += some
            self._decode(final=False)
            if self.is_stopped:
                return

    def end(self) -> None:
        """Give out what was held back."""
        if not self.is_stopped:
            self._has_ended = True
            self._decode(final=True)

    @property
    def tokens(self) -> int:
        """Return how many tokens were taken, up to the one that completed a stop string."""
        return len(self._starts)

    @property
    def shown_tokens(self) -> int:
        """Return how many tokens the text is of: not those of a stop string, or of what is held back for now."""
        if self._has_ended or (self.is_stopped and len(self.text) == len(self._decoded)):
            return len(self._starts)
        return bisect_left(self._starts, len(self.text))

    def _decode(self, *, final: bool) -> None:
        ids = self._ids
        known, now = self._tokenizer.decode(ids[self._context : self._read], ids[self._context :])
        if len(now) > len(known) and (final or not now.endswith("\ufffd")):
            self._context, self._read = self._read, len(ids)
            self._decoded += now[len(known) :]
        end = self._end()
        if end is not None:
            self.is_stopped, self.text = True, self._decoded[:end]
        else:
            held = 0 if final else _beginning_at_end(self._decoded, self._stop)
            self.text = self._decoded[: len(self._decoded) - held]

    def _end(self) -> int | None:
        """Return where the text ends for a stop string; None while none has come."""
        start = max(self._searched - self._longest, 0)
        self._searched = len(self._decoded)
        found = [at for string in self._stop if (at := self._decoded.find(string, start)) >= 0]
        own = [at + len(s) for s in self._own_stops if (at := self._decoded.find(s, start)) >= 0]
        # The model's own end with the token that they end in, as in transformers.
        return min([*found, *([len(self._decoded)] if own else [])], default=None)


def _beginning_at_end(text: str, strings: Sequence[str]) -> int:
    """Return how many characters at the end of a text may be the beginning of one of the strings."""
    longest = min(max(map(len, strings), default=0) - 1, len(text))
    return next(
        (size for size in range(longest, 0, -1) if any(string.startswith(text[-size:]) for string in strings)), 0
    )
