"""Making a snapshot of a GGUF file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.core.database import Database
from modelyard.core.extras import Extra, require
from modelyard.core.gguf_limits import beyond_limits, conversion_limits
from modelyard.core.settings import get_settings
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile
from modelyard.models import Model
from modelyard.services.facts.gguf_files import GgufFacts
from modelyard.services.jobs.child_work import LimitExceeded
from modelyard.services.jobs.control import JobReporter
from modelyard.services.made_snapshot import MadeSnapshot
from modelyard.services.model_files import manifest


def require_gguf() -> None:
    """Raise ExtraMissing where this installation converts no GGUF files; what other hosts have is not known here."""
    if not get_settings().is_shareable:
        require(Extra.GGUF)


def is_converted(cache: HubCache, row: Model, fetched: Sequence[RemoteFile]) -> bool:
    """Return whether what a row was converted to is there: what its manifest has besides the files of the Hub."""
    paths = {file.path for file in fetched}
    made = [file for file in manifest(row) if file.path not in paths]
    return bool(made) and not cache.inventory(row.model_id, row.commit, made).missing


class GgufConversion:
    """Converts for a row whose file, or parts, are on the disk. Called in a worker."""

    def __init__(self, database: Database, cache: HubCache) -> None:
        self.made = MadeSnapshot(database, cache)

    def convert(
        self, row: Model, sources: Sequence[Path], facts: GgufFacts, kept: Sequence[Mapping[str, Any]], job: JobReporter
    ) -> None:
        """Make the snapshot's files of `sources` (real paths) and store what they say of the model.

        `kept` are the entries of the manifest that stay. Raises ExtraMissing, UnsupportedArchitecture for a file that
        takes more than `conversion_limits`, and what `MadeSnapshot.make` does.
        """
        require(Extra.GGUF)
        name = f"{(row.converted_from or {})['path']} of {row.model_id}"
        request = {
            "sources": list(map(str, sources)),
            "name": name,
            "dtype": facts.dtype,
            "weights_bytes": facts.weights_bytes,
        }
        try:
            self.made.make(
                row,
                "modelyard.workers.processes.convert_child",
                request,
                job,
                phase="converting",
                doing=f"{name} was being converted",
                kept=kept,
                limits=conversion_limits(facts.weights_bytes),
            )
        except LimitExceeded as error:
            raise beyond_limits(name, str(error)) from error
