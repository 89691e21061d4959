"""LoRA adapters made by PEFT, and repositories that only look like one."""

import json
from pathlib import Path
from typing import Any


def make_lora(folder: Path, base: str, *, dtype: str = "float32", rank: int = 4, **options: Any) -> Path:
    """Save a random LoRA of the Llama of `folder_hub.make_tiny`, which names the repository `base`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from support.folder_hub import TINY_LLAMA

    torch.manual_seed(rank)
    targets = options.pop("target_modules", ["q_proj", "v_proj"])
    config = LoraConfig(
        r=rank, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False, **{"lora_alpha": 16, **options}
    )
    model = get_peft_model(LlamaForCausalLM(LlamaConfig(**TINY_LLAMA)), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(getattr(torch, dtype))
    model.save_pretrained(folder, save_embedding_layers=False)
    change_config(folder, base_model_name_or_path=base)
    return folder


def change_config(folder: Path, **fields: Any) -> Path:
    """Set fields of an adapter's configuration."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder
