"""Which files of a repository are fetched, and why the others are not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelyard.core.errors import NoWeights, UnsafeWeights
from modelyard.hub.client import HubFile

_MAIN_SAFETENSORS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_MAIN_PICKLE = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
_PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
_OTHER_RUNTIMES = {
    ".h5": "TensorFlow weights",
    ".msgpack": "Flax weights",
    ".onnx": "ONNX weights",
    ".gguf": "GGUF weights for llama.cpp",
    ".ot": "Rust weights",
    ".tflite": "TensorFlow Lite weights",
    ".mlmodel": "Core ML weights",
    ".mlpackage": "Core ML weights",
    ".xml": "OpenVINO model",
    ".npz": "NumPy weights",
    ".llamafile": "llamafile weights",
}
_TEXT_SUFFIXES = {".json", ".jsonl", ".txt", ".jinja", ".model", ".tiktoken", ".md", ".yaml", ".yml", ".vocab", ".bpe"}
_NAMES = {"LICENSE", "LICENCE", "NOTICE", "USE_POLICY"}


@dataclass(frozen=True)
class PlannedFile:
    file: HubFile
    fetch: bool
    reason: str


@dataclass(frozen=True)
class FilePlan:
    """Every file of a repository, with the decision about it."""

    files: tuple[PlannedFile, ...]

    @property
    def fetched(self) -> list[HubFile]:
        return [planned.file for planned in self.files if planned.fetch]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes or 0 for file in self.fetched)

    @property
    def safetensors(self) -> list[HubFile]:
        return [file for file in self.fetched if file.path.endswith(".safetensors")]

    @property
    def has_tokenizer(self) -> bool:
        names = {file.path for file in self.fetched}
        return bool(names & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"}) or any(
            name.endswith(".tiktoken") for name in names
        )

    def require_weights(self, model_id: str, *, allow_pickle: bool) -> None:
        """Raises NoWeights or UnsafeWeights when a download could never become a loadable model."""
        names = [planned.file.path for planned in self.files]
        if any(name.endswith(".safetensors") for name in (file.path for file in self.fetched)):
            return
        if any(_MAIN_PICKLE.fullmatch(name) for name in names):
            if allow_pickle:
                return
            raise UnsafeWeights(f"{model_id} has only pickle weights, which can run code when they are read.")
        if any(name.endswith(".gguf") for name in names):
            raise NoWeights(
                f"{model_id} has only GGUF weights, which are made for llama.cpp.",
                hint="Choose the repository the GGUF files were made from.",
            )
        raise NoWeights(f"{model_id} has no weights that transformers can load.")


def plan_files(files: Sequence[HubFile], *, allow_pickle: bool = False) -> FilePlan:
    """Decide about each file: safetensors before pickle, one format only, what transformers reads and no more."""
    names = {file.path for file in files}
    main = {name for name in names if _MAIN_SAFETENSORS.fullmatch(name)}
    if not main:
        main = {name for name in names if name.endswith(".safetensors") and "/" not in name}
    return FilePlan(tuple(_decide(file, main, allow_pickle=allow_pickle) for file in files))


def _decide(file: HubFile, main_safetensors: set[str], *, allow_pickle: bool) -> PlannedFile:
    path = PurePosixPath(file.path)
    if file.path in main_safetensors:
        return PlannedFile(file, True, "weights")
    if path.suffix == ".safetensors":
        return PlannedFile(file, False, "another copy of the weights")
    if path.suffix in _OTHER_RUNTIMES:
        return PlannedFile(file, False, f"{_OTHER_RUNTIMES[path.suffix]}: not used by transformers")
    if path.suffix in _PICKLE_SUFFIXES:
        return _decide_pickle(file, bool(main_safetensors), allow_pickle=allow_pickle)
    if path.suffix == ".py":
        return PlannedFile(file, False, "code: never run by Modelyard")
    if len(path.parts) > 1:
        templates = path.parts[0] == "additional_chat_templates" and path.suffix == ".jinja"
        return PlannedFile(file, templates, "chat template" if templates else "in a folder transformers does not read")
    if path.suffix == ".json" and path.name.endswith(".index.json"):
        wanted = path.name.startswith("model.safetensors") or (allow_pickle and not main_safetensors)
        return PlannedFile(file, wanted, "index of the weight files" if wanted else "index of files not fetched")
    if path.suffix in _TEXT_SUFFIXES or path.name in _NAMES:
        return PlannedFile(file, True, "configuration, tokenizer or documentation")
    return PlannedFile(file, False, "not read by transformers")


def _decide_pickle(file: HubFile, has_safetensors: bool, *, allow_pickle: bool) -> PlannedFile:
    if has_safetensors:
        return PlannedFile(file, False, "pickle: the safetensors files hold the same weights")
    if _MAIN_PICKLE.fullmatch(file.path):
        return PlannedFile(
            file, allow_pickle, "pickle weights, allowed" if allow_pickle else "pickle weights: not safe"
        )
    return PlannedFile(file, False, "pickle: not read by transformers")
