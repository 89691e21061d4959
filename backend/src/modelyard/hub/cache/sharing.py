"""Finds content that another repository of the cache holds already, and gives it a second name instead of fetching it.

The names are hard links, so each repository may be deleted by itself, by any tool. Content that has a name outside of
the cache is left alone: whoever has that one may change it in place.
"""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from huggingface_hub import constants

from modelyard.hub._hf_private import shared_blob_target
from modelyard.hub.cache.disk import file_status, unique_beside
from modelyard.hub.cache.layout import CacheLayout
from modelyard.hub.names import RemoteFile


def find_elsewhere(cache: CacheLayout, repo_id: str, files: Sequence[RemoteFile]) -> dict[str, Path]:
    """Find the files' content in other repositories by its sha256 and size; returns a path for each blob found.

    Finds nothing if the user disabled sharing between repositories in huggingface_hub.
    """
    if constants.HF_HUB_DISABLE_SHARED_BLOBS:
        return {}
    wanted = {file.blob: file.size_bytes for file in files if file.sha256 is not None}
    found: dict[str, dict[Path, os.stat_result]] = defaultdict(dict)
    for path in _blobs_named(cache, repo_id, wanted):
        payload = shared_blob_target(path, cache.cache_dir) if path.is_symlink() else path
        status = file_status(payload) if payload else None
        if payload and status and stat.S_ISREG(status.st_mode) and status.st_size == wanted[path.name]:
            found[path.name][payload] = status
    chosen = {}
    for blob, places in found.items():
        names = Counter(status.st_ino for status in places.values())
        known = [path for path, status in places.items() if status.st_nlink == names[status.st_ino]]
        if known:
            chosen[blob] = known[0]
    return chosen


def link_content(source: Path, blob: Path, size_bytes: int) -> bool:
    """Hard-link the content at `source` as `blob`; returns False if that is impossible, such as between two disks."""
    temporary = unique_beside(blob)
    try:
        os.link(source, temporary, follow_symlinks=False)
        status = temporary.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
            return False
        temporary.replace(blob)
        return True
    except OSError:
        return False
    finally:
        with suppress(OSError):
            temporary.unlink()


def _blobs_named(cache: CacheLayout, repo_id: str, wanted: Mapping[str, int]) -> Iterator[Path]:
    """Return the blobs of these names in all other repositories.

    A cache may hold ten thousand repositories, so the names are asked for and nothing else.
    """
    if not wanted or cache.cache_dir.is_symlink():
        return
    own = cache.repo_folder(repo_id).name
    with suppress(OSError), os.scandir(cache.cache_dir) as folders:
        for folder in folders:
            if folder.name.startswith("models--") and folder.name != own and folder.is_dir(follow_symlinks=False):
                blobs = os.path.join(folder.path, "blobs")  # noqa: PTH118 - a Path costs more than the listing
                for name in wanted.keys() & _names(blobs):
                    yield Path(blobs, name)


def _names(folder: str) -> set[str]:
    """Return the names in a folder; none where it is a link, gone or cannot be read."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return set()
    try:
        return set(os.listdir(descriptor))  # noqa: PTH208 - names only
    except OSError:
        return set()
    finally:
        os.close(descriptor)
