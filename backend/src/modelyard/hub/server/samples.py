"""The sample models: their list, making them on first use, and serving them."""

import asyncio
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from modelyard.core.child_environment import child_environment
from modelyard.core.errors import error_from
from modelyard.core.extras import Extra, has, require
from modelyard.core.process import EXIT_STORAGE
from modelyard.hub.server.metadata import RepoFacts, read_facts
from modelyard.hub.server.repositories import (
    DEFAULT_BRANCH,
    PlannedRepo,
    RepoNotFound,
    RepoRevisionNotFound,
    RepoUnavailable,
    StoredFile,
    StoredRepo,
    git_blob_sha1,
    git_tree_sha1,
    lfs_pointer,
)
from modelyard.hub.sources import Found, ListedRepo, RepoQuery, find_among

SAMPLES_OWNER = "modelyard-samples"
SAMPLE_TAG = "modelyard-sample"
MAKING_TIMEOUT_SECONDS = 180.0
SAMPLES_BYTES = 120_000_000
"""What all of them take on the disk while they are made."""

_LFS_SUFFIXES = (".safetensors",)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleModel:
    """A sample before it is made, which `ml.sample_models` does."""

    folder: str
    model_type: str
    dtype: str
    num_parameters: int

    @property
    def repo_id(self) -> str:
        return f"{SAMPLES_OWNER}/{self.folder}"


CATALOGUE = (
    SampleModel("tiny-llama", "llama", "BF16", 13_048_064),
    SampleModel("tiny-gpt2", "gpt2", "F32", 1_907_456),
    SampleModel("tiny-qwen-moe", "qwen3_moe", "BF16", 27_046_656),
)


class SampleSource:
    """The sample models in `folder`, which a child process fills on first use; without torch those that are there."""

    listed_last = True

    def __init__(self, folder: Path, *, making_timeout_seconds: float = MAKING_TIMEOUT_SECONDS) -> None:
        self._folder = folder
        self._making_timeout_seconds = making_timeout_seconds
        self._making: asyncio.Task[None] | None = None
        self._made: dict[str, ListedRepo] = {}
        self._threads = CapacityLimiter(2)

    async def find(self, query: RepoQuery, *, skip: int, limit: int, details: bool) -> Found:  # noqa: ARG002
        # Only the first listing starts the making: listings are polled, and one that fails must not run all the time.
        if self._making is None and not self._all_made() and has(Extra.TORCH):
            self._make_in_background()
        listed = [await self._listed(sample) for sample in self._offered()]
        return find_among(sorted(listed, key=lambda each: each.repo.repo_id), query, skip=skip, limit=limit)

    async def holding(self, repo_ids: Collection[str]) -> set[str]:
        return {sample.repo_id for sample in self._offered()} & set(repo_ids)

    async def get_repo(self, repo_id: str, revision: str | None) -> StoredRepo:
        sample = next((sample for sample in CATALOGUE if sample.repo_id == repo_id), None)
        if sample is None:
            raise RepoNotFound(f"there is no sample model {repo_id}")
        repo = await self._made_repo(sample)
        if repo is None:
            require(Extra.TORCH)
            # A client that gives up must not stop the making that others wait for.
            await asyncio.shield(self._make_in_background())
            repo = await self._made_repo(sample)
        if repo is None:
            raise RepoUnavailable(f"Making the sample models left no {sample.folder}.")
        if revision not in (None, DEFAULT_BRANCH, repo.commit):
            raise RepoRevisionNotFound(f"{repo_id} has no revision {revision}")
        return repo

    def _is_made(self, sample: SampleModel) -> bool:
        return (self._folder / sample.folder).is_dir()

    def _all_made(self) -> bool:
        return all(map(self._is_made, CATALOGUE))

    def _offered(self) -> list[SampleModel]:
        """Return the samples that are there or can be made."""
        return [sample for sample in CATALOGUE if self._is_made(sample) or has(Extra.TORCH)]

    async def _listed(self, sample: SampleModel) -> ListedRepo:
        """Return the sample as it was made, otherwise what is known before."""
        folder = self._folder / sample.folder
        if not folder.is_dir():
            self._made.pop(sample.folder, None)
            return _planned(sample)
        if sample.folder not in self._made:
            self._made[sample.folder] = await to_thread.run_sync(_read_sample, sample, folder, limiter=self._threads)
        return self._made[sample.folder]

    async def _made_repo(self, sample: SampleModel) -> StoredRepo | None:
        repo = (await self._listed(sample)).repo
        return repo if isinstance(repo, StoredRepo) else None

    def _make_in_background(self) -> "asyncio.Task[None]":
        """Make the samples once for all waiting requests; after a failure, the next request tries again."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
            self._making.add_done_callback(_log_failure)
        return self._making

    async def _make(self) -> None:
        """Run the child process. Raises DiskFull, StorageDenied, and RepoUnavailable if it fails or takes too long."""
        logger.info("making the sample models in %s", self._folder)
        try:
            child = await to_thread.run_sync(self._start)
        except OSError as error:
            raise RepoUnavailable(f"The sample models could not be made: {error}") from error
        ended = partial(child.communicate, timeout=self._making_timeout_seconds)
        try:
            stdout, stderr = await to_thread.run_sync(ended, abandon_on_cancel=True)
        except subprocess.TimeoutExpired as error:
            raise RepoUnavailable(
                f"Making the sample models took longer than {self._making_timeout_seconds:.0f} s and was stopped."
            ) from error
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if child.returncode == EXIT_STORAGE:
            raise error_from(json.loads(stdout))
        if child.returncode != 0:
            said = stderr.decode(errors="replace").strip()
            logger.error("the sample models could not be made:\n%s", said)
            last_line = said.rsplit("\n", 1)[-1] or f"exit status {child.returncode}"
            raise RepoUnavailable(f"The sample models could not be made: {last_line}")

    def _start(self) -> "subprocess.Popen[bytes]":
        # Not by asyncio: uvloop forks with the handlers that libraries register for it, and huggingface_hub's waits in
        # the child for a lock that a thread of this process may hold; the event loop then waits for the child.
        return subprocess.Popen(
            [sys.executable, "-m", "modelyard.ml.sample_models", "--into", str(self._folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(),
        )


def _log_failure(task: "asyncio.Task[None]") -> None:
    # Taking the exception also tells asyncio that it was not forgotten when nobody waits for it.
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("%s", error)


def _planned(sample: SampleModel) -> ListedRepo:
    facts = RepoFacts(
        config=None,
        card=None,
        tags=("transformers", "safetensors", sample.model_type, "text-generation", SAMPLE_TAG, "license:apache-2.0"),
        pipeline_tag="text-generation",
        library_name="transformers",
        auto_model=None,
        parameters_by_dtype={sample.dtype: sample.num_parameters},
    )
    return ListedRepo(PlannedRepo(sample.repo_id), facts)


def _read_sample(sample: SampleModel, folder: Path) -> ListedRepo:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [_read_file(folder, path.relative_to(folder).as_posix()) for path in paths]
    commit = git_tree_sha1({file.path: file.git_oid for file in files})
    repo = StoredRepo(
        repo_id=sample.repo_id,
        commit=commit,
        files={file.path: file for file in files},
        refs={DEFAULT_BRANCH: commit},
        last_modified=datetime.fromtimestamp(folder.stat().st_mtime, UTC),
        tags=_planned(sample).facts.tags,
    )
    return ListedRepo(repo, read_facts(repo))


def _read_file(folder: Path, path: str) -> StoredFile:
    local_path = folder / path
    size_bytes = local_path.stat().st_size
    if not path.endswith(_LFS_SUFFIXES):
        return StoredFile(path, size_bytes, git_blob_sha1(local_path.read_bytes()), None, folder)
    with local_path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return StoredFile(path, size_bytes, git_blob_sha1(lfs_pointer(sha256, size_bytes)), sha256, folder)
