"""A client of the REST API: what the command line uses, and what a script may use.

Answers are the API's own JSON, so a client and a server of different versions understand each other. Whoever asks
names the type that is expected, one of `client.answers`.
"""

import json
import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, cast, overload
from urllib.parse import urlsplit

import httpx

from modelyard.core.errors import DatabaseUnavailable, HubUnreachable, ModelyardError

if TYPE_CHECKING:
    from modelyard.client.answers import ModelPage, ModelResponse, TrainingPage, TrainingResponse

Json = dict[str, Any]

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 120.0
"""An exact estimate or a Hub that answers slowly takes long; nothing takes longer than this."""

POLL_SECONDS = 0.5
QUIET_SECONDS = 2.0
"""After so long without an event a row is asked for, because a rate that fell to 0 is no event."""

OUTAGE_SECONDS = 30.0
"""How long `watch` waits for a server that is being started again, or for its database."""

_PAGE = 500
_TRAININGS_PAGE = 200
_MAX_EVENT_BYTES = 64_000_000


class ApiError(ModelyardError):
    """The server refused: `code`, `message` and `hint` of its problem document, other fields in `extra`."""

    def __init__(self, code: str, detail: str, hint: str | None = None, **extra: Any) -> None:
        super().__init__(detail, hint=hint, **extra)
        self.code = code  # type: ignore[misc]  # a class's constant elsewhere, here whatever the server says


class ServerUnreachable(ModelyardError):
    """There is no Modelyard server at the address."""

    code = "server_unreachable"
    default_hint = "Start one with `modelyard serve`, or name another with --server or MODELYARD_SERVER."


class ApiClient:
    """`url` is the server's address without `/api/v1`. Every call may raise ApiError or ServerUnreachable."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        host = urlsplit(self.url).hostname or ""
        self.is_local = host in ("localhost", "::1") or host.startswith("127.")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._proxy, self._tls = _way_to(self.url, is_local=self.is_local)
        self._http = httpx.Client(
            headers=self._headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            proxy=self._proxy,
            verify=self._tls or False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, *, timeout_seconds: float | None = None, **query: Any) -> Any:
        """`path` begins after `/api/v1`; parameters that are None are left out."""
        return self._call("GET", path, query=query, timeout_seconds=timeout_seconds)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout_seconds: float | None = None, **query: Any
    ) -> Any:
        return self._call("POST", path, body=body, query=query, timeout_seconds=timeout_seconds)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PUT", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PATCH", path, body=body)

    def delete(self, path: str, **query: Any) -> Any:
        return self._call("DELETE", path, query=query)

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[Any]:
        """Yield the server-sent events of a POST as they come, however long the first takes.

        Closing it ends the request.
        """
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        try:
            with self._http.stream("POST", f"{self.url}/api/v1{path}", json=body, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    self._answer(response)
                for line in response.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except httpx.ConnectError as error:
            raise ServerUnreachable(f"No Modelyard server answers at {self.url}.") from error
        except httpx.HTTPError as error:
            raise ServerUnreachable(f"The server at {self.url} went away before it had finished.") from error

    def is_ready(self) -> Json:
        """Return what `/readyz` says, which is no error when the answer is no."""
        return self._json(self._send("GET", f"{self.url}/readyz", timeout_seconds=CONNECT_SECONDS))

    def upload(self, path: str, file: Path) -> Any:
        """Send a file; it is read while it is sent."""
        with file.open("rb") as content:
            return self._answer(self._send("POST", f"{self.url}/api/v1{path}", files={"file": (file.name, content)}))

    def send_piece(self, path: str, content: bytes, content_range: str) -> Any:
        """PUT a piece of a file."""
        headers = {"Content-Range": content_range, "Content-Type": "application/octet-stream"}
        try:
            response = self._http.put(f"{self.url}/api/v1{path}", content=content, headers=headers)
        except httpx.HTTPError as error:
            raise ServerUnreachable(f"The server at {self.url} went away.") from error
        return self._answer(response)

    def read_from(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of a file from `begin` to `end`, its size."""
        if begin == end:
            return
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        try:
            with self._http.stream("GET", f"{self.url}/api/v1{path}", headers=headers) as response:
                if response.is_error or response.status_code != (206 if begin else 200):
                    response.read()
                    self._answer(response)
                    raise self._not_modelyard(response)
                yield from response.iter_raw(1 << 20)
        except httpx.HTTPError as error:
            raise ServerUnreachable(
                f"The server at {self.url} went away before it had finished.", hint="The same command continues."
            ) from error

    def models(self, **query: Any) -> "ModelPage":
        """Return every row that matches, as one page."""
        return cast("ModelPage", self.all_pages("/models", _PAGE, query))

    def trainings(self, **query: Any) -> "TrainingPage":
        """Return every training run that matches, as one page."""
        return cast("TrainingPage", self.all_pages("/trainings", _TRAININGS_PAGE, query))

    def all_pages(self, path: str, limit: int, query: Mapping[str, Any]) -> Json:
        """Return every item of a list, as one page; pages of `limit` are asked for."""
        page: Json = self.get(path, limit=limit, **query)
        while len(page["items"]) < page["total"]:
            more = self.get(path, limit=limit, offset=len(page["items"]), **query)
            if not more["items"]:
                break
            page["items"] += more["items"]
        return page | {"limit": len(page["items"])}

    @overload
    def watch(self, row_id: str, kind: Literal["model"] = "model") -> "Iterator[ModelResponse]": ...

    @overload
    def watch(self, row_id: str, kind: Literal["training"]) -> "Iterator[TrainingResponse]": ...

    def watch(self, row_id: str, kind: Literal["model", "training"] = "model") -> Iterator[Any]:
        """Yield a model or a run now and whenever it changes, for ever: the caller stops when it has seen enough.

        Told by the events' socket; by asking twice a second where no socket can be had. A server that goes away is
        waited for, for OUTAGE_SECONDS.
        """
        yield from self._events_of(row_id, kind)
        while True:
            yield self._row_patiently(row_id, kind)
            time.sleep(POLL_SECONDS)

    def _events_of(self, row_id: str, kind: str) -> Iterator[Json]:
        """Ends when the socket cannot be opened or is closed."""
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        address = "ws" + self.url.removeprefix("http") + "/api/v1/events"
        try:
            with connect(
                address,
                additional_headers=self._headers,
                open_timeout=CONNECT_SECONDS,
                close_timeout=1,
                max_size=_MAX_EVENT_BYTES,
                proxy=self._proxy,
                ssl=self._tls,
            ) as socket:
                # The events tell what changes from here on, so the row is read after the socket is open.
                yield self._row_patiently(row_id, kind)
                while True:
                    try:
                        event = json.loads(socket.recv(timeout=QUIET_SECONDS))
                    except TimeoutError:
                        yield self._row_patiently(row_id, kind)
                        continue
                    if event["type"] == f"{kind}.deleted" and event["id"] == row_id:
                        yield self._row_patiently(row_id, kind)
                    elif event.get(kind, {}).get("id") == row_id:
                        yield event[kind]
        except (OSError, WebSocketException):
            return

    def _row_patiently(self, row_id: str, kind: str) -> Any:
        deadline = time.monotonic() + OUTAGE_SECONDS
        while True:
            try:
                return self.get(f"/{kind}s/{row_id}")
            except (ServerUnreachable, ApiError) as error:
                passes = isinstance(error, ServerUnreachable) or error.code == DatabaseUnavailable.code
                if not passes or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> Json:
        return self._answer(
            self._send(method, f"{self.url}/api/v1{path}", query=query, body=body, timeout_seconds=timeout_seconds)
        )

    def _answer(self, response: httpx.Response) -> Json:
        answer = self._json(response)
        if response.is_error:
            if "code" not in answer or "detail" not in answer:
                raise self._not_modelyard(response)
            known = ("type", "title", "status", "detail", "code", "hint")
            extra = {name: value for name, value in answer.items() if name not in known}
            raise ApiError(answer["code"], answer["detail"], answer.get("hint"), **extra)
        return answer

    def _send(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        files: Mapping[str, tuple[str, BinaryIO]] | None = None,
        timeout_seconds: float | None = None,
    ) -> httpx.Response:
        try:
            return self._http.request(
                method,
                url,
                params={name: value for name, value in (query or {}).items() if value is not None},
                json=body,
                files=files,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout_seconds is None else timeout_seconds,
            )
        except httpx.ReadTimeout as error:
            raise ServerUnreachable(f"The server at {self.url} took too long to answer.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerUnreachable(f"No Modelyard server answers at {self.url}.") from error

    def _json(self, response: httpx.Response) -> Json:
        try:
            answer = response.json()
        except ValueError as error:  # neither JSON nor text
            raise self._not_modelyard(response) from error
        if not isinstance(answer, dict):
            raise self._not_modelyard(response)
        return answer

    def _not_modelyard(self, response: httpx.Response) -> ServerUnreachable:
        return ServerUnreachable(
            f"What answers at {self.url} is not a Modelyard server (HTTP {response.status_code}).",
            hint="Name the server with --server or MODELYARD_SERVER, or start one on a free port:"
            " `modelyard serve --port 8001`.",
        )


def _way_to(url: str, *, is_local: bool) -> tuple[str | None, ssl.SSLContext | None]:
    """Return the proxy to a server and, for HTTPS, whom to trust, both as the environment says.

    A proxy is for the world outside, not for this machine. Raises ServerUnreachable, which names the variable.
    """
    proxy, trusted = None, None
    try:
        if not is_local:
            from modelyard.hub.proxies import proxy_for

            proxy = proxy_for(url)
        if urlsplit(url).scheme == "https":
            from modelyard.hub.tls import tls_context

            trusted = tls_context()
    except HubUnreachable as error:
        raise ServerUnreachable(error.message, hint=error.hint) from error
    return proxy.url if proxy else None, trusted
