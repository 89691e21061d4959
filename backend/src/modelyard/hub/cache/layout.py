"""Paths and names of huggingface_hub's cache: a repository has blobs, snapshots of links to them, and refs."""

import re
from pathlib import Path

from modelyard.core.errors import HubMisbehaved
from modelyard.hub.cache.disk import entries
from modelyard.hub.names import validate_commit, validate_repo_id

PART_SUFFIX = ".modelyard.part"
JOURNAL_SUFFIX = ".modelyard.json"
BLOB_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class CacheLayout:
    """The paths inside a cache directory."""

    def __init__(self, cache_dir: Path) -> None:
        self.cache_dir = cache_dir.expanduser().absolute()

    def repo_folder(self, repo_id: str) -> Path:
        validate_repo_id(repo_id)
        return self.cache_dir / "--".join(["models", *repo_id.split("/")])

    def blob_path(self, repo_id: str, blob: str) -> Path:
        if not BLOB_NAME.fullmatch(blob):
            raise HubMisbehaved(f"{ascii(blob)[:100]} is not a hash.")
        return self.repo_folder(repo_id) / "blobs" / blob

    def part_path(self, repo_id: str, blob: str) -> Path:
        path = self.blob_path(repo_id, blob)
        return path.with_name(path.name + PART_SUFFIX)

    def journal_path(self, repo_id: str, blob: str) -> Path:
        path = self.blob_path(repo_id, blob)
        return path.with_name(path.name + JOURNAL_SUFFIX)

    def snapshot_path(self, repo_id: str, commit: str) -> Path:
        validate_commit(commit)
        return self.repo_folder(repo_id) / "snapshots" / commit

    def repo_folders(self) -> list[Path]:
        """Return the folders of all model repositories."""
        return [path for path in entries(self.cache_dir) if path.name.startswith("models--") and path.is_dir()]


def repo_id_of(folder: Path) -> str:
    """Return the id of the repository that a folder of the cache is for."""
    return folder.name.removeprefix("models--").replace("--", "/")
