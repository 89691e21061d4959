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
    own = cache.repo_folder(repo_id)
    for folder in cache.repo_folders() if wanted else ():
        blobs = folder / "blobs"
        if folder == own or folder.is_symlink() or blobs.is_symlink():
            continue
        with suppress(OSError):
            yield from [blobs / name for name in wanted.keys() & set(os.listdir(blobs))]  # noqa: PTH208 - names only
