"""Notice imported files that changed after they were hashed: a hard link is the user's own file, too."""

from collections.abc import Mapping
from typing import Any

from modelyard.core.errors import NotReady, PathNotAllowed
from modelyard.core.paths import resolve_inside
from modelyard.hub.cache.hashing import Identity, identity, is_same_file
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Model

FILES_CHANGED = {
    "code": "files_changed",
    "message": "Imported files of this model were changed after they were hashed.",
    "hint": "Verify it if they were only moved or touched. Otherwise delete the entry and import the folder again.",
}


def seen_of(file: Mapping[str, Any]) -> Identity | None:
    """Return the identity that a file of a stored manifest had when it was hashed; None where nobody noted it."""
    seen = file.get("seen")
    return None if seen is None else tuple(seen)


def changed_file(cache: HubCache, model: Model) -> str | None:
    """Return the first file of a row's snapshot that is there and not the one that was hashed."""
    folder = cache.snapshot_path(model.model_id, model.commit)
    for file in model.files or ():
        seen = seen_of(file)
        if seen is None:
            continue
        try:
            found = identity((folder / file["path"]).stat())
        except OSError:  # gone, which is another matter
            continue
        if not is_same_file(seen, found):
            return str(file["path"])
    return None


def require_unchanged(cache: HubCache, model: Model) -> None:
    """Raise NotReady if a row's snapshot holds a file that changed, or a link out of its repository."""
    folder = cache.snapshot_path(model.model_id, model.commit)
    changed = changed_file(cache, model)
    if changed is not None:
        raise NotReady(f"{changed} of {model.model_id} was changed after it was imported.", hint=FILES_CHANGED["hint"])
    for file in model.files or ():
        try:
            resolve_inside(folder, file["path"])
        except PathNotAllowed as error:
            raise NotReady(error.message, hint="Delete the entry and download or import it again.") from error
        except OSError:  # gone: whoever reads it says so
            continue
