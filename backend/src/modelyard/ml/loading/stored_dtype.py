"""The load dtype of a checkpoint that is stored quantized.

transformers 5.23 reads every `*.weight` of such a checkpoint through bitsandbytes' deserializer, which leaves it in the
dtype it is stored in, whatever dtype was asked for. Quantizing while loading honours it, and so does the estimate.
"""

import torch
from transformers import PreTrainedModel

from modelyard.ml.loading.import_bitsandbytes import Linear4bit, Linear8bitLt
from modelyard.ml.loading.kept_dtypes import KeptDtypes


def cast_unquantized(model: PreTrainedModel, stored: torch.dtype | None, wanted: torch.dtype) -> None:
    """Give what is not quantized the dtype it would have had if the model had been quantized while it was loaded.

    `stored` is the dtype of the checkpoint. What differs from it is of a dtype of its own and stays so.
    """
    kept, kept_then = KeptDtypes(model, wanted), KeptDtypes(model, stored)
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
