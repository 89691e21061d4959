"""Answers in the form of the Hub's protocol: repositories, files and failures."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from modelyard.hub.server.metadata import RepoFacts
from modelyard.hub.server.repositories import PlannedRepo, StoredFile, StoredRepo, git_tree_sha1, lfs_pointer
from modelyard.hub.sources import author_of

INFO_PROPERTIES = (
    "author", "cardData", "config", "createdAt", "disabled", "downloads", "gated", "lastModified", "library_name",
    "likes", "model-index", "pipeline_tag", "private", "safetensors", "sha", "siblings", "spaces", "tags",
    "transformersInfo", "usedStorage",
)  # fmt: skip
LIST_PROPERTIES = (
    "createdAt", "downloads", "library_name", "likes", "pipeline_tag", "private", "tags", "trendingScore",
)  # fmt: skip
FULL_LIST_PROPERTIES = (*LIST_PROPERTIES, "author", "gated", "lastModified", "sha", "siblings")
UNKNOWN_HERE = (
    "baseModels", "childrenModelCount", "downloadsAllTime", "evalResults", "gguf", "inference",
    "inferenceProviderMapping", "mask_token", "resourceGroup", "widgetData",
)  # fmt: skip
"""Properties that may be asked for and that this Hub has no value for."""


class HubFailure(Exception):
    """An error answer in the form that huggingface_hub reads."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}

    def as_response(self) -> Response:
        # A header takes printable Latin-1 only, and the message may repeat what the client sent.
        header_text = re.sub(r"[^\x20-\x7e\xa0-\xff]", "?", self.message)
        headers = {"X-Error-Message": header_text, **self.headers}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return JSONResponse({"error": self.message}, self.status, headers)


def describe(
    repo: StoredRepo | PlannedRepo, facts: RepoFacts, wanted: Iterable[str], *, blobs: bool = False
) -> dict[str, Any]:
    """Return a repository with the `wanted` properties; `blobs` adds sizes and hashes to its files."""
    stored = repo if isinstance(repo, StoredRepo) else None
    modified = _timestamp(stored.last_modified) if stored else None
    parameters = dict(facts.parameters_by_dtype)
    all_properties = {
        **dict.fromkeys(UNKNOWN_HERE),
        "author": author_of(repo.repo_id),
        "cardData": facts.card,
        "config": facts.config,
        "createdAt": modified,
        "disabled": False,
        "downloads": 0,
        "gated": "manual" if stored and stored.gated else False,
        "lastModified": modified,
        "library_name": facts.library_name,
        "likes": 0,
        "model-index": None,
        "pipeline_tag": facts.pipeline_tag,
        "private": bool(stored and stored.private),
        "safetensors": {"parameters": parameters, "total": sum(parameters.values())} if parameters else None,
        "sha": stored.commit if stored else None,
        "siblings": [_sibling(file, blobs) for file in stored.files.values()] if stored else [],
        "spaces": [],
        "tags": list(facts.tags),
        "transformersInfo": _transformers_info(facts),
        "trendingScore": 0,
        "usedStorage": stored.size_bytes if stored else None,
    }
    names = {"_id": repo.repo_id, "id": repo.repo_id, "modelId": repo.repo_id}
    return names | {name: all_properties[name] for name in wanted}


def _transformers_info(facts: RepoFacts) -> dict[str, Any] | None:
    if facts.auto_model is None:
        return None
    return {"auto_model": facts.auto_model, "pipeline_tag": facts.pipeline_tag, "processor": "AutoTokenizer"}


def _sibling(file: StoredFile, blobs: bool) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": file.path}
    if blobs:
        sibling |= {"size": file.size_bytes, "blobId": file.git_oid}
        if file.lfs_sha256 is not None:
            sibling["lfs"] = {
                "sha256": file.lfs_sha256,
                "size": file.size_bytes,
                "pointerSize": len(lfs_pointer(file.lfs_sha256, file.size_bytes)),
            }
    return sibling


def tree_entries(repo: StoredRepo, folder: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """Return the files and folders inside `folder` ("" is the root): direct ones only, or all with `recursive`."""
    prefix = f"{folder}/" if folder else ""
    inside = {path: file for path, file in repo.files.items() if path.startswith(prefix)}
    folders: dict[str, dict[str, str]] = {}
    for path, file in inside.items():
        parts = path.removeprefix(prefix).split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = prefix + "/".join(parts[:depth])
            folders.setdefault(parent, {})[path.removeprefix(f"{parent}/")] = file.git_oid
    more = {"lastCommit": last_commit(repo)} if expand else {}
    entries: list[dict[str, Any]] = [
        {"type": "directory", "oid": git_tree_sha1(files), "size": 0, "path": path, **more}
        for path, files in folders.items()
    ]
    for path, file in inside.items():
        entry = {"type": "file", "oid": file.git_oid, "size": file.size_bytes, "path": path, **more}
        if file.lfs_sha256 is not None:
            pointer = lfs_pointer(file.lfs_sha256, file.size_bytes)
            entry["lfs"] = {"oid": file.lfs_sha256, "size": file.size_bytes, "pointerSize": len(pointer)}
        entries.append(entry)
    if not recursive:
        entries = [entry for entry in entries if "/" not in entry["path"].removeprefix(prefix)]
    return sorted(entries, key=lambda entry: (entry["type"] != "directory", entry["path"]))


def last_commit(repo: StoredRepo) -> dict[str, str]:
    """Return the only commit of the history that is known here."""
    return {"id": repo.commit, "title": "Stored by Modelyard", "date": _timestamp(repo.last_modified)}


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
