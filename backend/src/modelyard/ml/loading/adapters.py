"""LoRA adapters on a loaded model: PEFT's layers around the model's own, whose weights stay as they are."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from modelyard.core.adapters import (
    ADAPTER_WEIGHTS,
    AdapterConfig,
    AdapterWeights,
    check_adapter_weights,
    read_adapter_config,
)
from modelyard.core.errors import (
    InvalidRepository,
    ModelyardError,
    NoWeights,
    OutOfMemory,
    UnsupportedAdapter,
    UnsupportedArchitecture,
)
from modelyard.core.safetensors_header import StoredTensor, read_header
from modelyard.ml.inspect.meta_model import first_line
from modelyard.ml.loading import devices
from modelyard.ml.loading.load_spec import AdapterSpec
from modelyard.ml.quantize.quantization import unique_storages

_PREFIX = "base_model.model."
_BARE = "__base__"
"""PEFT's word for the model without adapters."""
_UNFIT_HINT = "The adapter was made for another model or another version of this one, or its files are damaged."


@dataclass(frozen=True)
class AdapterFiles:
    """What the files of an adapter say, compared with each other."""

    config: AdapterConfig
    weights: AdapterWeights
    tensors: Mapping[str, StoredTensor]


class Adapters:
    """The adapters of one model in memory. Whoever calls anything but `measured_bytes` holds the model's lock.

    One of them is in use at a time, or none; `run` gives each row of a batch its own. Without any, the model consists
    of the very modules that it was loaded with.
    """

    def __init__(self, model: PreTrainedModel, model_id: str) -> None:
        self._model: PreTrainedModel | None = model
        self._model_id = model_id
        self._peft: Any = None
        self._bytes: dict[str, int] = {}
        self._bare: dict[str, nn.Module] = {}
        """The model's own modules that PEFT's stand before, by their paths."""
        self._layers: list[Any] = []
        self._current: str | None = None

    def measured_bytes(self, name: str) -> int:
        """Return the bytes of the unique storages of an adapter."""
        return self._bytes[name]

    def load(self, spec: AdapterSpec) -> None:
        """Add an adapter; nothing of it stays where that fails.

        Raises NoWeights for one that does not fit the model, UnsupportedAdapter, InvalidRepository,
        UnsupportedArchitecture for modules that take no adapter, OutOfMemory.
        """
        model = self._require_model()
        files = read_adapter(spec)
        _require_fit(files, model, spec.model_id, self._model_id)
        before = unique_storages(model).keys()
        failure: Exception | None = None
        try:
            self._add(spec, files, model)
        except Exception as error:  # noqa: BLE001 - whatever the files make PEFT raise
            failure = error.with_traceback(None)  # the traceback holds what was loaded so far
        if failure is not None:
            self._remove(spec.name)
            raise _load_error(failure, spec)
        after = unique_storages(model)
        self._bytes[spec.name] = sum(size for place, size in after.items() if place not in before)

    def unload(self, name: str) -> None:
        """Remove an adapter."""
        del self._bytes[name]
        self._remove(name)

    def use(self, name: str | None) -> None:
        """Have the model run with one adapter, or with none."""
        if name == self._current:
            return
        for layer in self._layers:
            layer.enable_adapters(name is not None)
            if name is not None:
                layer.set_adapter(_key(name), inference_mode=True)
        self._current = name

    def run(self, names: Sequence[str | None], **inputs: Any) -> Any:
        """Run the model, each row with the adapter that is named for it."""
        if len(set(names)) == 1:
            self.use(names[0])
            return self._require_model()(**inputs)
        if self._current is None:  # which one does not matter, but disabled layers ignore the names
            self.use(next(name for name in names if name is not None))
        return self._peft(**inputs, adapter_names=[_BARE if name is None else _key(name) for name in names])

    def merge(self, spec: AdapterSpec) -> None:
        """Add a loaded adapter to the model's own weights, and remove it.

        The sum is taken in float32. Raises UnsupportedAdapter, before anything is changed, for one that changes weights
        which the model uses in several places: merged, it would change them in all of them.
        """
        model, key = self._require_model(), _key(spec.name)
        changed = {path: layer for path, layer in self._adapted() if key in layer.scaling}
        shared = _shared_weights(model)
        for path, layer in changed.items():
            if id(layer.get_base_layer().weight) in shared:
                raise UnsupportedAdapter(
                    f"{spec.model_id} changes {path!a}, whose weights {self._model_id} uses in another place as well"
                    " (they are tied).",
                    hint="Use the adapter beside its base instead.",
                )
        with torch.no_grad():
            for layer in changed.values():
                weight = layer.get_base_layer().weight
                weight.copy_(weight.float() + layer.get_delta_weight(key).float())
        self.unload(spec.name)

    def drop(self) -> None:
        """Let go of the model."""
        self._model = self._peft = self._current = None
        self._bytes, self._bare, self._layers = {}, {}, []

    def _require_model(self) -> PreTrainedModel:
        assert self._model is not None  # noqa: S101 - only a model that is in memory is used
        return self._model

    def _add(self, spec: AdapterSpec, files: AdapterFiles, model: PreTrainedModel) -> None:
        import peft  # takes 8 MB, which only processes with adapters spend
        from safetensors.torch import load_file

        for path in files.weights.ranks:
            self._bare.setdefault(path, model.get_submodule(path))
        config, key = peft_config(files), _key(spec.name)
        if self._peft is None:
            # The plain class: those of a task pass arguments that not every model takes.
            self._peft = peft.PeftModel(model, config, key)
        else:
            self._peft.add_adapter(key, config)
        # Not with PEFT's function: it asks for the state of the base, and bitsandbytes, which on some processors keeps
        # 4-bit weights in another order, changes them for good when it tells its state.
        for name, tensor in load_file(spec.folder / ADAPTER_WEIGHTS).items():
            _matrix(model, name.removeprefix(_PREFIX), key).data.copy_(tensor)
        self._peft.eval()
        self._find_layers()

    def _remove(self, name: str) -> None:
        model = self._require_model()
        if not self._bytes:
            for path, module in self._bare.items():
                parent, _, child = path.rpartition(".")
                setattr(model.get_submodule(parent), child, module)
            if hasattr(model, "peft_config"):
                del model.peft_config
            self._peft, self._bare = None, {}
        elif _key(name) in self._peft.peft_config:
            self._peft.delete_adapter(_key(name))
        self._find_layers()

    def _find_layers(self) -> None:
        """Note PEFT's layers, and let the model run without adapters."""
        self._layers, self._current = [layer for _, layer in self._adapted()], None
        for layer in self._layers:
            layer.enable_adapters(False)

    def _adapted(self) -> list[tuple[str, Any]]:
        """Return PEFT's layers with their paths in the model."""
        if self._peft is None:
            return []
        from peft.tuners.tuners_utils import BaseTunerLayer

        modules = self._require_model().named_modules()
        return [(path, module) for path, module in modules if isinstance(module, BaseTunerLayer)]


def _shared_weights(model: nn.Module) -> set[int]:
    """Return the ids of parameters that belong to several modules."""
    found = Counter(id(own) for module in model.modules() for own in module.parameters(recurse=False))
    return {parameter for parameter, count in found.items() if count > 1}


def _key(name: str) -> str:
    """Return PEFT's name of an adapter: an attribute of modules, which have others, too."""
    return f"adapter_{name}"


def _matrix(model: PreTrainedModel, name: str, key: str) -> torch.Tensor:
    """Return the matrix of an adapter that has this name in its file."""
    path, _, kind = name.removesuffix(".weight").rpartition(".")
    layer: Any = model.get_submodule(path)
    held = getattr(layer, kind)[key]
    found: torch.Tensor = getattr(held, "weight", held)
    return found


def read_adapter(spec: AdapterSpec) -> AdapterFiles:
    """Read and compare an adapter's configuration and the header of its weights.

    Raises InvalidRepository, UnsupportedAdapter, NoWeights.
    """
    try:
        config = read_adapter_config(spec.folder, spec.model_id)
    except FileNotFoundError:
        raise InvalidRepository(f"{spec.model_id} has no adapter_config.json.") from None
    try:
        tensors = read_header(spec.folder / ADAPTER_WEIGHTS, spec.model_id)
    except FileNotFoundError:
        raise NoWeights(f"{spec.model_id} has no {ADAPTER_WEIGHTS}.") from None
    shapes = ((name, tensor.dtype, tensor.shape) for name, tensor in tensors.items())
    return AdapterFiles(config, check_adapter_weights(config, shapes, spec.model_id), tensors)


def peft_config(files: AdapterFiles) -> Any:
    """Return PEFT's settings, in which every module is named by its whole path: patterns of strangers are not run."""
    import peft

    config, weights = files.config, files.weights
    return peft.LoraConfig(
        r=weights.rank,
        lora_alpha=config.alpha,
        target_modules=list(weights.ranks),
        rank_pattern={re.escape(path): rank for path, rank in weights.ranks.items() if rank != weights.rank},
        alpha_pattern={
            re.escape(path): alpha for path in weights.ranks if (alpha := config.alpha_of(path)) != config.alpha
        },
        use_rslora=config.use_rslora,
        fan_in_fan_out=config.fan_in_fan_out,
        init_lora_weights=False,
        inference_mode=True,
    )


def _require_fit(files: AdapterFiles, model: PreTrainedModel, adapter: str, base: str) -> None:
    """Raise NoWeights unless the model has every module that is changed, in the size that the matrices have.

    PEFT would make room for matrices as large as the configuration says before it compares them.
    """
    for path, rank in files.weights.ranks.items():
        try:
            module: Any = model.get_submodule(path)
        except AttributeError:
            raise NoWeights(f"{adapter} changes {path!a}, which {base} does not have.", hint=_UNFIT_HINT) from None
        inner, outer = _sizes(getattr(module, "base_layer", module), path, adapter)
        for kind, end in (("lora_", ".weight"), ("lora_embedding_", "")):
            down = files.tensors.get(f"{_PREFIX}{path}.{kind}A{end}")
            up = files.tensors.get(f"{_PREFIX}{path}.{kind}B{end}")
            if down is None or up is None:
                continue
            if (down.shape, up.shape) != ((rank, inner), (outer, rank)):
                raise NoWeights(
                    f"{adapter} has matrices of {list(down.shape)} and {list(up.shape)} for {path!a} of {base},"
                    f" which has {inner} inputs and {outer} outputs.",
                    hint=_UNFIT_HINT,
                )


def _sizes(module: nn.Module, path: str, adapter: str) -> tuple[int, int]:
    """Return how many inputs and outputs a module has. Raises UnsupportedArchitecture for one that takes no adapter."""
    weight = getattr(module, "weight", None)
    if weight is not None and weight.device.type == "meta":
        raise UnsupportedArchitecture(
            f"{path!a} is in system memory, because its model does not fit on the accelerators: it takes no"
            " adapter there.",
            hint="Use a smaller precision of the base.",
        )
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    raise UnsupportedArchitecture(
        f"{adapter} changes {path!a}, a {type(module).__name__}.",
        hint="Adapters of Linear, Conv1D and Embedding layers are supported.",
    )


def _load_error(failure: Exception, spec: AdapterSpec) -> Exception:
    if isinstance(failure, ModelyardError):
        return failure
    if devices.is_out_of_memory(failure):
        devices.release_memory()
        return OutOfMemory(
            f"Memory ran out while {spec.model_id} was being loaded.", hint="Unload other models, then ask again."
        )
    error = NoWeights(f"{spec.model_id} cannot be loaded: {first_line(failure)}", hint=_UNFIT_HINT)
    error.__cause__ = failure
    return error
