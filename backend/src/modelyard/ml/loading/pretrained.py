"""The one way a model or tokenizer is read from a folder: no network, no code from the folder, no pickle unasked."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from modelyard.core import units
from modelyard.core.checkpoint_folder import read_checkpoint
from modelyard.core.config_limits import main_sizes, parameter_limit
from modelyard.core.errors import (
    AlreadyQuantized,
    NoTokenizer,
    NoWeights,
    OutOfMemory,
    UnsupportedArchitecture,
)
from modelyard.core.repository_json import read_config_file
from modelyard.core.safetensors_header import StoredTensor
from modelyard.core.statuses import QuantizationName
from modelyard.ml.inspect import meta_model
from modelyard.ml.inspect.bounded_build import BUILD_ERRORS, BuildLimits, bounded_build, nothing
from modelyard.ml.inspect.meta_model import DTYPES, dtype_name, first_line
from modelyard.ml.loading import devices
from modelyard.ml.loading.generation_config import read_generation_config
from modelyard.ml.loading.stored_dtype import cast_unquantized
from modelyard.ml.loading.tokenizer_files import checked
from modelyard.ml.quantize.quantization import best_compute_dtype, get_quantization_config, mend
from modelyard.ml.quantize.quantization_plan import BITSANDBYTES, PACKING_METHOD
from modelyard.ml.untrusted.tokenizer import has_tokenizer_files

# From the two messages of transformers' loading report that end a load.
_UNFIT_WEIGHTS = ("ignore_mismatched_sizes", "automatic conversion of the weights")


_MOST_PER_BYTE = 8
"""Parameters in a byte of the most densely packed formats."""

_TENSORS_FACTOR, _MORE_TENSORS = 20, 2_000
"""A model may have this many times the tensors of its files, and these more: some files hold several in one."""

# With PEFT, transformers applies an adapter that lies beside the weights, unless it looks for one elsewhere.
_NO_ADAPTER = {"subfolder": os.devnull}

# From the message of transformers' bitsandbytes quantizers when a device map leaves something to the CPU or the disk.
_NO_PLACE = "dispatched on the CPU or the disk"

_CUDA = "CUDA error"
"""A RuntimeError that says nothing of the model."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return the folder's `config.json`. Raises NoWeights if there is none, InvalidRepository."""
    try:
        return read_config_file(folder / "config.json", folder.name)
    except FileNotFoundError:
        raise NoWeights(f"{folder.name} has no config.json.") from None


def stored_quantization(config: Mapping[str, Any]) -> str | None:
    """Return how the weights of a `config.json` are stored: 8bit or 4bit by bitsandbytes, another method, or None."""
    stored = config.get("quantization_config") or config.get("compression_config")
    if not stored:
        return None
    method = str(stored.get("quant_method") or BITSANDBYTES)
    if method not in (BITSANDBYTES, PACKING_METHOD):
        return method
    return "8bit" if stored.get("load_in_8bit") else "4bit"


def load_model(
    folder: Path,
    *,
    quantization: QuantizationName = "none",
    device_map: str | Mapping[str, torch.device] = "cpu",
    dtype: str = "auto",
    allow_pickle: bool = False,
    max_memory: Mapping[int | str, int] | None = None,
    on_build: Callable[[], None] = nothing,
) -> PreTrainedModel:
    """Load a snapshot (quantizing it on the fly if `quantization` says so) or an artifact, ready for inference.

    `dtype` is `auto` or a torch name; beside quantized weights, it is that of the rest. With the device map `auto`,
    only the devices named in `max_memory` are used. `on_build` is called again and again while modules are made; what
    it raises ends the load.
    Raises InvalidRepository, AlreadyQuantized, NoWeights, UnsafeWeights, NeedsCustomCode, UnsupportedArchitecture,
    OutOfMemory when those devices cannot hold the model, and torch's own errors when memory runs out.
    """
    values = read_config(folder)
    stored = stored_quantization(values)
    if quantization != "none" and stored not in (None, quantization):
        raise AlreadyQuantized(f"The weights are already stored as {stored}; they cannot become {quantization}.")
    config = meta_model.load_config(values)
    cls = meta_model.model_class(config)
    if cls.config_class is not type(config) and cls.config_class is config.sub_configs.get("text_config"):
        config = config.get_text_config()
    device = _main_device(device_map)
    if stored is not None:
        config.quantization_config = dict(values.get("quantization_config") or values["compression_config"])
        if stored == "4bit":
            config.quantization_config["bnb_4bit_compute_dtype"] = dtype_name(best_compute_dtype(device))
    files, tensors = read_checkpoint(folder, allow_pickle=allow_pickle, quantized=stored is not None)
    config.transformers_weights = None  # another file than the checkpoint's, which nobody looked at
    stored_dtype = config.dtype
    text = config.get_text_config(decoder=True)
    generation_config = read_generation_config(folder, text.to_dict(), getattr(text, "vocab_size", 0))
    try:
        with bounded_build(_limits(values, files, tensors, packed=stored is not None), on_build):
            model, loading = cls.from_pretrained(
                folder,
                config=config,
                generation_config=generation_config,
                quantization_config=get_quantization_config(quantization, device) if stored is None else None,
                device_map=device_map if isinstance(device_map, str) else dict(device_map),
                max_memory=None if max_memory is None else dict(max_memory),
                dtype=DTYPES.get(dtype, dtype),
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=not allow_pickle or None,
                weights_only=True,
                adapter_kwargs=_NO_ADAPTER,
                output_loading_info=True,
            )
    except (*BUILD_ERRORS, RuntimeError) as error:
        if devices.is_out_of_memory(error) or _CUDA in str(error):
            raise
        if _NO_PLACE in str(error):
            raise OutOfMemory(f"{cls.__name__} does not fit on {_named(max_memory)}.") from error
        if any(words in str(error) for words in _UNFIT_WEIGHTS):
            raise NoWeights(
                f"The weight files do not fit {cls.__name__} as config.json describes it.",
                hint="The log lists the tensors. Verify the model's files; a newer transformers may know this"
                " checkpoint.",
            ) from error
        raise UnsupportedArchitecture(
            f"transformers {transformers.__version__} cannot load {cls.__name__}: {first_line(error)}"
        ) from error
    unnamed = {str(place) for place in getattr(model, "hf_device_map", {}).values()} & {"cpu", "disk"}
    if max_memory is not None and unnamed - {str(place) for place in max_memory}:
        raise OutOfMemory(f"{cls.__name__} does not fit on {_named(max_memory)}.")
    require_all_weights(loading, "The weight files lack", cls)
    if stored in ("8bit", "4bit") and dtype != "auto":
        cast_unquantized(model, stored_dtype, DTYPES[dtype])
    mend(model)
    found: PreTrainedModel = model.eval()
    return found


def require_all_weights(loading: Mapping[str, Any], what_lacks: str, cls: type[PreTrainedModel]) -> None:
    """Raise NoWeights where weights were not found, which transformers goes on without, with random values."""
    if missing := sorted(loading["missing_keys"]):
        raise NoWeights(f"{what_lacks} {len(missing)} tensors of {cls.__name__}, {missing[0]} for one.")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the folder's tokenizer, in this process. Raises NoTokenizer, with the reason.

    It may be hostile: a process that others depend on uses `untrusted.Tokenizer`.
    """
    if not has_tokenizer_files(folder):
        raise NoTokenizer(
            f"{folder.name} has no tokenizer files.", hint="Use the model's hook points or token ids instead of text."
        )
    try:
        with checked(folder) as readable:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                readable, trust_remote_code=False, local_files_only=True
            )
    except NoTokenizer as error:
        raise NoTokenizer(f"The tokenizer of {folder.name} cannot be read: {error.message}", hint=error.hint) from error
    except Exception as error:  # tokenizer classes raise whatever their files make them raise
        raise NoTokenizer(f"The tokenizer of {folder.name} cannot be read: {first_line(error)}") from error
    tokenizer.name_or_path = str(folder)
    return tokenizer


def _limits(
    values: Mapping[str, Any], files: Sequence[Path], tensors: Mapping[str, StoredTensor], *, packed: bool
) -> BuildLimits:
    """Return what may be built for the tensors in the weight files.

    Of packed weights and of pickle files only the bytes are known. Quantizing registers each weight a second time.
    """
    if tensors and not packed:
        held = sum(tensor.elements for tensor in tensors.values())
        most_tensors = 2 * (_TENSORS_FACTOR * len(tensors) + _MORE_TENSORS)
        return BuildLimits(2 * parameter_limit(held), main_sizes(values), held, most_tensors)
    most = sum(path.stat().st_size for path in files) * _MOST_PER_BYTE
    return BuildLimits(2 * parameter_limit(most), main_sizes(values))


def _named(max_memory: Mapping[int | str, int] | None) -> str:
    return " and ".join(f"{units.size(size)} of device {place}" for place, size in (max_memory or {}).items())


def _main_device(device_map: str | Mapping[str, torch.device]) -> torch.device:
    if isinstance(device_map, str):
        return torch.device("cuda", 0) if device_map == "auto" else torch.device(device_map)
    return torch.device(next(iter(device_map.values())))
