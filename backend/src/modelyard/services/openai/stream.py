"""A generation as the chunks of a streamed answer."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from modelyard.core.errors import Conflict
from modelyard.services.inference.generation_result import Choice, WrittenToken
from modelyard.services.inference.inference_service import Generation
from modelyard.services.openai.answers import Form, Heading, TextPosition, chunk, finish_reason, usage


class _ChoiceStream:
    """What has been sent of one choice."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._text = ""
        self._tokens = 0
        self._position = TextPosition()
        self._begun = self._ended = False

    def news(self, choice: Choice) -> Iterator[dict[str, Any]]:
        """Yield what chunks hold of what came since. Raises Conflict where the generation was stopped."""
        if self._ended:
            return
        if not self._begun:
            self._begun = True
            if (begin := self._form.begin()) is not None:
                yield begin | {"finish_reason": None}
        delta, tokens = self._delta(choice["text"]), self._new_tokens(choice.get("tokens"))
        if delta or tokens:
            yield self._form.piece(delta, tokens, self._position) | {"finish_reason": None}
        if choice["finish_reason"] is not None:
            self._ended = True
            yield self._form.piece("", None, self._position) | {"finish_reason": finish_reason(choice)}

    def _delta(self, text: str) -> str:
        """Return what is new of a text. A worker that took over the work of a dead one writes it again."""
        if len(text) <= len(self._text):
            return ""
        if not text.startswith(self._text):
            raise Conflict("The worker was replaced, and the new one writes another text.", hint="Ask again.")
        delta, self._text = text[len(self._text) :], text
        return delta

    def _new_tokens(self, tokens: Sequence[WrittenToken] | None) -> Sequence[WrittenToken] | None:
        if tokens is None:
            return None
        new = tokens[self._tokens :]
        self._tokens = max(self._tokens, len(tokens))
        return new


async def stream_chunks(
    steps: AsyncGenerator[Generation], heading: Heading, form: Form, n: int, *, include_usage: bool
) -> AsyncGenerator[dict[str, Any] | None]:
    """Yield the chunks of a generation as it goes on, and None where nothing is new.

    Raises the error it ends with. Leaving early stops the generation.
    """
    streams: list[_ChoiceStream] = []
    more = {"usage": None} if include_usage else {}
    async with aclosing(steps):
        async for step in steps:
            streams += [_ChoiceStream(form) for _ in step.choices[len(streams) :]]
            quiet = True
            for index, choice in enumerate(step.choices):
                for part in streams[index].news(choice):
                    yield chunk(heading, form, [{"index": index} | part]) | more
                    quiet = False
            if step.result is not None and include_usage:
                yield chunk(heading, form, []) | {"usage": usage(step.choices, n).model_dump()}
            elif quiet:
                yield None
