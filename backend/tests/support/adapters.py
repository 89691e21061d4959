"""LoRA adapters, as PEFT saves them after training, and repositories that only look like one."""

import hashlib
import json
from pathlib import Path
from typing import Any


def make_adapter(
    base: Path, folder: Path, *, of: str = "tests/base", seed: int = 0, dtype: str = "float32", **settings: Any
) -> Path:
    """Write an adapter of the model in `base`, which it calls `of`; it changes the model's answers."""
    from transformers import AutoModelForCausalLM

    options = {"target_modules": ["q_proj", "v_proj", "down_proj"]} | settings
    model = AutoModelForCausalLM.from_pretrained(base, local_files_only=True)
    return _save(model, folder, of, seed, dtype, options)


def make_lora(folder: Path, base: str, *, dtype: str = "float32", rank: int = 4, **settings: Any) -> Path:
    """Write an adapter of the Llama of `folder_hub.make_tiny`, which it calls `base`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from support.folder_hub import TINY_LLAMA

    options = {"r": rank, "target_modules": ["q_proj", "v_proj"]} | settings
    return _save(LlamaForCausalLM(LlamaConfig(**TINY_LLAMA)), folder, base, rank, dtype, options)


def _save(model: Any, folder: Path, base: str, seed: int, dtype: str, options: dict[str, Any]) -> Path:
    import peft
    import torch

    torch.manual_seed(seed)
    model.name_or_path = base
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 16} | options))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    adapted.to(getattr(torch, dtype)).save_pretrained(folder, save_embedding_layers=False)
    return folder


def change_config(folder: Path, **fields: Any) -> Path:
    """Set fields of an adapter's configuration."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def install_adapter(home: Path, hf_home: Path, folder: Path, model_id: str, base: str) -> str:
    """Put an adapter into a server's cache and database as a download leaves it. Returns the row's id."""
    from modelyard.core.database import Database
    from modelyard.hub.cache.hub_cache import HubCache
    from modelyard.hub.names import RemoteFile
    from modelyard.models import Model, ModelKind, ModelStatus

    cache, commit = HubCache(hf_home / "hub"), hashlib.sha1(model_id.encode(), usedforsecurity=False).hexdigest()
    cache.prepare(model_id)
    entries = []
    for path in (folder / "adapter_config.json", folder / "adapter_model.safetensors"):
        content = path.read_bytes()
        file = RemoteFile(path.name, len(content), hashlib.sha256(content).hexdigest(), None)
        cache.blob_path(model_id, file.blob).write_bytes(content)
        cache.link(model_id, commit, file)
        entries.append(vars(file) | {"present_before": False})
    row = Model(
        model_id=model_id,
        canonical_id=model_id,
        endpoint="https://hub.example",
        commit=commit,
        status=ModelStatus.READY,
        kind=ModelKind.ADAPTER,
        adapter={"base_model": base, "base_revision": None, "rank": 4, "target_modules": ["q_proj"]},
        files=entries,
        size_bytes=sum(entry["size_bytes"] for entry in entries),
    )
    database = Database(f"sqlite:///{home}/modelyard.db")
    with database.session() as session:
        session.add(row)
        session.flush()
        return row.id
