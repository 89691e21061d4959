"""Bringing a file of a folder into the cache: one hard link or copy, under its hash."""

import errno
import os
from pathlib import Path
from typing import BinaryIO

from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.paths import FoundFile
from modelyard.hub.cache.hashing import HASH_CHUNK_BYTES, content_hasher
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile


def take_file(cache: HubCache, model_id: str, source: BinaryIO, found: FoundFile, file: RemoteFile, mode: str) -> None:
    """Put an open file's content under its hash into the cache, whole or not at all. Raises InvalidRequest, Conflict.

    A blob that is there is kept only if it is this file, or has not changed since it was hashed: a hard link may have.
    """
    blob, status = cache.blob_path(model_id, file.blob), os.fstat(source.fileno())
    if cache.has_blob(model_id, file) and (
        os.path.samestat(blob.stat(), status) or cache.is_marked_verified(model_id, file)
    ):
        return
    temporary = cache.part_path(model_id, file.blob)
    temporary.unlink(missing_ok=True)
    try:
        if mode == "link":
            _link(found, status, temporary)
        else:
            _copy(source, file, temporary)
        temporary.replace(blob)
    finally:
        temporary.unlink(missing_ok=True)


def _link(found: FoundFile, status: os.stat_result, target: Path) -> None:
    if os.geteuid() not in (0, status.st_uid):
        raise InvalidRequest(
            f"{found.name} belongs to another user, who could change it here, too, if it were linked.",
            hint='Use mode "copy".',
        )
    try:
        os.link(found.real, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOENT):
            raise
        raise InvalidRequest(f"{found.name} cannot be linked into the cache.", hint='Use mode "copy".') from error
    # The name may lead to another file by now.
    if not os.path.samestat(target.lstat(), status):
        raise Conflict(f"{found.name} changed while it was imported.", hint="Import the folder again.")


def _copy(source: BinaryIO, file: RemoteFile, target: Path) -> None:
    source.seek(0)
    hasher = content_hasher(file)
    with target.open("xb") as copy:
        while chunk := source.read(HASH_CHUNK_BYTES):
            hasher.update(chunk)
            copy.write(chunk)
    if hasher.hexdigest() != file.blob:
        raise Conflict(f"{file.path} changed while it was imported.", hint="Import the folder again.")
