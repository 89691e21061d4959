"""Importing a GGUF file of this machine: it is read where it lies, and what is made of it goes into the cache."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.gguf_header import is_gguf, read_gguf
from modelyard.core.paths import FoundFile, PathRules
from modelyard.core.storage import DISK_RESERVE_BYTES
from modelyard.hub.cache.hashing import identity
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import JobKind, Model
from modelyard.schemas.model import ModelCreate
from modelyard.services.facts.folder_content import commit_of
from modelyard.services.facts.gguf_files import GgufFacts, choose, gguf_choices
from modelyard.services.gguf_conversion import GgufConversion, require_gguf
from modelyard.services.jobs.control import JobReporter
from modelyard.services.jobs.payloads import ImportPayload
from modelyard.services.model_service import ModelService
from modelyard.services.ollama_store import find_ollama_model, is_ollama_name
from modelyard.services.read_progress import ReadProgress, hash_content
from modelyard.services.settings_service import LOCAL


@dataclass(frozen=True)
class LocalGguf:
    """A GGUF file, or the parts of one, as they were found; `name` is what the user knows it by."""

    name: str
    files: Sequence[FoundFile]
    facts: GgufFacts

    @property
    def made_bytes(self) -> int:
        joined = sum(file.status.st_size for file in self.files) if len(self.files) > 1 else 0
        return self.facts.weights_bytes + joined


def names_gguf(text: str, rules: PathRules) -> bool:
    """Return whether a user names a file or an Ollama model, and no folder. Raises PathNotAllowed, InvalidRequest."""
    return is_ollama_name(text) or rules.is_file(Path(text))


def find_gguf(text: str, rules: PathRules) -> LocalGguf:
    """Find what is to be converted, and read its header.

    Raises PathNotAllowed, InvalidRequest, ModelNotFound, InvalidRepository, NoWeights, UnsupportedArchitecture,
    NoTokenizer, Conflict.
    """
    if is_ollama_name(text):
        name, files = text, [find_ollama_model(text, rules)]
    else:
        name = Path(text).name.encode(errors="replace").decode()
        files = _parts(Path(text), rules)
    headers = []
    for found in files:
        with found.open() as file:
            if not is_gguf(file.read(4)):
                raise InvalidRequest(
                    f"{text!a} is neither a model's folder nor a GGUF file.",
                    hint="Name a folder with a config.json, or a GGUF file.",
                )
            headers.append(read_gguf(file, found.status.st_size, found.name, str(found.real.parent)))
    facts = GgufFacts.of(headers)
    problem = facts.problem(name)
    if problem is not None:
        raise problem
    return LocalGguf(name, files, facts)


def _parts(path: Path, rules: PathRules) -> list[FoundFile]:
    """Find the file; of a split one, which its name tells, all parts."""
    named = rules.find_file(path)
    if not any(choice.problem for choice in gguf_choices([path.name])):
        return [named]
    names = {path.name, *(entry.name for entry in path.parent.glob(f"*{path.suffix}"))}
    choice = choose(names, path.name, str(path.parent))
    return [rules.find_file(path.parent / part) for part in choice.paths]


class GgufImport:
    """Queues and does imports of GGUF files."""

    def __init__(self, database: Database, cache: HubCache) -> None:
        self.database, self.cache = database, cache

    def start(self, text: str, model_id: str, rules: PathRules) -> str:
        """Queue the conversion of a file under a new name. Returns the row's id.

        Raises ExtraMissing, AlreadyExists, DiskFull, Conflict and what `find_gguf` does.
        """
        require_gguf()
        found = find_gguf(text, rules)
        self.cache.ensure_free(found.made_bytes, reserve_bytes=DISK_RESERVE_BYTES)
        with self.database.session() as session:
            models = ModelService(session, self.cache)
            row = models.create(
                ModelCreate(
                    model_id=model_id,
                    canonical_id=model_id,
                    endpoint=LOCAL,
                    revision="main",
                    commit=commit_of({str(file.real): file for file in found.files}),
                )
            )
            row.converted_from = _origin(found, [])
            row.num_parameters, row.dtype = found.facts.num_parameters, found.facts.dtype
            row.size_bytes = sum(file.status.st_size for file in found.files)
            models.start_job(row, JobKind.IMPORT, ImportPayload(path=text, mode="copy"))
            return row.id

    def convert(self, row: Model, payload: ImportPayload, rules: PathRules, reporter: JobReporter) -> None:
        """Hash the file and convert it. Called in a worker.

        Raises JobPaused, JobCancelled, Conflict for a file that changes meanwhile, and what `find_gguf` and
        `GgufConversion.convert` raise.
        """
        found = find_gguf(payload.path, rules)
        self.cache.ensure_free(found.made_bytes, reserve_bytes=DISK_RESERVE_BYTES)
        counter = ReadProgress(
            reporter, "verifying", sum(file.status.st_size for file in found.files), len(found.files)
        )
        hashes = []
        for file in found.files:
            with file.open() as source:
                hashes.append(hash_content(source, hashlib.sha256(), counter.add))
            counter.file_done()
        with self.database.session() as session:
            ModelService(session).get_by_id(row.id).converted_from = _origin(found, hashes)
        row.converted_from = _origin(found, hashes)
        sources = [file.real for file in found.files]
        GgufConversion(self.database, self.cache).convert(row, sources, found.facts, [], reporter)
        for file in found.files:
            if identity(file.real.lstat()) != identity(file.status):
                raise Conflict(f"{found.name} changed while it was converted.", hint="Import it again.")
        self.cache.write_ref(row.model_id, "main", row.commit)


def _origin(found: LocalGguf, hashes: Sequence[str]) -> dict[str, Any]:
    return {
        "path": found.name,
        "commit": None,
        "quantization_type": found.facts.quantization_type,
        "size_bytes": sum(file.status.st_size for file in found.files),
        "sha256": list(hashes),
    }
