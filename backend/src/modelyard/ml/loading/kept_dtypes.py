"""What a model insists on having in another dtype than it is loaded in, as float32 norms and routers."""

import re

import torch
from transformers import PreTrainedModel
from transformers.core_model_loading import build_glob_alternation


class KeptDtypes:
    """The rules of `model` for a load in `dtype`; none where that is None."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None) -> None:
        self._plan: dict[str, torch.dtype] = {} if dtype is None else model._get_dtype_plan(dtype)
        self._pattern: re.Pattern[str] | None = None
        if self._plan:
            self._pattern, self._globs, _ = build_glob_alternation(list(self._plan))

    def of(self, name: str) -> torch.dtype | None:
        """Return the dtype of a state-dict entry that is not loaded as the others are."""
        match = self._pattern.search(name) if self._pattern is not None else None
        return None if match is None or match.lastgroup is None else self._plan[self._globs[match.lastgroup]]
