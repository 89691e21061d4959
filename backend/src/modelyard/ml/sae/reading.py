"""A model reads a text as in a training run: the contexts it gets, and the activations of one hook point on them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from sae_lens.load_model import HookedProxyLM
from sae_lens.tokenization_and_batching import concat_and_batch_sequences
from sae_lens.util import get_special_token_ids

from modelyard.core.errors import InvalidRequest
from modelyard.ml.sae.beginning import find_beginning
from modelyard.ml.sae.inference import LoadedSae
from modelyard.ml.sae.sae_work import SaeWork

TOKENS_AT_ONCE = 4096
"""Compared at once, so that a mean over them says something."""
READ_AT_ONCE = 2048
"""Tokens of one forward pass."""
FEATURE_BYTES = 500_000_000
"""Of the activations of all features that are compared at once."""


class Reading:
    """The contexts [n, context] of a text, and the model that reads them.

    For a process of its own: the hooks SAELens puts on a model are never taken off again.
    """

    def __init__(self, work: SaeWork, loaded: LoadedSae, model: Any, tokenizer: Any, texts: Iterable[str]) -> None:
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context_size = min(loaded.context_size, longest or loaded.context_size)
        self.skip = min(loaded.skip_positions, self.context_size - 2)
        self.hook_point = work.hook_point
        beginning = find_beginning(tokenizer, loaded.beginning)
        special = {*get_special_token_ids(tokenizer), beginning.token_id, beginning.separator_id} - {None}
        self.ignored: list[int] = sorted({*loaded.excluded_tokens, *special})
        """Ids of tokens that count for nothing: their activations are outliers."""
        model.config.get_text_config().use_cache = False  # nothing is generated
        self.model = HookedProxyLM(model, tokenizer, hook_names=[work.hook_point])
        wanted = max(1, work.tokens // self.context_size)
        contexts: list[torch.Tensor] = []
        for context in concat_and_batch_sequences(
            tokens_iterator=_tokens(tokenizer, texts),
            context_size=self.context_size,
            begin_batch_token_id=beginning.token_id,
            sequence_separator_token_id=beginning.separator_id,
        ):
            contexts.append(context)
            if len(contexts) == wanted:
                break
        if not contexts:
            raise InvalidRequest(
                f"The text has less than one context of {self.context_size} tokens"
                f"{' among the rows that are kept back' if work.held_out else ''}.",
                hint="Use a longer text.",
            )
        self.contexts = torch.stack(contexts)

    @property
    def tokens(self) -> int:
        return self.contexts.numel()

    def counted(self, contexts: torch.Tensor) -> torch.Tensor:
        """Return which tokens [n, context] count: not the first positions, and no special tokens."""
        counts = ~torch.isin(contexts, torch.tensor(self.ignored, dtype=contexts.dtype))
        counts[:, : self.skip] = False
        return counts

    def at_once(self, d_sae: int) -> int:
        """Return how many contexts are compared at once."""
        tokens = min(TOKENS_AT_ONCE, FEATURE_BYTES // (4 * d_sae))
        return max(1, tokens // self.context_size)

    @torch.no_grad()
    def activations(self, contexts: torch.Tensor) -> torch.Tensor:
        """Return the hook point's output [n, context, width] in float32; the blocks after it are not run."""
        found = []
        for batch in torch.split(contexts, max(1, READ_AT_ONCE // self.context_size)):
            _, cache = self.model.run_with_cache(
                batch.to(self.model.model.device), prepend_bos=False, names_filter=[self.hook_point], stop_at_layer=0
            )
            found.append(cache[self.hook_point].float())
        return torch.cat(found)


Report = Callable[[dict[str, Any]], None]


def report_tokens(report: Report, phase: str, done: int, total: int) -> None:
    report({"phase": phase, "done": done, "total": total, "message": None})


def _tokens(tokenizer: Any, texts: Iterable[str]) -> Iterator[torch.Tensor]:
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids:
            yield torch.tensor(ids, dtype=torch.long)
