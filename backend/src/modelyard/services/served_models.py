"""What this instance offers to others through its Hub endpoint: the snapshots whose every file was verified.

Every answer is a query by key, or by an index in the order of a listing, so that its cost does not grow with the
number of models. What a snapshot's own files say of it is read from the disk once and kept in `repo_facts`.
"""

import asyncio
import json
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from huggingface_hub.file_download import repo_folder_name
from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from modelyard.core.database import Database
from modelyard.core.errors import DatabaseUnavailable, HubMisbehaved, InvalidRequest
from modelyard.hub.cache.hashing import Identity
from modelyard.hub.names import RemoteFile, validate_commit, validate_files, validate_repo_id
from modelyard.hub.server.metadata import NO_FACTS, RepoFacts, read_facts
from modelyard.hub.server.repositories import (
    DEFAULT_BRANCH,
    RepoNotFound,
    RepoRevisionNotFound,
    StoredFile,
    StoredRepo,
    git_blob_sha1,
    lfs_pointer,
)
from modelyard.hub.sources import Found, ListedRepo, RepoQuery
from modelyard.models import Model, ModelStatus, Quantization, StoredRepoFacts
from modelyard.services.imported_files import seen_of
from modelyard.services.model_files import remote_files
from modelyard.services.versions import choice_time

LEARN_SECONDS = 5.0
LEARNED_AT_ONCE = 200
KEPT_FILES = 50_000
"""Of the repositories whose files are kept in memory: a download asks for one file after the other."""

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_T = TypeVar("_T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Snapshot:
    """A ready row without its manifest."""

    row_id: str
    model_id: str
    repo_id: str
    commit: str
    revision: str
    ready_at: datetime
    gated: bool
    private: bool


class ServedModels:
    """The ready models of `database`, whose files lie in the Hugging Face cache at `cache_dir`.

    Only files of their manifests are served, and no snapshot with a name that could lead out of its folder. The
    default branch is the snapshot that was chosen last of those asked for as `main`, or else of all.
    """

    listed_last = False

    def __init__(self, database: Database, cache_dir: Path) -> None:
        self._database = database
        self._cache_dir = cache_dir
        # Its own threads: requests that wait for this Hub may hold all of the default ones.
        self._threads = CapacityLimiter(4)
        self._kept = _KeptRepos()

    async def find(self, query: RepoQuery, *, skip: int, limit: int, details: bool) -> Found:
        return await self._in_thread(partial(self._find, query, skip, limit, details=details))

    async def holding(self, repo_ids: Collection[str]) -> set[str]:
        return await self._in_thread(partial(self._holding, repo_ids))

    async def get_repo(self, repo_id: str, revision: str | None) -> StoredRepo:
        return await self._in_thread(partial(self._get_repo, repo_id, revision))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await to_thread.run_sync(work, limiter=self._threads)

    # One repository

    def _get_repo(self, repo_id: str, revision: str | None) -> StoredRepo:
        while snapshots := self._snapshots_of(repo_id):
            chosen = _at_revision(snapshots, revision)
            if chosen is None:
                raise RepoRevisionNotFound(f"{repo_id} is not stored here at revision {revision}")
            repo = self._kept.get(chosen) or self._read_repo(chosen)
            if repo is not None:
                return replace(repo, refs=_refs(snapshots))
            self._learn([chosen.row_id])  # so that it is not chosen again
        raise RepoNotFound(f"{repo_id} is not stored here")

    def _snapshots_of(self, repo_id: str) -> list[_Snapshot]:
        """What was chosen last first."""
        statement = (
            _select(*_SNAPSHOT)
            .where(or_(Model.model_id == repo_id, Model.canonical_id == repo_id))
            .order_by(choice_time().desc(), Model.id.desc())
        )
        with self._database.reading() as session:
            return [_snapshot(row) for row in session.execute(statement)]

    def _read_repo(self, snapshot: _Snapshot) -> StoredRepo | None:
        with self._database.reading() as session:
            model = session.get(Model, snapshot.row_id)
        entries = (model.files if model is not None else None) or ()
        if not _is_servable(snapshot, remote_files(entries)):
            return None
        repo = self._repo_of(snapshot, entries)
        self._kept.put(snapshot, repo)
        return repo

    def _repo_of(self, snapshot: _Snapshot, entries: Sequence[Mapping[str, Any]]) -> StoredRepo:
        folder = self._cache_dir / repo_folder_name(repo_id=snapshot.model_id, repo_type="model")
        folder = folder / "snapshots" / snapshot.commit
        return StoredRepo(
            repo_id=snapshot.repo_id,
            commit=snapshot.commit,
            files={
                file.path: _stored_file(file, folder, seen_of(entry))
                for file, entry in sorted(
                    zip(remote_files(entries), entries, strict=True), key=lambda pair: pair[0].path
                )
            },
            refs={},
            last_modified=snapshot.ready_at,
            gated=snapshot.gated,
            private=snapshot.private,
        )

    def _holding(self, repo_ids: Collection[str]) -> set[str]:
        named = or_(Model.model_id.in_(repo_ids), Model.canonical_id.in_(repo_ids))
        with self._database.reading() as session:
            names = session.execute(_select(Model.model_id, Model.canonical_id).where(named)).all()
        return {name for pair in names for name in pair} & set(repo_ids)

    # Lists

    def _find(self, query: RepoQuery, skip: int, limit: int, *, details: bool) -> Found:
        matching = [*_conditions(query), _is_default()]
        columns = [*_SNAPSHOT, *(_ALL_FACTS if details else _FACTS_OF_A_LIST), *((Model.files,) if details else ())]
        page = (
            _select(*columns)
            .where(*matching)
            # Backwards through the index, so that a page reads no more than its own rows.
            .order_by(Model.updated_at.desc(), Model.canonical_id.desc())
            .offset(skip)
            .limit(limit)
        )
        while True:
            with self._database.reading() as session:
                rows = session.execute(page).all()
                total = skip + len(rows)
                if skip and not rows:
                    total = session.scalar(_select(func.count()).where(*matching)) or 0
            if unknown := [row.id for row in rows if row.servable is None]:
                self._learn(unknown)
            else:
                return Found([self._listed(row, details=details) for row in rows], total)

    def _listed(self, row: Row[Any], *, details: bool) -> ListedRepo:
        entries = (row.files or ()) if details else ()
        facts = RepoFacts(**json.loads(row.facts)) if details else replace(NO_FACTS, **_listed_facts(row))
        return ListedRepo(self._repo_of(_snapshot(row), entries), facts)

    async def keep_learning(self) -> None:
        """Until cancelled: what became ready is learned before anybody asks for it."""
        while True:
            try:
                await asyncio.to_thread(self.learn_all)
            except DatabaseUnavailable:
                pass
            except Exception:
                logger.exception("Reading what repositories say of themselves failed, trying again")
            await asyncio.sleep(LEARN_SECONDS)

    def learn_all(self) -> None:
        """Read the facts of every ready model of which they are not known."""
        while True:
            with self._database.reading() as session:
                unknown = session.scalars(
                    _select(Model.id).where(StoredRepoFacts.servable.is_(None)).limit(LEARNED_AT_ONCE)
                ).all()
            if not unknown:
                return
            self._learn(unknown)

    def _learn(self, row_ids: Sequence[str]) -> None:
        """Read what these rows' files say, and keep it."""
        with self._database.reading() as session:
            models = session.scalars(select(Model).where(Model.id.in_(row_ids))).all()
        learned = {(model.model_id, model.commit): self._read_facts(model) for model in models}
        with self._database.session() as session:
            for facts in learned.values():
                try:
                    with session.begin_nested():
                        session.add(facts)
                except IntegrityError:  # another process read the same at the same moment
                    continue

    def _read_facts(self, model: Model) -> StoredRepoFacts:
        snapshot, entries = _snapshot(model), model.files or ()
        servable = _is_servable(snapshot, remote_files(entries))
        facts = read_facts(self._repo_of(snapshot, entries)) if servable else NO_FACTS
        return StoredRepoFacts(
            model_id=model.model_id,
            commit=model.commit,
            servable=servable,
            pipeline_tag=facts.pipeline_tag,
            library_name=facts.library_name,
            num_parameters=facts.num_parameters,
            tags="".join(f"\n{tag}" for tag in facts.tags) + "\n",
            facts=json.dumps(asdict(facts)),
        )


class _KeptRepos:
    """The last repositories that were asked for, of all threads; a changed row is another key."""

    def __init__(self) -> None:
        self._repos: OrderedDict[_Snapshot, StoredRepo] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, snapshot: _Snapshot) -> StoredRepo | None:
        return self._repos.get(snapshot)

    def put(self, snapshot: _Snapshot, repo: StoredRepo) -> None:
        with self._lock:
            self._repos[snapshot] = repo
            while len(self._repos) > 1 and sum(len(kept.files) for kept in self._repos.values()) > KEPT_FILES:
                self._repos.popitem(last=False)


# SQL

_SNAPSHOT = (
    Model.id, Model.model_id, Model.canonical_id, Model.commit, Model.revision, Model.updated_at, Model.gated,
    Model.private,
)  # fmt: skip
_FACTS_OF_A_LIST = (
    StoredRepoFacts.servable, StoredRepoFacts.pipeline_tag, StoredRepoFacts.library_name, StoredRepoFacts.tags,
)  # fmt: skip
_ALL_FACTS = (StoredRepoFacts.servable, StoredRepoFacts.facts)


def _select(*columns: Any) -> Select[Any]:
    """Of the rows that are served, joined with what is known of their snapshots."""
    of_snapshot = and_(StoredRepoFacts.model_id == Model.model_id, StoredRepoFacts.commit == Model.commit)
    return (
        select(*columns)
        .select_from(Model)
        .outerjoin(StoredRepoFacts, of_snapshot)
        .where(*_served(Model, StoredRepoFacts))
    )


def _served(model: Any, facts: Any) -> tuple[ColumnElement[bool], ...]:
    """SQL: ready, with its original on the disk, and not known as one that cannot be served."""
    return (
        model.status == ModelStatus.READY,
        or_(model.quantization == Quantization.NONE, model.keep_original, model.adopted),
        facts.servable.is_not(False),
    )


def _is_default() -> ColumnElement[bool]:
    """SQL: no other served row of the repository goes before this one as its default branch."""
    other, facts = aliased(Model), aliased(StoredRepoFacts)
    of_main, other_of_main = Model.revision == DEFAULT_BRANCH, other.revision == DEFAULT_BRANCH
    chosen, other_chosen = choice_time(), choice_time(other)
    newer = or_(other_chosen > chosen, and_(other_chosen == chosen, other.id > Model.id))
    return ~exists(
        select(other.id)
        .outerjoin(facts, and_(facts.model_id == other.model_id, facts.commit == other.commit))
        .where(
            other.canonical_id == Model.canonical_id,
            other.id != Model.id,
            or_(and_(other_of_main, ~of_main), and_(other_of_main == of_main, newer)),
            *_served(other, facts),
        )
    )


def _conditions(query: RepoQuery) -> list[ColumnElement[bool]]:
    """SQL: what `query` asks for; facts that are not known yet match everything."""
    conditions: list[ColumnElement[bool]] = [
        Model.canonical_id.icontains(word, autoescape=True) for word in query.words
    ]
    if query.author is not None:
        owner = f"{query.author}/"
        conditions.append(func.substr(Model.canonical_id, 1, len(owner)) == owner)
    if query.gated is not None:
        conditions.append(Model.gated.is_(query.gated))
    # Not LIKE, which ignores case on SQLite alone.
    told = [func.replace(StoredRepoFacts.tags, f"\n{tag}\n", "") != StoredRepoFacts.tags for tag in query.tags]
    if query.pipeline_tag is not None:
        told.append(StoredRepoFacts.pipeline_tag == query.pipeline_tag)
    if query.num_parameters.least is not None:
        told.append(StoredRepoFacts.num_parameters >= query.num_parameters.least)
    if query.num_parameters.most is not None:
        told.append(StoredRepoFacts.num_parameters <= query.num_parameters.most)
    return [*conditions, *(or_(StoredRepoFacts.servable.is_(None), each) for each in told)]


# Rows


def _snapshot(row: Row[Any] | Model) -> _Snapshot:
    repo_id = row.canonical_id or row.model_id
    return _Snapshot(row.id, row.model_id, repo_id, row.commit, row.revision, row.updated_at, row.gated, row.private)


def _at_revision(snapshots: Sequence[_Snapshot], revision: str | None) -> _Snapshot | None:
    if revision in (None, DEFAULT_BRANCH):
        return _default_of(snapshots)
    return next((each for each in snapshots if revision in (each.revision, each.commit)), None)


def _default_of(snapshots: Sequence[_Snapshot]) -> _Snapshot:
    return next((each for each in snapshots if each.revision == DEFAULT_BRANCH), snapshots[0])


def _refs(snapshots: Sequence[_Snapshot]) -> dict[str, str]:
    refs = {DEFAULT_BRANCH: _default_of(snapshots).commit}
    for each in snapshots:
        if not _COMMIT.fullmatch(each.revision):
            refs.setdefault(each.revision, each.commit)
    return refs


def _listed_facts(row: Row[Any]) -> dict[str, Any]:
    tags = tuple(row.tags.strip("\n").split("\n")) if row.tags.strip("\n") else ()
    return {"tags": tags, "pipeline_tag": row.pipeline_tag, "library_name": row.library_name}


def _is_servable(snapshot: _Snapshot, files: Sequence[RemoteFile]) -> bool:
    """Return whether it has files, and all its names may become paths; logs why not."""
    if not files:
        return False
    try:
        validate_repo_id(snapshot.model_id)
        validate_repo_id(snapshot.repo_id)
        validate_commit(snapshot.commit)
        validate_files(files)
    except (InvalidRequest, HubMisbehaved) as error:
        logger.warning("%s at %s is not served: %s", snapshot.model_id, snapshot.commit, error.message)
        return False
    return True


def _stored_file(file: RemoteFile, folder: Path, seen: Identity | None) -> StoredFile:
    git_oid = file.git_sha1
    if git_oid is None:
        assert file.sha256 is not None  # noqa: S101 (one of the two is there, as validate_files checks)
        git_oid = git_blob_sha1(lfs_pointer(file.sha256, file.size_bytes))
    return StoredFile(file.path, file.size_bytes, git_oid, file.sha256, folder, seen)
