"""What a download of a GGUF file fetches of a Hub, and what it does once that is here."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.core.database import Database
from modelyard.core.paths import resolve_inside
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile, validate_files
from modelyard.models import Model
from modelyard.schemas.model import AdapterFacts
from modelyard.services.facts.gguf_files import GgufFacts
from modelyard.services.gguf_conversion import GgufConversion, is_converted
from modelyard.services.inspection.hub_gguf import HubGguf
from modelyard.services.inspection.hub_repository import HubRepository
from modelyard.services.jobs.control import JobReporter
from modelyard.services.model_files import new_manifest
from modelyard.services.model_service import ModelService


@dataclass(frozen=True)
class Wanted:
    """What a download fetches, and the snapshot it puts that into. `gguf` says what the headers of `parts` do.

    `adapter` is what is known of an adapter; None for a model.
    """

    commit: str
    files: list[RemoteFile]
    num_parameters: int | None
    gguf: GgufFacts | None = None
    parts: Sequence[str] = ()
    converted_from: dict[str, Any] | None = None
    adapter: AdapterFacts | None = None

    @property
    def made_bytes(self) -> int:
        """What a conversion writes: the weights, and before them the parts as one file where there are several."""
        if self.gguf is None:
            return 0
        joined = sum(file.size_bytes for file in self.files if file.path in self.parts) if len(self.parts) > 1 else 0
        return self.gguf.weights_bytes + joined


def wanted_gguf(repository: HubRepository, path: str) -> Wanted:
    """Find a GGUF file of a repository and read its header, before any of its weights.

    Raises InvalidRequest, NoWeights, UnsupportedArchitecture, NoTokenizer, HubError.
    """
    gguf = HubGguf(repository)
    choice = gguf.choose(path)
    facts = gguf.require_readable(choice)
    files = gguf.files(choice)
    validate_files(files)
    hub_commit = repository.model.commit
    parts = {file.path: file for file in files if file.path in choice.paths}
    return Wanted(
        commit=converted_commit(hub_commit, choice.path),
        files=files,
        num_parameters=facts.num_parameters,
        gguf=facts,
        parts=choice.paths,
        converted_from={
            "path": choice.path,
            "commit": hub_commit,
            "quantization_type": facts.quantization_type,
            "size_bytes": sum(file.size_bytes for file in parts.values()),
            "sha256": [parts[path].sha256 for path in choice.paths],
        },
    )


def converted_commit(hub_commit: str, path: str) -> str:
    """Name the snapshot that is made of a file of a commit: like a commit, and none that a Hub has."""
    return hashlib.sha1(f"{hub_commit}\0{path}".encode(), usedforsecurity=False).hexdigest()


def store_wanted(database: Database, cache: HubCache, row: Model, wanted: Wanted) -> None:
    """Write down what is to be fetched of a row, and what is known of the model before it is converted."""
    assert wanted.gguf is not None  # noqa: S101 - its caller looked for a GGUF file
    inventory = cache.inventory(row.model_id, row.commit, wanted.files)
    with database.session() as session:
        models = ModelService(session, cache)
        model = models.get_by_id(row.id)
        if model.files is None:
            model.files = new_manifest(model, wanted.files, inventory)
            model.size_bytes = sum(file.size_bytes for file in wanted.files)
        model.converted_from, model.num_parameters = wanted.converted_from, wanted.num_parameters
        model.dtype = wanted.gguf.dtype
        model.memory_estimated_bytes, model.memory_method = wanted.gguf.weights_bytes, "approximate"
        models.mark_downloading(model)


def convert_fetched(database: Database, cache: HubCache, row_id: str, wanted: Wanted, reporter: JobReporter) -> None:
    """Convert what was fetched, unless the result is there. Raises what `GgufConversion.convert` does."""
    assert wanted.gguf is not None  # noqa: S101 - as above
    with database.reading() as session:
        row = ModelService(session).get_by_id(row_id)
    if is_converted(cache, row, wanted.files):
        return
    folder = cache.snapshot_path(row.model_id, row.commit)
    sources = [resolve_inside(folder, path) for path in wanted.parts]
    fetched = {file.path for file in wanted.files}
    kept = [file for file in row.files or () if file["path"] in fetched]
    GgufConversion(database, cache).convert(row, sources, wanted.gguf, kept, reporter)
