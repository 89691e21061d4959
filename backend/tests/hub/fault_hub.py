"""A Hub on loopback that serves `resolve` HEAD and GET, misbehaves on demand and counts what it did."""

import hashlib
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from modelyard.hub.names import RemoteFile

COMMIT = "c0ffee" + "0" * 34
_RESOLVE = re.compile(r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<commit>[^/]+)/(?P<path>.+)")
_XET_TOKEN = re.compile(r"/api/models/[^/]+/[^/]+/xet-read-token/[^/]+")
_CHUNK = 64 << 10


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def remote_file(path: str, content: bytes, *, lfs: bool = True) -> RemoteFile:
    """The listing entry of a file as an honest Hub gives it."""
    sha256 = hashlib.sha256(content).hexdigest() if lfs else None
    return RemoteFile(path, len(content), sha256, None if lfs else git_sha1(content))


@dataclass
class Faults:
    """What goes wrong with one file. Fields named `…_times` count down, so that faults pass."""

    head_statuses: list[int] = field(default_factory=list)
    get_statuses: list[int] = field(default_factory=list)
    retry_after: str | None = None
    error_code: str | None = None
    fin_after: int | None = None
    fin_times: int = 1
    rst_after: int | None = None
    rst_times: int = 1
    stall_after: int | None = None
    stall_times: int = 1
    stall_before_headers: bool = False
    trickle: int | None = None
    trickle_times: int = 1
    flip_at: int | None = None
    flip_times: int = 1
    truncate_to: int | None = None
    answer_bytes: int | None = None
    announced_extra: int = 0
    head_size: int | None = None
    etag: str | None = None
    commit: str | None = None
    ignore_range: bool = False
    chunked: bool = False
    close_connections: bool = False
    bytes_per_second: int | None = None
    redirect_loop: bool = False
    redirect_to: str | None = None
    xet_hash: str | None = None
    xet_hub: str | None = None


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    port: int


class FaultHub:
    """Use as a context manager; `endpoint` is what a client needs."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.contents: dict[str, bytes] = {}
        self.lfs: dict[str, bool] = {}
        self.faults: dict[str, Faults] = {}
        self.requests: list[Seen] = []
        self.body_bytes: Counter[str] = Counter()
        self.required_token: str | None = None
        self.xet_storage = ""
        self.lock = threading.Lock()
        self.closing = threading.Event()
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = _Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if certificate else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def add(self, path: str, content: bytes, *, lfs: bool = True, **faults: Any) -> RemoteFile:
        """Serve a file; returns its listing entry."""
        self.contents[path] = content
        self.lfs[path] = lfs
        self.faults[path] = Faults(**faults)
        return remote_file(path, content, lfs=lfs)

    def count(self, method: str, path: str | None = None) -> int:
        with self.lock:
            return sum(seen.method == method and path in (None, seen.path) for seen in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests go away all the time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: FaultHub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        found = self._find()
        if found is None:
            return
        path, content, faults = found
        if self._refused(faults, faults.head_statuses):
            return
        if faults.redirect_loop:
            self._answer(302, {"Location": self.path, "Content-Length": "0"})
            return
        headers = {
            "X-Repo-Commit": faults.commit or COMMIT,
            "ETag": f'"{faults.etag or self._true_etag(path)}"',
            "X-Linked-Size": str(len(content) if faults.head_size is None else faults.head_size),
        }
        if faults.xet_hash:
            hub = faults.xet_hub or self.hub.endpoint
            headers["X-Xet-Hash"] = faults.xet_hash
            headers["Link"] = f'<{hub}/api/models/owner/model/xet-read-token/{COMMIT}>; rel="xet-auth"'
        if faults.redirect_to:
            headers |= {"Location": faults.redirect_to + self.path, "X-Linked-ETag": headers["ETag"]}
            self._answer(302, headers | {"Content-Length": "0"})
        else:
            self._answer(200, headers | {"Content-Length": str(len(content))})

    def do_GET(self) -> None:
        if _XET_TOKEN.fullmatch(self.path):
            self._answer_xet_token()
            return
        found = self._find()
        if found is None:
            return
        path, content, faults = found
        if faults.stall_before_headers:
            self.hub.closing.wait(60)
            self.close_connection = True
            return
        if self._refused(faults, faults.get_statuses):
            return
        if faults.redirect_to:
            self._answer(302, {"Location": faults.redirect_to + self.path, "Content-Length": "0"})
            return
        start, stop, partial = 0, len(content), False
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and not faults.ignore_range:
            start, partial = int(asked[1]), True
            stop = min(stop, int(asked[2]) + 1) if asked[2] else stop
            if start >= len(content) or (faults.truncate_to is not None and start >= faults.truncate_to):
                self._answer(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
        if faults.answer_bytes is not None:
            stop = min(stop, start + faults.answer_bytes)
        headers = {"ETag": '"of-the-storage"', "Content-Type": "application/octet-stream"}
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        if faults.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(stop - start + faults.announced_extra)
        if faults.close_connections:
            headers["Connection"] = "close"
        self._answer(206 if partial else 200, headers)
        self._send_body(path, content, start, stop, faults)

    def _answer_xet_token(self) -> None:
        with self.hub.lock:
            self.hub.requests.append(
                Seen("GET", "xet-read-token", None, self.headers.get("Authorization"), self.client_address[1])
            )
        access = {
            "X-Xet-Cas-Url": self.hub.xet_storage,
            "X-Xet-Access-Token": "of-the-storage",
            "X-Xet-Token-Expiration": str(int(time.time()) + 3600),
        }
        self._answer(200, access | {"Content-Length": "0"})

    def _send_body(self, path: str, content: bytes, start: int, stop: int, faults: Faults) -> None:
        position = start
        began = time.monotonic()
        while position < stop:
            end = min(stop, position + _CHUNK)
            cut = self._cut(faults, start, position, end)
            chunk = content[position : cut[0] if cut else end]
            if faults.flip_at is not None and position <= faults.flip_at < position + len(chunk) and faults.flip_times:
                faults.flip_times -= 1
                at = faults.flip_at - position
                chunk = chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :]
            if faults.chunked:
                chunk_line = b"%x\r\n" % len(chunk)
                self.wfile.write(chunk_line + chunk + b"\r\n" if chunk else b"")
            elif faults.trickle and faults.trickle_times:
                faults.trickle_times -= 1
                self._trickle(chunk, faults.trickle)
            else:
                self.wfile.write(chunk)
            with self.hub.lock:
                self.hub.body_bytes[path] += len(chunk)
            position += len(chunk)
            if cut:
                self._end_badly(cut[1])
                return
            if faults.bytes_per_second:
                pause = (position - start) / faults.bytes_per_second - (time.monotonic() - began)
                if pause > 0 and self.hub.closing.wait(pause):
                    return
        if faults.chunked:
            self.wfile.write(b"0\r\n\r\n")
        if faults.announced_extra:
            self.close_connection = True

    def _cut(self, faults: Faults, start: int, position: int, end: int) -> tuple[int, str] | None:
        """Where this answer ends badly, and how: offsets of fin count from its start, others from the file's."""
        if faults.truncate_to is not None and end > faults.truncate_to:
            return max(position, faults.truncate_to), "fin"
        with self.hub.lock:
            if faults.fin_after is not None and faults.fin_times and end - start > faults.fin_after:
                faults.fin_times -= 1
                return start + faults.fin_after, "fin"
            if faults.rst_after is not None and faults.rst_times and position <= faults.rst_after < end:
                faults.rst_times -= 1
                return faults.rst_after, "rst"
            if faults.stall_after is not None and faults.stall_times and position <= faults.stall_after < end:
                faults.stall_times -= 1
                return faults.stall_after, "stall"
        return None

    def _end_badly(self, how: str) -> None:
        self.wfile.flush()
        self.close_connection = True
        if how == "stall":
            self.hub.closing.wait(60)
        elif how == "rst":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _trickle(self, chunk: bytes, bytes_per_second: int) -> None:
        step = max(1, bytes_per_second // 20)
        for at in range(0, len(chunk), step):
            self.wfile.write(chunk[at : at + step])
            if self.hub.closing.wait(0.05):
                return

    def _find(self) -> tuple[str, bytes, Faults] | None:
        match = _RESOLVE.fullmatch(urlsplit(self.path).path)
        path = unquote(match["path"]) if match else self.path
        with self.hub.lock:
            self.hub.requests.append(
                Seen(
                    self.command,
                    path,
                    self.headers.get("Range"),
                    self.headers.get("Authorization"),
                    self.client_address[1],
                )
            )
        token = self.hub.required_token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            self._answer(401, {"X-Error-Code": "GatedRepo", "Content-Length": "0"})
            return None
        if path not in self.hub.contents:
            self._answer(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
            return None
        return path, self.hub.contents[path], self.hub.faults[path]

    def _refused(self, faults: Faults, statuses: list[int]) -> bool:
        with self.hub.lock:
            status = statuses.pop(0) if statuses else None
        if status is None:
            return False
        headers = {"Content-Length": "0"}
        if faults.retry_after:
            headers["Retry-After"] = faults.retry_after
        if faults.error_code:
            headers["X-Error-Code"] = faults.error_code
        self._answer(status, headers)
        return True

    def _true_etag(self, path: str) -> str:
        entry = remote_file(path, self.hub.contents[path], lfs=self.hub.lfs[path])
        return entry.blob

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
