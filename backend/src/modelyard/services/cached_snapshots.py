"""Snapshots of the shared cache that no row manages, and whether one can be adopted as it is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modelyard.core.adapters import is_adapter
from modelyard.core.errors import (
    Conflict,
    InvalidRepository,
    InvalidRequest,
    ModelyardError,
    NoWeights,
    PathNotAllowed,
    UnsafeWeights,
    UnsupportedAdapter,
)
from modelyard.core.paths import FoundFile, resolve_inside
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.cache.scan import CachedRepo, CachedSnapshot
from modelyard.services.facts.file_plan import plan_files
from modelyard.services.facts.folder_content import hub_files, index_of, require_content

ADOPTION_HINT = "Download it: what is there is used."


def best_snapshot(repo: CachedRepo) -> CachedSnapshot | None:
    """Return the snapshot of the branch `main`, else any."""
    by_ref = [snapshot for snapshot in repo.snapshots if "main" in snapshot.refs]
    return next(iter(by_ref or repo.snapshots), None)


def adoption_problem(cache: HubCache, repo_id: str, snapshot: CachedSnapshot) -> ModelyardError | None:
    """Return why a cached snapshot is not a whole model of which Modelyard can take care, or None.

    A Conflict for what the cache made of it; NoWeights, UnsafeWeights, UnsupportedAdapter or InvalidRepository for its
    files.
    """
    names = set(snapshot.files)
    folder = cache.snapshot_path(repo_id, snapshot.commit)
    if any(part.is_symlink() for part in (folder.parent.parent, folder.parent, folder)):
        return Conflict(
            "its folder is a link, and what that leads to is not the cache's to change or remove", hint=ADOPTION_HINT
        )
    for name in snapshot.files:
        try:
            resolve_inside(folder, name)
        except (PathNotAllowed, OSError):
            return Conflict(f"{name} is a link that leads out of its repository", hint=ADOPTION_HINT)
    if snapshot.missing:
        return Conflict(f"{len(snapshot.missing)} of its files are broken links", hint=ADOPTION_HINT)
    if "config.json" not in names and not is_adapter(names):
        return NoWeights("it has no config.json")
    return _content_problem(folder, names, repo_id)


def _content_problem(folder: Path, names: set[str], repo_id: str) -> ModelyardError | None:
    """Return what is wrong with the files of a snapshot, all of which lie in it; or None."""
    found = found_files(folder, names)
    try:
        plan = plan_files(hub_files(found), index=index_of(found, repo_id))
        plan.require_weights(repo_id, allow_pickle=False)
        require_content(found, plan, repo_id)
    except (NoWeights, UnsafeWeights, UnsupportedAdapter, InvalidRepository, Conflict, InvalidRequest) as error:
        return error
    return None


def found_files(folder: Path, names: Iterable[str]) -> dict[str, FoundFile]:
    """Return the files of a snapshot, all of which lie in it."""
    return {name: FoundFile(name, real := resolve_inside(folder, name), real.stat()) for name in names}


def manifest_entry(folder: Path, name: str) -> dict[str, Any]:
    """Return a file's entry of the manifest."""
    path = folder / name
    # The cache names content by its hash: sha256 of large files, git's of small ones.
    blob = path.readlink().name if path.is_symlink() else ""
    return {
        "path": name,
        "size_bytes": path.stat().st_size,
        "sha256": blob if len(blob) == 64 else None,
        "git_sha1": blob if len(blob) == 40 else None,
    }
