"""The memory that an adapter is said to take is what PEFT holds of it."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.core.adapters import read_adapter
from support.adapters import make_lora
from support.folder_hub import TINY_LLAMA


@pytest.mark.parametrize("base_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float32", {}),
        ("float16", {"use_rslora": True}),
        ("bfloat16", {"rank_pattern": {"v_proj": 8}}),
        ("bfloat16", {"target_modules": ["embed_tokens", "down_proj", "lm_head"]}),
    ],
)
def test_memory_is_exact(tmp_path: Path, base_dtype: str, dtype: str, options: dict[str, Any]) -> None:
    import torch
    from peft import PeftModel
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = make_lora(tmp_path / "lora", "lab/base", dtype=dtype, **options)
    weights = read_adapter(folder, "lab/adapter").weights

    base = LlamaForCausalLM(LlamaConfig(**TINY_LLAMA)).to(getattr(torch, base_dtype))
    loaded = PeftModel.from_pretrained(base, folder)
    held = [tensor for name, tensor in loaded.state_dict().items() if "lora_" in name]
    assert held
    assert sum(tensor.nbytes for tensor in held) == weights.memory_bytes
    assert sum(tensor.numel() for tensor in held) == weights.num_parameters
    assert weights.dtype == dtype
