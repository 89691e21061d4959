"""Merge once: a model and a LoRA adapter of it become a folder that `from_pretrained` loads alone."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from modelyard.core.checkpoint_folder import weight_files
from modelyard.core.errors import ArtifactMismatch, Conflict, OutputNotFinite
from modelyard.core.storage import DISK_RESERVE_BYTES
from modelyard.ml.inspect.meta_model import dtype_name
from modelyard.ml.loading import devices
from modelyard.ml.loading.adapters import Adapters, read_adapter
from modelyard.ml.loading.disk_errors import disk_errors, require_free
from modelyard.ml.loading.load_spec import AdapterSpec
from modelyard.ml.loading.memory_errors import memory_errors
from modelyard.ml.loading.pretrained import load_model, read_config
from modelyard.ml.quantize.answers import answers_of, find_prompts
from modelyard.ml.quantize.artifact_folder import exclusive, files_of
from modelyard.ml.quantize.drift import Drift, Observation, Prompts, compare, identical, is_finite
from modelyard.ml.quantize.side_files import copy_side_files, write_config

MERGED = "model"
"""The folder of the result in the one it is made in."""
_SHARD_SIZE = "5GB"
_NAME = "merged"
_MERGING = ("loading the base", "running the base with the adapter", "adding the adapter", "writing safetensors")
_CHECKING = ("loading the copy", "comparing with the base and its adapter")
_CPU = {"": torch.device("cpu")}

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class MergeRequest:
    """What to merge and where: the folders of two snapshots, and the one to work in. `base` is in full precision."""

    folder: str
    base: str
    base_id: str
    base_commit: str
    adapter: str
    adapter_id: str
    adapter_commit: str
    allow_pickle: bool = False


def merge(request: MergeRequest, report: Report) -> dict[str, Any]:
    """Merge, load back and compare; returns `{"files": {path: {"size_bytes", "sha256"}}, "drift"}`.

    The files lie in `folder`/MERGED. Reports `{"phase", "done", "total", "message"}`. Raises DiskFull and OutOfMemory
    before work that cannot fit, UnsupportedAdapter, OutputNotFinite, ArtifactMismatch, Conflict while another process
    does the same or where the base is deleted meanwhile, and what `load_model` and `Adapters.load` raise.
    """
    stored = sum(path.stat().st_size for path in weight_files(Path(request.base)))
    spec = AdapterSpec(_NAME, request.adapter_id, request.adapter_commit, Path(request.adapter), 0)
    needed = stored + read_adapter(spec).weights.memory_bytes
    name = f"{request.adapter_id} with {request.base_id}"
    with exclusive(Path(request.folder)) as folder:
        require_free(folder, "The merged model", stored, spare_bytes=DISK_RESERVE_BYTES)
        with disk_errors(folder), memory_errors(name, "merge", needed):
            found = _merge(request, spec, folder / MERGED, report)
    return {"files": files_of(folder / MERGED), "drift": asdict(found)}


def _merge(request: MergeRequest, spec: AdapterSpec, made: Path, report: Report) -> Drift:
    base = Path(request.base)
    files = [path for path in base.rglob("*") if path.exists()]
    _tell(report, "merging", _MERGING, 0)
    model = load_model(base, device_map=_CPU, allow_pickle=request.allow_pickle)
    dtype, prompts = dtype_name(model.dtype), find_prompts(request.base_id, base, model)
    adapters = Adapters(model, request.base_id)
    adapters.load(spec)
    adapters.use(_NAME)
    _tell(report, "merging", _MERGING, 1)
    adapted = answers_of(model, prompts)
    _tell(report, "merging", _MERGING, 2)
    adapters.merge(spec)
    adapters.drop()
    merged = answers_of(model, prompts)
    _require_finite(merged, request, dtype)
    _tell(report, "merging", _MERGING, 3)
    _write(model, request, made)
    if not all(path.exists() for path in files):  # deleted meanwhile: what was copied may lack a tokenizer
        raise Conflict(f"Files of {request.base_id} were removed while it was merged.", hint="Fetch it, then retry.")
    del model
    devices.release_memory()
    _tell(report, "checking", _CHECKING, 0)
    reloaded = answers_of(load_model(made, device_map=_CPU), prompts)
    _tell(report, "checking", _CHECKING, 1)
    return _compare(request, adapted, merged, reloaded, prompts, dtype)


def _require_finite(merged: Observation | str, request: MergeRequest, dtype: str) -> None:
    if isinstance(merged, Observation) and not is_finite(merged):
        raise OutputNotFinite(
            f"The output of {request.base_id} is not finite in {dtype} with {request.adapter_id} merged into it.",
            hint="Use the adapter beside its base instead.",
        )


def _compare(
    request: MergeRequest,
    adapted: Observation | str,
    merged: Observation | str,
    reloaded: Observation | str,
    prompts: Prompts,
    dtype: str,
) -> Drift:
    """Return the drift from base and adapter; without figures and with a reason for a model that runs on no text."""
    for observed in (adapted, merged, reloaded):
        if isinstance(observed, str):
            return Drift(len(prompts.ids), prompts.tokens, reason=observed)
    assert not isinstance(adapted, str) and not isinstance(merged, str) and not isinstance(reloaded, str)  # noqa: S101, PT018 - looked at above
    if not identical(merged, reloaded):
        raise ArtifactMismatch(f"{request.base_id} with {request.adapter_id} gives other answers after it was saved.")
    return compare(adapted, reloaded, prompts, dtype)


def _write(model: PreTrainedModel, request: MergeRequest, made: Path) -> None:
    dtype = model.config.dtype  # after saving, the first parameter's, which may be one that is kept in float32
    model.save_pretrained(made, max_shard_size=_SHARD_SIZE)
    copy_side_files(Path(request.base), made)
    config = read_config(made)
    config.pop("_name_or_path", None)
    write_config(made, config | {"dtype": dtype_name(dtype) if isinstance(dtype, torch.dtype) else str(dtype)})
    (made / "README.md").write_text(_card(request), encoding="utf-8")


def _card(request: MergeRequest) -> str:
    return f"""---
base_model:
- {request.base_id}
- {request.adapter_id}
base_model_relation: merge
library_name: transformers
tags:
- lora
- merge
---
# {request.adapter_id}, merged

The LoRA adapter `{request.adapter_id}` (commit `{request.adapter_commit}`) merged into its base
`{request.base_id}` (commit `{request.base_commit}`) by Modelyard. The licences of both apply.
"""


def _tell(report: Report, phase: str, steps: tuple[str, ...], done: int) -> None:
    report({"phase": phase, "done": done, "total": len(steps), "message": steps[done]})
