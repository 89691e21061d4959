"""Token ids of what a request wants the activations of."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from modelyard.core.errors import ContextLengthExceeded, InvalidRequest
from modelyard.ml.generation.text_generation import require_known
from modelyard.ml.loading.loaded_model import LoadedModel

_TEXTS, _CHARACTERS = 64, 200_000
"""Of which as many are sent to the tokenizer at once."""


def token_rows(
    loaded: LoadedModel,
    given: Iterable[str | Sequence[int]],
    max_tokens: int | None,
    should_stop: Callable[[], bool],
) -> Iterator[list[int]]:
    """Yield the token ids of each text, or of each row of ids, cut off after `max_tokens` if that is given.

    Raises InvalidRequest for a row without tokens or with unknown ones, ContextLengthExceeded, NoTokenizer,
    TemplateFailed, TokenizerStopped.
    """
    limit = getattr(loaded.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    for number, ids in enumerate(_ids(loaded, given, should_stop)):
        row = ids[:max_tokens]
        if not row:
            raise InvalidRequest(f"Row {number} has no tokens.", hint="Leave empty rows out.")
        if isinstance(limit, int) and 0 < limit < len(row):
            raise ContextLengthExceeded(
                f"Row {number} has {len(row):,} tokens; this model reads at most {limit:,}.",
                hint=f"Send max_tokens, which cuts rows off: {limit} at most.",
            )
        require_known(row, loaded.model)
        yield row


def _ids(
    loaded: LoadedModel, given: Iterable[str | Sequence[int]], should_stop: Callable[[], bool]
) -> Iterator[list[int]]:
    waiting: list[str] = []
    for each in given:
        if not isinstance(each, str):
            yield list(each)
            continue
        waiting.append(each)
        if len(waiting) == _TEXTS or sum(map(len, waiting)) > _CHARACTERS:
            yield from loaded.tokenizer.encode_all(waiting, should_stop=should_stop)
            waiting = []
    if waiting:
        yield from loaded.tokenizer.encode_all(waiting, should_stop=should_stop)


def dataset_rows(texts: Iterator[str], begin: int, end: int | None) -> Iterator[str]:
    """Yield the texts from `begin` on, before `end`. Raises InvalidRequest where there are none."""
    found = islice(texts, begin, end)
    first = next(found, None)
    if first is None:
        raise InvalidRequest(f"The data set has no row {begin:,}.", hint="Ask for rows it has.")
    yield first
    yield from found
