"""File contents: HEAD through huggingface_hub, bodies through urllib3, which costs far less per byte, or hf_xet."""

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urljoin, urlsplit

import urllib3
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.utils import XetFileData, build_hf_headers

from modelyard.core.errors import GatedNotAccepted, GatedNoToken, HubMisbehaved, HubUnreachable, TokenInvalid
from modelyard.hub._hf_private import (
    get_xet_session,
    is_xet_available,
    refresh_xet_connection_info,
    xet_headers_without_auth,
)
from modelyard.hub.addresses import Reach, require_allowed_name
from modelyard.hub.connections import connection_pools, proxy_failure
from modelyard.hub.deadlines import within
from modelyard.hub.error_translation import translate_hub_errors
from modelyard.hub.origins import AskedHub, asking, origin_of
from modelyard.hub.proxies import Proxy, proxy_for
from modelyard.hub.retry import Transient, as_transient, is_untrusted_certificate, transient_status
from modelyard.hub.tls import untrusted_hint

if TYPE_CHECKING:
    from hf_xet import XetDownloadStream, XetDownloadStreamGroup

DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_REDIRECTS = 10
RESOLVE_SECONDS = 60.0
"""Of asking where one file is, answers that trickle in included."""
_REDIRECTS = {301, 302, 303, 307, 308}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class ResolvedFile:
    """What the Hub says of one file right now. `location` may be signed for a short time, on another host.

    `xet` is there when the Hub offers the file through Xet and hf_xet may be used (see HF_HUB_DISABLE_XET).
    """

    location: str
    xet: XetFileData | None
    etag: str | None
    size_bytes: int | None
    commit: str | None


class LocationExpired(Exception):
    """A storage host refused a location that the Hub gave earlier; a new one may be asked for."""


class Transport:
    """The connections of one download. Safe to use from several threads."""

    def __init__(
        self,
        *,
        endpoint: str,
        repo_id: str,
        commit: str,
        token: str | Literal[False],
        connect_timeout_seconds: float,
        stall_seconds: float,
        connections: int = 8,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._hub = AskedHub(self.endpoint)
        self.repo_id = repo_id
        self.commit = commit
        self._token = token
        self._timeout_seconds = connect_timeout_seconds
        self._timeout = urllib3.Timeout(connect=connect_timeout_seconds, read=stall_seconds)
        self._headers = build_hf_headers(token=token, library_name="modelyard")
        self._headers["Accept-Encoding"] = "identity"
        self._connections = connections
        self._pools: dict[tuple[Proxy | None, Reach, bool], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def resolve(self, path: str) -> ResolvedFile:
        """Ask the Hub where a file is. Raises Transient, or one of the HubErrors."""
        url = hf_hub_url(self.repo_id, path, revision=self.commit, endpoint=self.endpoint)
        with self._hub_errors():
            found = get_hf_file_metadata(
                url,
                token=self._token,
                timeout=self._timeout_seconds,
                library_name="modelyard",
                headers={constants.X_HF_DOWNLOAD_COUNTER: "1"},
                endpoint=self.endpoint,
            )
        location = urljoin(url, found.location)
        xet = found.xet_file_data if is_xet_available() and self._may_use_xet() else None
        if xet is not None and origin_of(xet.refresh_route) != origin_of(self.endpoint):
            xet = None  # the token would go to another host
        return ResolvedFile(location, xet, found.etag, found.size, found.commit_hash)

    def open(self, location: str, *, start: int, stop: int, size_bytes: int) -> "Body":
        """Ask for the bytes from `start` to `stop` (exclusive) of a file of `size_bytes`.

        Raises Transient, LocationExpired, or one of the HubErrors.
        """
        ranged = start > 0 or stop < size_bytes
        url = location
        for _ in range(MAX_REDIRECTS):
            response = self._get(url, f"bytes={start}-{stop - 1}" if ranged else None)
            if response.status not in _REDIRECTS:
                return self._as_body(response, url, start=start, size_bytes=size_bytes, ranged=ranged)
            target = response.headers.get("Location")
            response.close()
            if not target:
                break
            url = urljoin(url, target)
        raise HubMisbehaved(f"{self.endpoint} redirects in circles.")

    def open_xet(self, xet: XetFileData, *, start: int, stop: int, size_bytes: int) -> "Body":
        """Ask Xet storage for the same bytes. Raises Transient, or one of the HubErrors."""
        from hf_xet import XetFileInfo

        with self._hub_errors():
            access = refresh_xet_connection_info(file_data=xet, headers=self._headers)
        with _xet_errors():
            group = get_xet_session().new_download_stream_group(  # type: ignore[no-untyped-call]
                endpoint=access.endpoint,
                token=access.access_token,
                token_expiry_unix_secs=access.expiration_unix_epoch,
                token_refresh_url=xet.refresh_route,
                token_refresh_headers=self._headers,
                custom_headers=xet_headers_without_auth(self._headers),
            )
            stream = group.download_stream(XetFileInfo(xet.file_hash, size_bytes), start=start, end=stop)
        return _XetBody(group, stream, offset=start, announced_bytes=stop - start)

    def close(self) -> None:
        with self._lock:
            for pool in self._pools.values():
                pool.clear()

    @contextmanager
    def _hub_errors(self) -> Iterator[None]:
        with (
            translate_hub_errors(self.endpoint, self.repo_id, self.commit, has_token=self._has_token),
            asking(self._hub),
            within(RESOLVE_SECONDS),
        ):
            try:
                yield
            except Exception as error:
                transient = as_transient(error)
                if transient is not None:
                    raise transient from error
                raise

    def _get(self, url: str, byte_range: str | None) -> urllib3.BaseHTTPResponse:
        scheme = urlsplit(url).scheme
        if scheme not in _PORTS:
            raise HubMisbehaved(f"{self.endpoint} redirects to an address of the kind {scheme!a}.")
        headers = dict(self._headers)
        if origin_of(url) != origin_of(self.endpoint):
            # The token is for the Hub alone: a storage host gets its permission in the signed address.
            headers.pop("authorization", None)
        elif byte_range is None or byte_range.startswith("bytes=0-"):
            headers[constants.X_HF_DOWNLOAD_COUNTER] = "1"
        if byte_range:
            headers["Range"] = byte_range
        pool, proxy = self._pool(url), proxy_for(url)
        try:
            response = pool.urlopen(
                "GET",
                url,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=self._timeout,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if proxy is not None and isinstance(error, urllib3.exceptions.ProxyError):
                raise Transient(proxy_failure(proxy, str(error))) from error
            transient = as_transient(error)
            if transient is not None:
                raise transient from error
            raise HubUnreachable(
                f"{urlsplit(url).hostname} cannot be reached: {error}.",
                hint=untrusted_hint() if is_untrusted_certificate(error) else None,
            ) from error
        if proxy is not None and response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            response.close()
            raise Transient(proxy_failure(proxy, f"{response.status} {response.reason}"))
        return response

    def _as_body(
        self, response: urllib3.BaseHTTPResponse, url: str, *, start: int, size_bytes: int, ranged: bool
    ) -> "Body":
        try:
            if response.status not in (200, 206):
                raise self._refusal(response, url, size_bytes)
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise HubMisbehaved(f"{urlsplit(url).hostname} sent the file in the encoding {encoding!a}.")
            length = response.headers.get("Content-Length")
            announced = int(length) if length and length.isdigit() else None
            if response.status == 200:
                return _HttpBody(response, offset=0, announced_bytes=announced, range_ignored=ranged)
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if not match or int(match[1]) != start or match[3] not in ("*", str(size_bytes)):
                raise HubMisbehaved(
                    f"{urlsplit(url).hostname} sent another part than asked for: "
                    f"{ascii(response.headers.get('Content-Range', ''))[:100]}."
                )
            return _HttpBody(response, offset=start, announced_bytes=announced, range_ignored=False)
        except BaseException:
            response.close()
            raise

    def _refusal(self, response: urllib3.BaseHTTPResponse, url: str, size_bytes: int) -> Exception:
        host, status = urlsplit(url).hostname, response.status
        transient = transient_status(status, response.headers.get("Retry-After"))
        if transient is not None:
            return transient
        if status == 416:
            return HubMisbehaved(f"{host} has fewer than the {size_bytes} bytes that the Hub announced.")
        if origin_of(url) != origin_of(self.endpoint):
            return LocationExpired(f"{host} answered {status}")
        if status == 401:
            if self._has_token():
                return TokenInvalid(f"{self.endpoint} does not accept the stored token.")
            return GatedNoToken(f"{self.repo_id} cannot be fetched without a token for {self.endpoint}.")
        if status == 403:
            return GatedNotAccepted(f"{self.endpoint} does not give access to {self.repo_id} with this token.")
        return HubMisbehaved(f"{host} answered {status} for a file it lists.")

    def _may_use_xet(self) -> bool:
        """hf_xet connects wherever the Hub and its storage say: that is for Hubs that no change of settings chose."""
        return origin_of(self.endpoint) in {origin_of(constants.ENDPOINT), origin_of(DEFAULT_ENDPOINT)}

    def _has_token(self) -> bool:
        return "authorization" in self._headers

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy, limit, secure = proxy_for(url), self._hub.limit(), parts.scheme == "https"
        if proxy is not None:
            require_allowed_name(parts.hostname or "", limit)
        key = (proxy, limit, secure)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = connection_pools(proxy, limit, secure=secure, size=self._connections)
            return self._pools[key]


class Body(ABC):
    """The content of one answer, read in order. `offset` is the place in the file of its first byte."""

    has_own_timeouts = False

    def __init__(self, *, offset: int, announced_bytes: int | None, range_ignored: bool = False) -> None:
        self.offset = offset
        self.announced_bytes = announced_bytes
        self.range_ignored = range_ignored

    @abstractmethod
    def read(self, limit: int) -> bytes | memoryview:
        """Return what has arrived, at most `limit` bytes; waits for the first; empty at the end. Raises Transient."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make a read that waits in another thread return at once."""

    @abstractmethod
    def close(self) -> None:
        """Free the connection for others if the whole answer was read, else close it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _HttpBody(Body):
    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        *,
        offset: int,
        announced_bytes: int | None,
        range_ignored: bool,
    ) -> None:
        super().__init__(offset=offset, announced_bytes=announced_bytes, range_ignored=range_ignored)
        self._response = response

    def read(self, limit: int) -> bytes:
        try:
            return self._response.read1(limit, decode_content=False) or b""
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # ValueError: another thread interrupted and closed the connection under this read.
            transient = as_transient(error)
            raise transient or Transient("connection lost") from error

    def interrupt(self) -> None:
        try:
            self._response.shutdown()
        except (OSError, ValueError, RuntimeError):
            return  # it ended by itself meanwhile

    def close(self) -> None:
        self._response.close()


class _XetBody(Body):
    """A range out of Xet storage. hf_xet hands out pieces of many MB, and repeats requests itself."""

    has_own_timeouts = True

    def __init__(
        self, group: "XetDownloadStreamGroup", stream: "XetDownloadStream", *, offset: int, announced_bytes: int
    ) -> None:
        super().__init__(offset=offset, announced_bytes=announced_bytes)
        self._group = group
        self._stream = stream
        self._arrived = memoryview(b"")

    def read(self, limit: int) -> memoryview:
        if not self._arrived:
            with _xet_errors():
                self._arrived = memoryview(next(self._stream, b""))
        data, self._arrived = self._arrived[:limit], self._arrived[limit:]
        return data

    def interrupt(self) -> None:
        self._group.abort()

    def close(self) -> None:
        self._group.abort()


@contextmanager
def _xet_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise Transient(f"Xet storage: {error}") from error
