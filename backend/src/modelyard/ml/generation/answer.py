"""What a request gets of one sequence: its text, and its tokens with their log-probabilities."""

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from typing import Any

from modelyard.core import units
from modelyard.core.errors import InvalidRequest
from modelyard.ml.generation.generation_request import Choice, FinishReason, Options
from modelyard.ml.generation.logprobs import Likely
from modelyard.ml.generation.sequence import Sequence
from modelyard.ml.generation.text_stream import TextStream
from modelyard.ml.loading.loaded_model import LoadedModel

MAX_ANSWER_BYTES = 128_000_000
"""As JSON, of all choices of a request. The API takes several times as much memory to pass it on."""
_TOKEN_BYTES = 100
"""Of a token with its log-probability; each byte that it stands for is a number of its own besides."""
_NUMBER_BYTES = 5


class AnswerRoom:
    """How much the choices of one request may still tell together; used from one thread only.

    How long a token or a text becomes is a matter of the tokenizer, which may be a stranger's.
    """

    def __init__(self) -> None:
        self._left = MAX_ANSWER_BYTES

    def take(self, count: int) -> None:
        """Use up so many bytes. Raises InvalidRequest where there are fewer."""
        self._left -= count
        if self._left < 0:
            raise InvalidRequest(
                f"The answer would have more than {units.size(MAX_ANSWER_BYTES)}.",
                hint="Ask for fewer choices, tokens or log-probabilities at once.",
            )

    def take_tokens(self, pieces: Iterable[bytes]) -> None:
        """Use up what these tokens take, each with its log-probability. Raises InvalidRequest."""
        self.take(sum(_TOKEN_BYTES + _NUMBER_BYTES * len(piece) for piece in pieces))


class Answer:
    """The text of a sequence so far. `read` takes what is new; it may be called from one thread only.

    All methods raise InvalidRequest where there is no `room` for more.
    """

    def __init__(
        self, loaded: LoadedModel, sequence: Sequence, options: Options, prompt_text: str | None, room: AnswerRoom
    ) -> None:
        self._room = room
        self._tokenizer = loaded.tokenizer
        self._sequence = sequence
        self._echo = options.echo
        self._prompt_ids = list(sequence.prompt) if options.prompt_ids else None
        self._before = ""
        if options.echo:
            self._before = prompt_text if prompt_text is not None else self._tokenizer.decode(sequence.prompt)[0]
        room.take(len(self._before))
        self._stream = TextStream(
            self._tokenizer,
            stop=options.stop,
            own_stops=loaded.stop_strings,
            before=sequence.prompt if options.echo else (),
        )
        self._tokens: list[dict[str, Any]] | None = None if options.logprobs is None else []
        self._has_prompt = self._tokens is None or not options.echo
        self._taken = 0
        self._finish_reason: FinishReason | None = None
        self.may_stop = bool(options.stop or loaded.stop_strings)
        """Whether its text may end it, so that every token is looked at."""

    def read(self) -> bool:
        """Take new tokens, end the sequence at a stop string; return whether there is more to show."""
        sequence, stream = self._sequence, self._stream
        has_ended = sequence.has_ended.is_set()  # before the tokens are read, so that none is missed
        if has_ended and sequence.error is not None:
            return False
        before = (stream.text, self._has_prompt)
        new = sequence.tokens[self._taken :]
        self._taken += len(new)
        stream.put(new)
        if has_ended:
            stream.end()
        self._room.take(len(stream.text) - len(before[0]))
        if stream.is_stopped:
            sequence.unwanted = True
        self._read_tokens()
        # Last, because another thread may ask for the choice meanwhile: with a reason it is complete.
        if stream.is_stopped:
            self._finish_reason = "stop"
        elif has_ended:
            self._finish_reason = sequence.finish_reason
        return (stream.text, self._has_prompt) != before

    def choice(self) -> Choice:
        """Return it as it is now."""
        reason = self._finish_reason
        tokens = self._tokens
        if tokens is not None and self._has_prompt:
            prompt = len(self._sequence.prompt) if self._echo else 0
            tokens = tokens[: prompt + self._stream.shown_tokens]
        return Choice(
            text=self._before + self._stream.text,
            finish_reason=reason,
            tokens=None if tokens is None else list(tokens),
            prompt_tokens=len(self._sequence.prompt),
            new_tokens=self._stream.tokens,
            prompt_ids=self._prompt_ids,
        )

    def _read_tokens(self) -> None:
        if self._tokens is None:
            return
        sequence = self._sequence
        first, *others = sequence.prompt
        if not self._has_prompt and len(sequence.prompt_likely) == len(others):
            self._has_prompt = True
            self._tokens += self._described([first], [None])
            self._tokens += self._described(others, sequence.prompt_likely)
        if self._has_prompt:
            start = len(self._tokens) - (len(sequence.prompt) if self._echo else 0)
            new = sequence.tokens[start : self._stream.tokens]
            self._tokens += self._described(new, sequence.likely[start : start + len(new)])

    def _described(self, ids: SequenceOf[int], likely: SequenceOf[Likely | None]) -> list[dict[str, Any]]:
        tops = [each.top if each is not None else [] for each in likely]
        pieces = self._tokenizer.pieces({*ids, *(token for top in tops for token, _ in top)})
        self._room.take_tokens(pieces[token] for token in ids)
        self._room.take_tokens(pieces[token] for top in tops for token, _ in top)

        def described(token: int, logprob: float | None) -> dict[str, Any]:
            piece = pieces[token]
            return {
                "id": token,
                "text": piece.decode("utf-8", "replace"),
                "bytes": list(piece),
                "logprob": logprob,
            }

        return [
            described(token, None if each is None else each.logprob) | {"top": [described(*one) for one in top]}
            for token, each, top in zip(ids, likely, tops, strict=True)
        ]
