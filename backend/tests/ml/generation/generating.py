"""One continuation of one prompt, for tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.ml.generation import text_generation
from modelyard.ml.generation.generation_request import Choice, Options, Prompt
from modelyard.ml.generation.text_generation import Snapshot
from modelyard.ml.model_loader import LoadedModel


@dataclass(frozen=True)
class One(Choice):
    """The only choice of an answer, with its speed."""

    tokens_per_second: float


def generate(
    loaded: LoadedModel,
    *,
    prompt: str | None = None,
    token_ids: Sequence[int] | None = None,
    messages: Sequence[Mapping[str, str]] | None = None,
    on_delta: Callable[[str], None] = lambda _delta: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_start: Callable[[], None] = lambda: None,
    **options: Any,
) -> One:
    """Continue one prompt; `on_delta` gets the text as it comes, `options` are those of `Options`."""
    sent = [""]

    def on_text(snapshot: Snapshot) -> None:
        (choice,) = snapshot()
        assert choice.text.startswith(sent[0])
        delta, sent[0] = choice.text[len(sent[0]) :], choice.text
        on_delta(delta)

    made = text_generation.generate(
        loaded,
        [Prompt(prompt, token_ids, messages)],
        Options(**{"max_new_tokens": 64} | options),
        on_text=on_text,
        should_stop=should_stop,
        on_start=on_start,
    )
    (choice,) = made.choices
    return One(**vars(choice), tokens_per_second=made.tokens_per_second)
