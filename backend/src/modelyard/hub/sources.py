"""The sources of repositories for our own Hub endpoint, and the queries they answer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelyard.hub.parameter_range import ANY_SIZE, ParameterRange
from modelyard.hub.server.metadata import RepoFacts
from modelyard.hub.server.repositories import PlannedRepo, StoredRepo


@dataclass(frozen=True)
class RepoQuery:
    """The query of a listing; every repository matches the empty one. `words` are lower case."""

    words: tuple[str, ...] = ()
    author: str | None = None
    pipeline_tag: str | None = None
    tags: frozenset[str] = frozenset()
    gated: bool | None = None
    num_parameters: ParameterRange = ANY_SIZE
    """No repository whose parameters are not known is in a range."""

    def matches(self, listed: "ListedRepo") -> bool:
        repo, facts = listed.repo, listed.facts
        return (
            all(word in repo.repo_id.lower() for word in self.words)
            and self.author in (None, author_of(repo.repo_id))
            and self.pipeline_tag in (None, facts.pipeline_tag)
            and self.tags <= set(facts.tags)
            and self.gated in (None, isinstance(repo, StoredRepo) and repo.gated)
            and (not self.num_parameters or (facts.num_parameters or -1) in self.num_parameters)
        )


@dataclass(frozen=True)
class ListedRepo:
    """A repository at its default branch, with its metadata."""

    repo: StoredRepo | PlannedRepo
    facts: RepoFacts


@dataclass(frozen=True)
class Found:
    """A part of the matching repositories, and the total number."""

    items: Sequence[ListedRepo]
    total: int


class RepoSource(Protocol):
    """A source of repositories. All methods are called on the event loop and must not block it."""

    @property
    def listed_last(self) -> bool:
        """Return whether its repositories come at the end of every list."""
        ...

    async def find(self, query: RepoQuery, *, skip: int, limit: int, details: bool) -> Found:
        """Return matching repositories, each once, newest first, without the first `skip` and at most `limit`.

        Without `details` their files, configuration, card and parameters may be left out.
        """
        ...

    async def holding(self, repo_ids: Collection[str]) -> set[str]:
        """Return those of these repositories that `get_repo` has."""
        ...

    async def get_repo(self, repo_id: str, revision: str | None) -> StoredRepo:
        """Return the repository at a branch, tag or commit; None is the default branch.

        Raises RepoNotFound, RepoRevisionNotFound, RepoUnavailable, DiskFull or StorageDenied.
        """
        ...


def find_among(repos: Sequence[ListedRepo], query: RepoQuery, *, skip: int, limit: int) -> Found:
    """Implement `RepoSource.find` for a source that has all its repositories in memory, in their order."""
    matching = [listed for listed in repos if query.matches(listed)]
    return Found(matching[skip : skip + limit], len(matching))


def author_of(repo_id: str) -> str | None:
    """Return the owner in `owner/name`, None for a bare name such as gpt2."""
    owner, slash, _ = repo_id.partition("/")
    return owner if slash else None
