"""Makes LoRA adapters of a model, as PEFT saves them after training."""

import hashlib
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
