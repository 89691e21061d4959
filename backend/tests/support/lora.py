"""Makes LoRA adapters of a model, as PEFT saves them after training."""

from pathlib import Path
from typing import Any

import torch


def make_adapter(
    base: Path, folder: Path, *, of: str = "tests/base", seed: int = 0, dtype: str = "float32", **settings: Any
) -> Path:
    """Write an adapter of the model in `base`, which it calls `of`; it changes the model's answers."""
    import peft
    from transformers import AutoModelForCausalLM

    options = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]} | settings
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, local_files_only=True)
    model.name_or_path = of
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    adapted.to(getattr(torch, dtype)).save_pretrained(folder, save_embedding_layers=False)
    return folder
