"""Sends a stored file over HTTP: headers, one Range, and the bytes."""

import logging
import re
from collections.abc import Mapping
from typing import BinaryIO
from urllib.parse import quote

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modelyard.core.errors import PathNotAllowed
from modelyard.hub.server.repositories import StoredFile, StoredRepo
from modelyard.hub.server.responses import HubFailure

CHUNK_BYTES = 1 << 20

_ONE_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")

logger = logging.getLogger(__name__)


async def file_response(request: Request, repo: StoredRepo, file: StoredFile, *, threads: CapacityLimiter) -> Response:
    """Return the answer to a GET or HEAD of a file; the disk is read in `threads`.

    Raises HubFailure 410 if the stored copy is not what was verified, 416 if a Range is empty.
    """
    headers = _headers(repo, file)
    if _quoted(file.etag) in _etags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    content = await to_thread.run_sync(_open, file, limiter=threads)
    if content is None:
        # Not 404: clients remember which optional files a repository does not have.
        raise HubFailure(410, f"The copy of {file.path} stored here is missing or damaged; verify {repo.repo_id}.")
    span = None if request.method == "HEAD" else _requested_span(request, file)
    if span is not None and not span:
        content.close()
        raise HubFailure(416, "The file has no such bytes.", headers={"Content-Range": f"bytes */{file.size_bytes}"})
    return _FileContent(content, span, file.size_bytes, headers, threads)


class _FileContent(Response):
    """Sends a file, or a `span` of it, in large pieces read outside the event loop, and closes it in any case."""

    def __init__(
        self,
        content: BinaryIO,
        span: range | None,
        size_bytes: int,
        headers: Mapping[str, str],
        threads: CapacityLimiter,
    ) -> None:
        super().__init__(status_code=200 if span is None else 206, media_type="application/octet-stream")
        self._content = content
        self._span = range(size_bytes) if span is None else span
        self._threads = threads
        self.headers.update(headers)
        self.headers["Content-Length"] = str(len(self._span))
        if span is not None:
            self.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size_bytes}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._content:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_on_disconnect, receive, tasks.cancel_scope)
                await self._send_body(send)
                tasks.cancel_scope.cancel()

    async def _send_body(self, send: Send) -> None:
        self._content.seek(self._span.start)
        left = len(self._span)
        while left > 0:
            chunk = await to_thread.run_sync(self._content.read, min(CHUNK_BYTES, left), limiter=self._threads)
            if not chunk:
                # The announced length cannot be kept: the server closes the connection, and the client sees that.
                raise OSError("a stored file became shorter while it was sent")
            left -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _headers(repo: StoredRepo, file: StoredFile) -> dict[str, str]:
    name = file.path.rsplit("/", 1)[-1]
    plain_name = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)
    headers = {
        "ETag": _quoted(file.etag),
        "X-Repo-Commit": repo.commit,
        "Accept-Ranges": "bytes",
        # A repository may hold HTML; a browser must not run it as a page of this server.
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}; filename=\"{plain_name}\";",
        "X-Content-Type-Options": "nosniff",
    }
    if file.lfs_sha256 is not None:
        headers |= {"X-Linked-ETag": _quoted(file.etag), "X-Linked-Size": str(file.size_bytes)}
    return headers


def _open(file: StoredFile) -> BinaryIO | None:
    """Open the file; return None unless it is still as it was verified."""
    try:
        return file.open()
    except (OSError, PathNotAllowed) as error:
        logger.warning("cannot serve %s of %s: %s", file.path, file.folder, error)
        return None


def _requested_span(request: Request, file: StoredFile) -> range | None:
    """Return the bytes of a single Range. None: the whole file, also for several ranges; empty: nothing."""
    match = _ONE_RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if_range = request.headers.get("if-range")
    if match is None or (if_range is not None and if_range != _quoted(file.etag)):
        return None
    first, last = match["first"], match["last"]
    if not first:
        return range(max(file.size_bytes - int(last), 0), file.size_bytes) if last else None
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, file.size_bytes) if last else file.size_bytes)


def _quoted(etag: str) -> str:
    return f'"{etag}"'


def _etags(header: str) -> list[str]:
    return [etag.strip().removeprefix("W/") for etag in header.split(",")]
