"""Runs a comparison: each of two models writes its text, then reads the other's."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.schemas.compare import CompareRequest, CompareResponse, SideName
from modelyard.services.comparison import OTHER_PROMPT, Written, compare, difference_of_tokens
from modelyard.services.inference.generation_result import Choice, WrittenToken
from modelyard.services.inference.inference_service import (
    InferenceService,
    Stage,
    given_input,
    require_chat_template,
    require_language_head,
)
from modelyard.services.inference.served import Served
from modelyard.services.jobs.payloads import GenerateInput
from modelyard.services.openai import model_names
from modelyard.services.openai.answers import finish_reason

SIDES: tuple[SideName, ...] = get_args(SideName)
_OTHER: dict[SideName, SideName] = {"left": "right", "right": "left"}

Work = Literal["write", "score"]


@dataclass(frozen=True)
class Comparison:
    """A request whose models are here."""

    models: Mapping[SideName, Served]
    given: GenerateInput
    max_new_tokens: int


@dataclass(frozen=True)
class ComparisonStep:
    """A moment of a comparison: what the model of a side is needed for. `result` at the end."""

    side: SideName
    work: Work
    stage: Stage
    result: CompareResponse | None = None


class CompareService:
    """Finds the models of a comparison and runs it; owns its transactions."""

    def __init__(self, inference: InferenceService) -> None:
        self.inference = inference

    def prepare(self, request: CompareRequest) -> Comparison:
        """Find the models of a request.

        Raises what `find_served` raises, InvalidRequest, and UnsupportedArchitecture for a model that generates no
        text; `side` is in `extra`.
        """
        given = given_input(request.prompt, request.messages)
        models = {side: self._served(side, getattr(request, side), given) for side in SIDES}
        return Comparison(models, given, request.max_new_tokens)

    def follow(self, comparison: Comparison) -> AsyncGenerator[ComparisonStep]:
        """Yield what is being done, and at the end the result. Leaving early stops the work.

        Raises the error that a generation ended with; `side` is in `extra`.
        """
        return _Run(self.inference, comparison).steps()

    def _served(self, side: SideName, name: str, given: GenerateInput) -> Served:
        with _naming(side):
            with self.inference.database.reading() as session:
                served = model_names.find_served(session, name)
            require_language_head(served.row)
            if given.messages is not None:
                require_chat_template(
                    served.row, name, hint="Send a prompt, or choose models that were trained on chats."
                )
        return served


class _Run:
    """A comparison under way. Its generations come one after the other, because both models may not fit together."""

    def __init__(self, inference: InferenceService, comparison: Comparison) -> None:
        self._inference = inference
        self._comparison = comparison
        self._written: dict[SideName, Written] = {}
        self._reason: str | None = None

    async def steps(self) -> AsyncGenerator[ComparisonStep]:
        # The right model, which is in memory last, reads before the left one is needed again.
        for part in (self._write("left"), self._write("right"), self._score("left"), self._score("right")):
            async with aclosing(part) as steps:
                async for step in steps:
                    yield step
        result = await asyncio.to_thread(compare, self._written["left"], self._written["right"], self._reason)
        yield ComparisonStep("left", "score", Stage(waiting=False), result)

    async def _write(self, side: SideName) -> AsyncGenerator[ComparisonStep]:
        asked = self._comparison
        fields = {"inputs": [asked.given], "max_new_tokens": asked.max_new_tokens, "prompt_ids": True}
        made: list[Choice] = []
        async with aclosing(self._generate(side, "write", fields, made)) as steps:
            async for step in steps:
                yield step
        self._written[side] = Written(asked.models[side], made[0])

    async def _score(self, side: SideName) -> AsyncGenerator[ComparisonStep]:
        """Have the other model read a side's text."""
        mine, other = self._written[side], self._written[_OTHER[side]]
        if mine.choice.get("prompt_ids") != other.choice.get("prompt_ids"):
            self._reason = OTHER_PROMPT
        if self._reason is not None:
            return
        scored: list[WrittenToken] = other.tokens
        if mine.ids != other.ids:  # otherwise it has written them itself
            prompt = mine.choice.get("prompt_ids") or []
            given = GenerateInput(token_ids=prompt + mine.ids)
            made: list[Choice] = []
            fields = {"inputs": [given], "max_new_tokens": 0, "echo": True}
            try:
                async with aclosing(self._generate(_OTHER[side], "score", fields, made)) as steps:
                    async for step in steps:
                        yield step
            except InvalidRequest as error:  # it cannot read these tokens, or not so many
                self._reason = error.message
                return
            scored = (made[0]["tokens"] or [])[len(prompt) :]
        self._reason = difference_of_tokens(mine.tokens, scored)
        if self._reason is None:
            self._written[side] = replace(mine, scored=scored)

    async def _generate(
        self, side: SideName, work: Work, fields: Mapping[str, Any], made: list[Choice]
    ) -> AsyncGenerator[ComparisonStep]:
        """Run a generation of a side's model; its choice is added to `made`."""
        with _naming(side):
            served = self._comparison.models[side]
            wanted = {**fields, "logprobs": 1, "adapter": served.adapter_id}
            async with aclosing(self._inference.run(served.row, wanted)) as steps:
                async for step in steps:
                    yield ComparisonStep(side, work, step.stage)
                    if step.result is not None:
                        made += step.result["choices"]
            finish_reason(made[0])


@contextmanager
def _naming(side: SideName) -> Iterator[None]:
    """Name the side in an error."""
    try:
        yield
    except ModelyardError as error:
        error.extra["side"] = side
        raise
