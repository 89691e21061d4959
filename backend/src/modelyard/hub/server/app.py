"""Our own Hub endpoint: the Hub's protocol, read only, for what this instance stores.

Everything is async and blocks in threads of its own, because an instance may be its own Hub: all threads of the
REST API may then be waiting for an answer from here.
"""

import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from anyio import CapacityLimiter, to_thread
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from modelyard.core.errors import DatabaseUnavailable, ExtraMissing, StorageError
from modelyard.hub.parameter_range import ANY_SIZE, ParameterRange
from modelyard.hub.server.file_response import file_response
from modelyard.hub.server.metadata import RepoFacts, read_facts
from modelyard.hub.server.repositories import RepoNotFound, RepoRevisionNotFound, RepoUnavailable, StoredRepo
from modelyard.hub.server.responses import (
    FULL_LIST_PROPERTIES,
    INFO_PROPERTIES,
    LIST_PROPERTIES,
    UNKNOWN_HERE,
    HubFailure,
    describe,
    last_commit,
    tree_entries,
)
from modelyard.hub.sources import ListedRepo, RepoQuery, RepoSource

LIST_PAGE_SIZE = 1000
TREE_PAGE_SIZE = 1000
FILE_THREADS = 16
MAX_BODY_BYTES = 4_000_000
KEPT_FACTS = 256
MAX_SKIPPED = 2**31

INVALID_CREDENTIALS = "Invalid credentials in Authorization header"
"""huggingface_hub tells this 401 apart from the one that means that a repository is missing."""

_UNSUPPORTED_FILTERS = ("apps", "inference", "inference_provider")
_DETAILS = frozenset({"cardData", "config", "safetensors", "siblings", "transformersInfo", "usedStorage"})
_SORT_KEYS = ("lastModified", "createdAt", "trendingScore", "downloads", "likes")


def create_hub_app(sources: Sequence[RepoSource], *, api_key: SecretStr | None) -> Starlette:
    """Return the Hub endpoint as an app that can be mounted under any prefix.

    A repository that several sources have is taken from the first. With `api_key`, every request needs it as bearer
    token, which is what `HF_TOKEN` sends.
    """
    server = _HubServer(sources, api_key)
    return Starlette(
        routes=[Route("/{path:path}", server.handle, methods=["GET", "POST"])],
        exception_handlers={HubFailure: _answer_failure, DatabaseUnavailable: _answer_unavailable},
    )


async def _answer_failure(_: Request, error: Exception) -> Response:
    assert isinstance(error, HubFailure)  # noqa: S101 (registered for this class)
    return error.as_response()


async def _answer_unavailable(_: Request, error: Exception) -> Response:
    assert isinstance(error, DatabaseUnavailable)  # noqa: S101 (registered for this class)
    return HubFailure(
        503, error.message, headers={"Retry-After": str(error.extra["retry_after_seconds"])}
    ).as_response()


class _HubServer:
    """Answers requests from the sources."""

    def __init__(self, sources: Sequence[RepoSource], api_key: SecretStr | None) -> None:
        self._sources = sources
        self._api_key = api_key
        self._threads = CapacityLimiter(FILE_THREADS)
        self._facts: OrderedDict[tuple[str, str, datetime], RepoFacts] = OrderedDict()

    async def handle(self, request: Request) -> Response:
        self._check_key(request)
        path = _raw_path(request.scope)
        asked = "GET" if request.method == "HEAD" else request.method
        for method, pattern, handler in _ROUTES:
            if method == asked and (match := pattern.fullmatch(path)):
                return await handler(self, request, {name: unquote(v) for name, v in match.groupdict("").items()})
        raise HubFailure(404, "This Hub has nothing at this address.")

    def _check_key(self, request: Request) -> None:
        if self._api_key is None:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        expected = self._api_key.get_secret_value()
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode(), expected.encode()):
            raise HubFailure(401, INVALID_CREDENTIALS, headers={"WWW-Authenticate": "Bearer"})

    # Repositories

    async def list_models(self, request: Request, _: dict[str, str]) -> Response:
        query = request.query_params
        wanted = _wanted_of_list(query)
        skip = _int_parameter(query, "cursor", 0, MAX_SKIPPED, least=0)
        size = _int_parameter(query, "limit", LIST_PAGE_SIZE, LIST_PAGE_SIZE)
        found = await self._find(_repo_query(query), skip, size + 1, details=not _DETAILS.isdisjoint(wanted))
        headers = _next_link(request, skip + size) if len(found) > size else {}
        page = [listed for listed, hidden in found[:size] if not hidden]
        return JSONResponse([describe(listed.repo, listed.facts, wanted) for listed in page], headers=headers)

    async def _find(self, query: RepoQuery, skip: int, limit: int, *, details: bool) -> list[tuple[ListedRepo, bool]]:
        """Return a part of all sources' lists, one after the other, without names that an earlier source has."""
        page: list[tuple[ListedRepo, bool]] = []
        for source in sorted(self._sources, key=lambda source: source.listed_last):
            if len(page) == limit:
                break
            found = await source.find(query, skip=skip, limit=limit - len(page), details=details)
            skip = max(0, skip - found.total)
            hidden: set[str] = set()
            for earlier in self._sources[: self._sources.index(source)]:
                hidden |= await earlier.holding([listed.repo.repo_id for listed in found.items])
            page += [(listed, listed.repo.repo_id in hidden) for listed in found.items]
        return page

    async def info(self, request: Request, path: dict[str, str]) -> Response:
        repo = await self._repo(path)
        query = request.query_params
        expand = _expanded(query)
        answer = describe(repo, await self._facts_of(repo), expand or INFO_PROPERTIES, blobs=_flag(query, "blobs"))
        if _flag(query, "securityStatus"):
            answer["securityRepoStatus"] = {"scansDone": False, "filesWithIssues": []}
        return JSONResponse(answer)

    async def refs(self, request: Request, path: dict[str, str]) -> Response:
        repo = await self._repo(path)
        kinds: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": []}
        if _flag(request.query_params, "include_prs"):
            kinds["pullRequests"] = []
        for name, commit in repo.refs.items():
            kind = "converts" if name.startswith("refs/convert/") else "branches"
            kind = "pullRequests" if name.startswith("refs/pr/") else kind
            ref = name if name.startswith("refs/") else f"refs/heads/{name}"
            if kind in kinds:
                kinds[kind].append({"name": name, "ref": ref, "targetCommit": commit})
        return JSONResponse(kinds)

    async def commits(self, _: Request, path: dict[str, str]) -> Response:
        repo = await self._repo(path)
        commit = {**last_commit(repo), "message": "", "authors": [{"user": "modelyard"}]}
        return JSONResponse([commit], headers={"X-Total-Count": "1"})

    async def auth_check(self, _: Request, path: dict[str, str]) -> Response:
        await self._repo(path)
        return JSONResponse({"ok": True})

    async def whoami(self, request: Request, _: dict[str, str]) -> Response:
        if "authorization" not in request.headers:
            raise HubFailure(401, "Invalid username or password.")
        return JSONResponse(
            {
                "type": "user",
                "id": "modelyard",
                "name": "modelyard",
                "fullname": "A Modelyard instance",
                "orgs": [],
                "auth": {"type": "access_token", "accessToken": {"displayName": "modelyard", "role": "read"}},
            }
        )

    # Files

    async def tree(self, request: Request, path: dict[str, str]) -> Response:
        repo = await self._repo(path)
        query = request.query_params
        folder = path["path"].strip("/")
        entries = tree_entries(repo, folder, recursive=_flag(query, "recursive"), expand=_flag(query, "expand"))
        if not entries and folder:
            raise HubFailure(404, f"{folder} is not a folder of {repo.repo_id}.", code="EntryNotFound")
        page, headers = _page(request, entries, _int_parameter(query, "limit", TREE_PAGE_SIZE, TREE_PAGE_SIZE))
        return JSONResponse(page, headers=headers)

    async def paths_info(self, request: Request, path: dict[str, str]) -> Response:
        paths, expand = await _read_paths(request)
        repo = await self._repo(path)
        entries = {e["path"]: e for e in tree_entries(repo, "", recursive=True, expand=expand)}
        asked = dict.fromkeys(p.strip("/") for p in paths)
        return JSONResponse([entries[p] for p in asked if p in entries])

    async def resolve(self, request: Request, path: dict[str, str]) -> Response:
        repo = await self._repo(path)
        file = repo.files.get(path["path"])
        if file is None:
            raise HubFailure(404, f"{repo.repo_id} has no file {path['path']}.", code="EntryNotFound")
        return await file_response(request, repo, file, threads=self._threads)

    async def list_of_other_kind(self, _request: Request, _path: dict[str, str]) -> Response:
        return JSONResponse([])

    async def other_kind(self, _request: Request, _path: dict[str, str]) -> Response:
        raise HubFailure(404, "This Hub has models only.", code="RepoNotFound")

    # Helpers

    async def _repo(self, path: Mapping[str, str]) -> StoredRepo:
        revision = path.get("revision") or None
        failure = HubFailure(404, "Repository not found", code="RepoNotFound")
        for source in self._sources:
            try:
                return await source.get_repo(path["repo"], revision)
            except RepoNotFound:
                continue
            except RepoRevisionNotFound:
                failure = HubFailure(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
            except RepoUnavailable as error:
                failure = HubFailure(503, str(error))
            except StorageError as error:
                failure = HubFailure(507, error.message, code=error.code)
            except ExtraMissing as error:
                failure = HubFailure(501, error.message, code=error.code)
        raise failure

    async def _facts_of(self, repo: StoredRepo) -> RepoFacts:
        key = (repo.repo_id, repo.commit, repo.last_modified)
        if key not in self._facts:
            self._facts[key] = await to_thread.run_sync(read_facts, repo, limiter=self._threads)
            while len(self._facts) > KEPT_FACTS:
                self._facts.popitem(last=False)
        return self._facts[key]


# Requests


def _raw_path(scope: Scope) -> str:
    """Return the path below the mount point, still escaped: `%2F` inside a revision is not a separator."""
    return _quoted_path(scope).removeprefix(quote(scope.get("root_path", "")))


def _quoted_path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw else quote(scope["path"])


def _flag(query: QueryParams, name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true")


def _int_parameter(query: QueryParams, name: str, default: int, most: int, *, least: int = 1) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise HubFailure(400, f"{name} must be a number, not {text!r}.")
    return max(least, min(int(text[:10]), most))


def _expanded(query: QueryParams) -> tuple[str, ...]:
    """Return the properties requested one by one; empty if there are none."""
    names = tuple(name for value in query.getlist("expand") for name in value.split(","))
    known = (*INFO_PROPERTIES, "trendingScore", *UNKNOWN_HERE)
    if unknown := [name for name in names if name not in known]:
        raise HubFailure(400, f"expand does not know {', '.join(unknown)}.")
    return names


def _wanted_of_list(query: QueryParams) -> tuple[str, ...]:
    for name in _UNSUPPORTED_FILTERS:
        if name in query:
            raise HubFailure(400, f"This Hub cannot filter by {name}.")
    if query.get("sort", _SORT_KEYS[0]) not in _SORT_KEYS:
        raise HubFailure(400, f"sort must be one of {', '.join(_SORT_KEYS)}.")
    if expand := _expanded(query):
        return expand
    wanted = FULL_LIST_PROPERTIES if _flag(query, "full") else LIST_PROPERTIES
    if _flag(query, "config"):
        wanted = (*wanted, "config")
    if _flag(query, "cardData"):
        wanted = (*wanted, "cardData")
    return wanted


def _repo_query(query: QueryParams) -> RepoQuery:
    return RepoQuery(
        words=tuple(query.get("search", "").lower().split()),
        author=query.get("author") or None,
        pipeline_tag=query.get("pipeline_tag") or None,
        tags=frozenset(tag for value in query.getlist("filter") for tag in value.split(",") if tag),
        gated=_flag(query, "gated") if "gated" in query else None,
        num_parameters=_parameter_range(query.get("num_parameters")),
    )


def _parameter_range(text: str | None) -> ParameterRange:
    if text is None:
        return ANY_SIZE
    try:
        return ParameterRange.parse(text)
    except ValueError as error:
        raise HubFailure(400, f"num_parameters must be such as min:6B,max:128B, not {text!r}.") from error


def _page(request: Request, items: Sequence[Any], size: int) -> tuple[Sequence[Any], dict[str, str]]:
    """Return the page that `cursor` names, and the Link header to the next one under the client's address."""
    start = _int_parameter(request.query_params, "cursor", 0, len(items))
    page = items[start : start + size]
    return page, _next_link(request, start + size) if start + size < len(items) else {}


def _next_link(request: Request, start: int) -> dict[str, str]:
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    query.append(("cursor", str(start)))
    path = _quoted_path(request.scope)
    address = f"{request.url.scheme}://{request.url.netloc}{path}?{urlencode(query)}"
    return {"Link": f'<{address}>; rel="next"'}


async def _read_paths(request: Request) -> tuple[list[str], bool]:
    """Return the paths and the `expand` flag of a paths-info request, a form (Python client) or JSON (JavaScript)."""
    too_large = HubFailure(413, f"Too many paths at once: a body may have {MAX_BODY_BYTES} bytes.")
    if int(request.headers.get("content-length", 0)) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    try:
        text = body.decode()
        if request.headers.get("content-type", "").startswith("application/json"):
            sent = json.loads(text)
            paths, expand = sent["paths"], sent.get("expand", False)
        else:
            form = parse_qs(text)
            paths, expand = form.get("paths", []), form.get("expand", [""])[-1].lower() in ("1", "true")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HubFailure(400, "The body must name paths, as form or JSON.") from error
    if not (isinstance(paths, list) and all(isinstance(path, str) for path in paths)):
        raise HubFailure(400, "paths must be a list of names.")
    return paths, bool(expand)


_REPO = r"(?P<repo>[^/]+(?:/[^/]+)??)"
_REVISION = r"(?P<revision>[^/]+)"
_KIND = "(?:datasets|spaces|kernels)"

_ROUTES: list[tuple[str, re.Pattern[str], Callable[[_HubServer, Request, dict[str, str]], Awaitable[Response]]]] = [
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("GET", "/api/models", _HubServer.list_models),
        ("GET", f"/api/models/{_REPO}/revision/{_REVISION}", _HubServer.info),
        ("GET", f"/api/models/{_REPO}/tree/{_REVISION}(?:/(?P<path>.*))?", _HubServer.tree),
        ("POST", f"/api/models/{_REPO}/paths-info/{_REVISION}", _HubServer.paths_info),
        ("GET", f"/api/models/{_REPO}/commits/{_REVISION}", _HubServer.commits),
        ("GET", f"/api/models/{_REPO}/refs", _HubServer.refs),
        ("GET", f"/api/models/{_REPO}/auth-check", _HubServer.auth_check),
        ("GET", f"/api/models/{_REPO}", _HubServer.info),
        ("GET", "/api/whoami-v2", _HubServer.whoami),
        ("GET", f"/api/{_KIND}", _HubServer.list_of_other_kind),
        ("GET", f"/api/{_KIND}/.+", _HubServer.other_kind),
        ("GET", f"/{_KIND}/.+/resolve/.+", _HubServer.other_kind),
        ("GET", f"/{_REPO}/resolve/{_REVISION}/(?P<path>.+)", _HubServer.resolve),
    )
]
"""Matched in this order against the path with its escapes. `_REPO` prefers a bare name to `owner/name`."""
