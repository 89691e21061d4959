"""The load dtype of a checkpoint that is stored quantized.

transformers 5.23 reads every `*.weight` of such a checkpoint through bitsandbytes' deserializer, which leaves it in the
dtype it is stored in, whatever dtype was asked for. Quantizing while loading honours it, and so does the estimate.
"""

import re

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from transformers import PreTrainedModel
from transformers.core_model_loading import build_glob_alternation


def cast_unquantized(model: PreTrainedModel, stored: torch.dtype | None, wanted: torch.dtype) -> None:
    """Give what is not quantized the dtype it would have had if the model had been quantized while it was loaded.

    `stored` is the dtype of the checkpoint. What differs from it is of a dtype of its own and stays so.
    """
    kept, kept_then = _KeptDtypes(model, wanted), _KeptDtypes(model, stored)
    for path, module in model.named_modules():
        if isinstance(module, Linear4bit) and module.weight.quant_state is not None:
            module.weight.quant_state.dtype = wanted
        for name, parameter in module.named_parameters(path, recurse=False):
            quantized = isinstance(module, Linear4bit | Linear8bitLt) and parameter is module.weight
            if quantized or not parameter.is_floating_point():
                continue
            follows = stored in (None, parameter.dtype) or kept_then.of(name) is not None
            # In place: tied modules share the parameter.
            parameter.data = parameter.data.to(kept.of(name) or (wanted if follows else parameter.dtype))


class _KeptDtypes:
    """What a model insists on having in another dtype than it is loaded in."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None) -> None:
        self._plan: dict[str, torch.dtype] = {} if dtype is None else model._get_dtype_plan(dtype)
        self._pattern: re.Pattern[str] | None = None
        if self._plan:
            self._pattern, self._globs, _ = build_glob_alternation(list(self._plan))

    def of(self, name: str) -> torch.dtype | None:
        match = self._pattern.search(name) if self._pattern is not None else None
        return None if match is None or match.lastgroup is None else self._plan[self._globs[match.lastgroup]]
