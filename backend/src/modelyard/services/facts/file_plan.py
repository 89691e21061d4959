"""Which files of a repository are fetched, and why the others are not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from modelyard.core.adapters import adapter_files, is_adapter
from modelyard.core.errors import NoWeights, UnsafeWeights, UnsupportedAdapter
from modelyard.core.weight_files import (
    INDEX,
    SINGLE,
    SINGLE_PICKLE,
    Index,
    WeightFiles,
    find_weights,
    module_files,
    weights_form,
)
from modelyard.hub.model_info import HubFile
from modelyard.hub.names import odd_name, same_on_some_disks
from modelyard.services.facts.gguf_files import gguf_choices

_PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
_OTHER_RUNTIMES = {
    ".h5": "TensorFlow weights",
    ".msgpack": "Flax weights",
    ".onnx": "ONNX weights",
    ".ot": "Rust weights",
    ".tflite": "TensorFlow Lite weights",
    ".mlmodel": "Core ML weights",
    ".mlpackage": "Core ML weights",
    ".xml": "OpenVINO model",
    ".npz": "NumPy weights",
    ".llamafile": "llamafile weights",
}
_TEXT_SUFFIXES = {".json", ".txt", ".jinja", ".md", ".yaml", ".yml"}
_VOCABULARY_SUFFIXES = {".model", ".tiktoken", ".spm", ".vocab", ".bpe", ".codes", ".tokenizer"}
_VOCABULARIES = {"tokenizer.json", "vocab.json", "vocab.txt", "vocab-src.json", "byte_maps.json", "tekken.json"}
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
    weights: WeightFiles = field(default_factory=WeightFiles)

    @property
    def fetched(self) -> list[HubFile]:
        return [planned.file for planned in self.files if planned.fetch]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes or 0 for file in self.fetched)

    @property
    def safetensors(self) -> list[HubFile]:
        """Those of the model itself."""
        main = self.weights.files
        return [file for file in self.fetched if file.path.endswith(".safetensors") and file.path in main]

    @property
    def unusable_modules(self) -> list[str]:
        """Folders of sentence-transformers modules whose weights are pickle files only, which are never fetched."""
        modules = module_files([planned.file.path for planned in self.files])
        folders = {path.rpartition("/")[0] for path, name in modules.items() if name == SINGLE_PICKLE}
        return sorted(folder for folder in folders if f"{folder}/{SINGLE}" not in modules)

    @property
    def has_tokenizer(self) -> bool:
        paths = [PurePosixPath(file.path) for file in self.fetched if "/" not in file.path]
        return any(path.name in _VOCABULARIES or path.suffix in _VOCABULARY_SUFFIXES for path in paths)

    @property
    def is_adapter(self) -> bool:
        return is_adapter([planned.file.path for planned in self.files])

    def require_weights(self, model_id: str, *, allow_pickle: bool) -> None:
        """Raises NoWeights, UnsafeWeights or UnsupportedAdapter when a download could never become of use."""
        names = [planned.file.path for planned in self.files]
        if form := weights_form(names):
            if form not in (SINGLE, INDEX) and not allow_pickle:
                raise UnsafeWeights(f"{model_id} has only pickle weights, which can run code when they are read.")
            if self.weights.problem is None:
                return
            raise NoWeights(f"{model_id}: {self.weights.problem}")
        if self.is_adapter:
            if self.weights.problem is not None:
                raise UnsupportedAdapter(f"{model_id}: {self.weights.problem}")
            return
        if choices := gguf_choices(names):
            raise NoWeights(
                f"{model_id} has only GGUF weights, and none of its files was chosen.",
                hint=f"Choose one, such as {choices[0].path}: it is converted to safetensors.",
            )
        raise NoWeights(f"{model_id} has no weights that transformers can load. {self.weights.problem or ''}".rstrip())


def plan_files(files: Sequence[HubFile], *, allow_pickle: bool = False, index: Index | None = None) -> FilePlan:
    """Decide about each file: safetensors before pickle, one format only, what transformers reads and no more.

    `index` is the content of the index that `weight_files.index_to_read` names, None where it may not be read.
    """
    names = [file.path for file in files]
    weights = adapter_files(names) if is_adapter(names) else find_weights(names, index)
    form = weights_form(names)
    main, modules = set(weights.files), module_files(names)
    decided = [
        _decide_module(file, modules[file.path], modules)
        if file.path in modules and file.path not in main
        else _decide(file, main, form, allow_pickle=allow_pickle)
        for file in files
    ]
    return FilePlan(tuple(_without_odd_names(decided, main)), weights)


def _without_odd_names(decided: Sequence[PlannedFile], main: set[str]) -> Iterator[PlannedFile]:
    """Leave out what cannot be on every disk under its name, and the second of two names that some disks take for one.

    The weights are left as they are: without them there is no model, so a download refuses them by name.
    """
    kept: dict[str, str] = {}
    for planned in sorted(decided, key=lambda planned: _usual_spelling(planned.file.path), reverse=True):
        if planned.fetch:
            kept.setdefault(same_on_some_disks(planned.file.path), planned.file.path)
    for planned in decided:
        path = planned.file.path
        if not planned.fetch or path in main:
            yield planned
        elif problem := odd_name(path):
            yield PlannedFile(planned.file, False, f"not a name for every disk: {problem}")
        elif (other := kept[same_on_some_disks(path)]) != path:
            yield PlannedFile(planned.file, False, f"the same file as {other} on some disks")
        else:
            yield planned


def _usual_spelling(path: str) -> bool:
    """Documentation is named in capitals, what transformers reads is not."""
    name = PurePosixPath(path)
    stem = name.stem
    return stem.isupper() if name.suffix in (".md", "") else path == path.lower()


def _decide_module(file: HubFile, name: str, modules: Mapping[str, str]) -> PlannedFile:
    """Decide about a file in the folder of a module: what `SentenceTransformer(folder)` reads and no pickle."""
    if name == SINGLE or name.endswith(".json"):
        return PlannedFile(file, True, "module of a sentence-transformers model")
    if name != SINGLE_PICKLE:
        return PlannedFile(file, False, "not read by sentence-transformers")
    if file.path.removesuffix(SINGLE_PICKLE) + SINGLE in modules:
        return PlannedFile(file, False, "pickle: the safetensors file holds the same weights")
    return PlannedFile(file, False, "pickle weights of a sentence-transformers module: not safe")


def _decide(file: HubFile, main: set[str], form: str | None, *, allow_pickle: bool) -> PlannedFile:
    path = PurePosixPath(file.path)
    if file.path in main and path.suffix == ".safetensors":
        return PlannedFile(file, True, "weights")
    if file.path in main:
        reason = "pickle weights: only with your consent" if allow_pickle else "pickle weights: not safe"
        return PlannedFile(file, allow_pickle, reason)
    if path.suffix == ".safetensors":
        other = "not a weight file of the checkpoint" if form else "not a name transformers looks for"
        return PlannedFile(file, False, other)
    if path.suffix.lower() == ".gguf":
        return PlannedFile(file, False, "GGUF weights: only where this file is chosen")
    if path.suffix in _OTHER_RUNTIMES:
        return PlannedFile(file, False, f"{_OTHER_RUNTIMES[path.suffix]}: not used by transformers")
    if path.suffix in _PICKLE_SUFFIXES:
        if any(name.endswith(".safetensors") for name in main):
            return PlannedFile(file, False, "pickle: the safetensors files hold the same weights")
        return PlannedFile(file, False, "pickle: not read by transformers")
    if path.suffix == ".py":
        return PlannedFile(file, False, "code: never run by Modelyard")
    if len(path.parts) > 1:
        templates = path.parts[0] == "additional_chat_templates" and path.suffix == ".jinja"
        return PlannedFile(file, templates, "chat template" if templates else "in a folder transformers does not read")
    if path.name.endswith(".index.json"):
        wanted = path.name == form and bool(main) and (form == INDEX or allow_pickle)
        return PlannedFile(file, wanted, "index of the weight files" if wanted else "index of files not fetched")
    if path.suffix in _TEXT_SUFFIXES | _VOCABULARY_SUFFIXES or path.name in _NAMES:
        return PlannedFile(file, True, "configuration, tokenizer or documentation")
    return PlannedFile(file, False, "not read by transformers")
