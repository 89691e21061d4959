"""Convert once: a GGUF file becomes a folder that `from_pretrained` loads, and that gives the same answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from modelyard.core.config_limits import main_sizes, parameter_limit
from modelyard.core.errors import ArtifactMismatch, NoTokenizer, OutputNotFinite, UnsupportedArchitecture
from modelyard.core.gguf_header import GgufHeader, read_gguf
from modelyard.core.gguf_limits import beyond_limits
from modelyard.core.paths import open_real
from modelyard.core.process_limits import memory_limit
from modelyard.core.storage import DISK_RESERVE_BYTES
from modelyard.core.units import size
from modelyard.ml.gguf.join import join
from modelyard.ml.gguf.rope import read_llama3_scaling
from modelyard.ml.inspect.bounded_build import BUILD_ERRORS, BuildLimits, bounded_build
from modelyard.ml.inspect.meta_model import first_line
from modelyard.ml.loading import devices
from modelyard.ml.loading.disk_errors import disk_errors, require_free
from modelyard.ml.loading.memory_errors import memory_errors
from modelyard.ml.loading.pretrained import load_model, read_config, require_all_weights
from modelyard.ml.quantize.artifact_folder import exclusive, files_of
from modelyard.ml.quantize.drift import Observation, identical, is_finite, observe
from modelyard.ml.quantize.side_files import write_config

SHARD_SIZE = "5GB"
CONVERTED = "model"
"""The folder of the result in the one it is made in."""
_SOURCE = "source.gguf"
_TOKENS = 32
"""Of the pass that checks the result."""
_MEMORY_FACTOR = 2
"""How much of the result transformers holds at its peak: the unpacked tensors, and the model they become."""
_STEPS = ("unpacking the weights", "running the model", "writing safetensors", "loading them back")
_CPU = torch.device("cpu")

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class ConversionRequest:
    """What to convert and where: real paths of a file, or of the parts of one, and the folder to work in.

    `dtype` is that of the result, which takes `weights_bytes`.
    """

    sources: list[str]
    folder: str
    name: str
    dtype: str
    weights_bytes: int


def convert(request: ConversionRequest, report: Report) -> dict[str, Any]:
    """Convert and check; returns `{"files": {name: {"size_bytes", "sha256"}}}`, which lie in `folder`/CONVERTED.

    Reports `{"phase", "done", "total", "message"}`. Raises DiskFull and OutOfMemory before work that cannot fit,
    UnsupportedArchitecture, NoTokenizer, OutputNotFinite, ArtifactMismatch, NoWeights, and Conflict while another
    process does the same.
    """
    with ExitStack() as stack, exclusive(Path(request.folder)) as folder:
        parts = [stack.enter_context(open_real(Path(path))) for path in request.sources]
        headers = [read_gguf(part, _size(part), request.name, "the conversion") for part in parts]
        joined = sum(map(_size, parts)) if len(parts) > 1 else 0
        what = f"The converted {request.name}"
        require_free(folder, what, request.weights_bytes + joined, spare_bytes=DISK_RESERVE_BYTES)
        with disk_errors(folder), memory_errors(request.name, "convert", _MEMORY_FACTOR * request.weights_bytes):
            _place(parts, headers, folder, request.name)
            with _limit_errors(request.name):
                _convert(request, folder, headers, report)
        (folder / _SOURCE).unlink()
    return {"files": files_of(folder / CONVERTED)}


def _convert(request: ConversionRequest, folder: Path, headers: Sequence[GgufHeader], report: Report) -> None:
    made = folder / CONVERTED
    _tell(report, 0)
    tokenizer = _read_tokenizer(folder, request.name)
    model = _unpack(request, folder, headers)
    ids = (torch.arange(_TOKENS) % model.config.get_text_config(decoder=True).vocab_size).unsqueeze(0)
    _tell(report, 1)
    unpacked = _run(model, ids, request.name)
    if not is_finite(unpacked):
        raise OutputNotFinite(
            f"The output of {request.name} is not finite in {request.dtype}.",
            hint="The file is damaged, or of an architecture that does not convert: choose another one.",
        )
    _tell(report, 2)
    model.save_pretrained(made, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(made)
    _clean_config(made)
    del model
    devices.release_memory()
    _tell(report, 3)
    loaded = load_model(made, device_map={"": _CPU})
    if not identical(unpacked, _run(loaded, ids, request.name)):
        raise ArtifactMismatch(
            f"{request.name} gives other answers after it was converted.",
            hint="Choose another GGUF file, or the repository it was made from, and report its name.",
        )


def _unpack(request: ConversionRequest, folder: Path, headers: Sequence[GgufHeader]) -> PreTrainedModel:
    """Read the file. Raises UnsupportedArchitecture, and NoWeights where it lacks some of the model's parameters."""
    model: PreTrainedModel
    try:
        config = _read_config(folder, request.name)
        with bounded_build(_limits(config, headers, request.name)):
            model, loading = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                gguf_file=_SOURCE,
                dtype=getattr(torch, request.dtype),
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
            )
    except (*BUILD_ERRORS, RuntimeError) as error:
        # What a reader of strangers' files raises; the file itself was checked before.
        if devices.is_out_of_memory(error):
            raise
        raise UnsupportedArchitecture(
            f"transformers cannot read {request.name}: {first_line(error)}",
            hint="Choose another GGUF file, or the repository it was made from.",
        ) from error
    require_all_weights(loading, f"{request.name} lacks", type(model))
    return model.eval()


def _read_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, gguf_file=_SOURCE)
    except (MemoryError, SystemError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the Rust library is no Exception
        raise NoTokenizer(
            f"transformers cannot read the tokenizer of {name}: {first_line(error)}",
            hint="Choose another GGUF file, or the repository it was made from.",
        ) from error
    return tokenizer


@contextmanager
def _limit_errors(name: str) -> Iterator[None]:
    """Where this process has a limit of memory, it is what refused memory: without one the system kills.

    Python raises a SystemError for C code that fails without an error of its own, as some does when it gets no memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError, SystemError) as error:
        limit = memory_limit()
        if limit is None or not (isinstance(error, SystemError) or devices.is_out_of_memory(error)):
            raise
        raise beyond_limits(name, f"used more than {size(limit)} of memory") from error


def _limits(config: PreTrainedConfig, headers: Sequence[GgufHeader], name: str) -> BuildLimits:
    """Return what may be built for a file's tensors; transformers builds the model twice."""
    held = sum(header.num_parameters for header in headers)
    return BuildLimits(2 * parameter_limit(held), main_sizes(config.to_dict()), held, source=name)


def _read_config(folder: Path, name: str) -> PreTrainedConfig:
    config: PreTrainedConfig = AutoConfig.from_pretrained(folder, gguf_file=_SOURCE)
    with (folder / _SOURCE).open("rb") as file:
        header = read_gguf(file, file.seek(0, 2), name, "the conversion")
        scaling = read_llama3_scaling(file, header, config, name)
    if scaling is not None:
        config.rope_parameters = scaling
    return config


def _run(model: PreTrainedModel, ids: torch.Tensor, name: str) -> Observation:
    try:
        return observe(model, [ids])
    except (*BUILD_ERRORS, RuntimeError) as error:
        if devices.is_out_of_memory(error):
            raise
        raise UnsupportedArchitecture(
            f"{name} does not run after its weights were unpacked: {first_line(error)}",
            hint="Choose another GGUF file, or the repository it was made from.",
        ) from error


def _clean_config(folder: Path) -> None:
    """Leave out the name that the author of the file gave it."""
    config = read_config(folder)
    config.pop("_model_name_or_path", None)
    write_config(folder, config)


def _place(parts: Sequence[FileIO], headers: Sequence[GgufHeader], folder: Path, name: str) -> None:
    """Have the file, whatever it is called, under a name that ends as transformers wants it.

    It is the open file that was checked, where the system names those.
    """
    target = folder / _SOURCE
    if len(parts) > 1:
        join(list(zip(parts, headers, strict=True)), target, name)
        return
    opened = Path(f"/proc/self/fd/{parts[0].fileno()}")
    target.symlink_to(opened if opened.exists() else str(parts[0].name))


def _tell(report: Report, done: int) -> None:
    report({"phase": "converting", "done": done, "total": len(_STEPS), "message": _STEPS[done]})


def _size(file: FileIO) -> int:
    return file.seek(0, 2)
