"""What a real Hub does and ours does not: gated, private and failing repositories; and running a Hub in a test."""

import json
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REPO_IN_PATH = re.compile(r"/api/models/(?P<api>[^/]+/[^/]+)(?:/|$)|/(?P<file>[^/]+/[^/]+)/resolve/")
_FILES_OR_CHECK = re.compile(r"/resolve/|/auth-check")


@dataclass(frozen=True)
class SeenRequest:
    """One request that arrived, answered by a fault or not. `token` is what came as bearer token."""

    method: str
    path: str
    token: str | None
    range: str | None


@dataclass
class _Fault:
    """What happens to the next `times` requests whose path contains `match`; -1 is all of them."""

    match: str
    method: str | None
    times: int
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_bytes: int | None = None
    reset: bool = False
    stall_seconds: float = 0.0
    flip_byte: int | None = None

    def takes(self, method: str, path: str) -> bool:
        return self.times != 0 and self.match in path and self.method in (None, method)


class HubFaults:
    """ASGI middleware around a Hub app.

    With `tokens` set, any other bearer token is refused everywhere, as the real Hub does; by default any is good.
    Faults are used up in the order they were added. `requests` is the log.
    """

    def __init__(self, app: ASGIApp, *, tokens: set[str] | None = None) -> None:
        self.app = app
        self.tokens = tokens
        self.requests: list[SeenRequest] = []
        self._gates: dict[str, set[str]] = {}
        self._private: dict[str, set[str]] = {}
        self._faults: list[_Fault] = []

    def gate(self, repo_id: str, *, accepted: set[str] | None = None) -> None:
        """Show the repository to all, give its files only to the tokens in `accepted`."""
        self._gates[repo_id] = accepted or set()

    def hide(self, repo_id: str, *, readers: set[str] | None = None) -> None:
        """Make the repository private: only the tokens in `readers` see that it exists."""
        self._private[repo_id] = readers or set()

    def fail(
        self,
        match: str,
        status: int,
        *,
        times: int = 1,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer `status` (503, 429 with a Retry-After header, ...)."""
        self._faults.append(_Fault(match, method, times, status=status, headers=headers or {}))

    def drop(self, match: str, *, after_bytes: int, times: int = 1, reset: bool = False) -> None:
        """Close the connection after this much of the body; with `reset`, by TCP RST (uvicorn only)."""
        self._faults.append(_Fault(match, "GET", times, after_bytes=after_bytes, reset=reset))

    def stall(self, match: str, *, seconds: float, after_bytes: int = 0, times: int = 1) -> None:
        """Send nothing for a while after this much of the body."""
        self._faults.append(_Fault(match, "GET", times, after_bytes=after_bytes, stall_seconds=seconds))

    def corrupt(self, match: str, *, at_byte: int, times: int = 1) -> None:
        """Flip a bit of this byte of the body."""
        self._faults.append(_Fault(match, "GET", times, flip_byte=at_byte))

    def clear(self) -> None:
        """Forget faults, gates and the log."""
        for collection in (self._gates, self._private, self._faults, self.requests):
            collection.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _seen(scope)
        self.requests.append(request)
        if refusal := self._refusal(request):
            await refusal(scope, receive, send)
            return
        fault = next((fault for fault in self._faults if fault.takes(request.method, request.path)), None)
        if fault is None:
            await self.app(scope, receive, self._as_hub_tells(request, send))
            return
        fault.times -= 1
        if fault.status is not None:
            await _error(fault.status, "Injected failure", headers=fault.headers)(scope, receive, send)
        else:
            try:
                await self.app(scope, receive, _faulty(fault, send))
            except* _Dropped:
                await _close(send, reset=fault.reset)

    def _refusal(self, request: SeenRequest) -> Response | None:
        token = request.token
        if token is not None and self.tokens is not None and token not in self.tokens:
            return _error(401, "Invalid credentials in Authorization header")
        match = _REPO_IN_PATH.search(request.path)
        repo_id = (match["api"] or match["file"]) if match else ""
        if repo_id in self._private and token not in self._private[repo_id]:
            return _missing(token)
        gate = self._gates.get(repo_id)
        if gate is None or token in gate or not _FILES_OR_CHECK.search(request.path):
            return None
        if token is None:
            need = "You must have access to it and be authenticated to access it. Please log in."
            return _error(401, f"Access to model {repo_id} is restricted. {need}", code="GatedRepo")
        need = f"Visit https://huggingface.co/{repo_id} to ask for access."
        text = f"Access to model {repo_id} is restricted and you are not in the authorized list. {need}"
        return _error(403, text, code="GatedRepo")

    def _as_hub_tells(self, request: SeenRequest, send: Send) -> Send:
        """Mark gated and private repositories in the API's answers; strangers do not learn that one exists."""
        head: list[Message] = []
        body = bytearray()

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                head.append(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            await _send_changed(head[0], bytes(body))

        async def _send_changed(start: Message, content: bytes) -> None:
            headers = {name: value for name, value in start["headers"] if name != b"content-length"}
            if headers.get(b"x-error-code") == b"RepoNotFound" and request.token is None:
                await _missing(None)({"type": "http", "method": request.method}, _no_receive, send)
                return
            if start["status"] == 200 and request.method == "GET":
                content = self._mark(content)
            headers[b"content-length"] = str(len(content)).encode()
            await send({**start, "headers": list(headers.items())})
            await send({"type": "http.response.body", "body": content})

        return changed if "/api/models" in request.path else send

    def _mark(self, content: bytes) -> bytes:
        answer = json.loads(content)
        for item in answer if isinstance(answer, list) else [answer]:
            if item.get("id") in self._gates:
                item["gated"] = "manual"
            if item.get("id") in self._private:
                item["private"] = True
        return json.dumps(answer).encode()


class _Dropped(Exception):
    """Ends a response where the fault wants it."""


def _faulty(fault: _Fault, send: Send) -> Send:
    sent = 0

    async def faulty(message: Message) -> None:
        nonlocal sent
        body = message.get("body", b"")
        if fault.flip_byte is not None and sent <= fault.flip_byte < sent + len(body):
            at = fault.flip_byte - sent
            message = {**message, "body": body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]}
        cut = None if fault.after_bytes is None else fault.after_bytes - sent
        if message["type"] == "http.response.body" and cut is not None and 0 <= cut < max(len(body), 1):
            await send({"type": "http.response.body", "body": body[:cut], "more_body": True})
            if not fault.stall_seconds:
                raise _Dropped
            await anyio.sleep(fault.stall_seconds)
            message = {**message, "body": body[cut:]}
        sent += len(body)
        await send(message)

    return faulty


async def _close(send: Send, *, reset: bool) -> None:
    transport: Any = send.__self__.transport  # type: ignore[attr-defined]
    if reset:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()


def _seen(scope: Scope) -> SeenRequest:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return SeenRequest(scope["method"], path, token if scheme == "Bearer" else None, headers.get(b"range"))


def _missing(token: str | None) -> Response:
    if token is None:
        return _error(401, "Invalid username or password.", code="RepoNotFound")
    return _error(404, "Repository not found", code="RepoNotFound")


def _error(status: int, text: str, *, code: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    all_headers = {"X-Error-Message": text, **(headers or {})}
    if code:
        all_headers["X-Error-Code"] = code
    return JSONResponse({"error": text}, status, all_headers)


async def _no_receive() -> Message:
    raise AssertionError("an error needs nothing from the client")


@contextmanager
def serve(app: ASGIApp, *, prefix: str = "/hub", port: int = 0) -> Iterator[str]:
    """Run the app with uvicorn in a thread, mounted at `prefix`; yields the endpoint's address."""

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        # No router in between: `HubFaults` needs uvicorn's own `send`.
        if scope["type"] == "http" and not scope["path"].startswith(f"{prefix}/"):
            await _error(404, f"Only {prefix} is served.")(scope, receive, send)
        else:
            await app({**scope, "root_path": prefix}, receive, send)

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)  # connections wait in the queue until the server is up
        server = uvicorn.Server(uvicorn.Config(mounted, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}{prefix}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
