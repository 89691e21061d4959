"""Connections of both HTTP clients: direct to an allowed address, or through the configured proxy."""

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import httpcore2
import httpx2
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import connection as urllib3_connection

from modelyard.hub.addresses import Reach, allowed_addresses, require_allowed_name
from modelyard.hub.deadlines import seconds_left
from modelyard.hub.origins import asked_hub
from modelyard.hub.proxies import Proxy, proxy_for
from modelyard.hub.retry import is_untrusted_certificate
from modelyard.hub.tls import tls_context

MAX_CONNECTIONS = 100

Connected = TypeVar("Connected")


class HubTransport(httpx2.BaseTransport):
    """The transport of huggingface_hub's client.

    Connections are kept apart by how private their addresses may be: one to this machine, opened for a Hub here, is
    never used for the redirect of a public Hub.
    """

    def __init__(self) -> None:
        self._transports: dict[tuple[Proxy | None, Reach, bool], httpx2.HTTPTransport] = {}
        self._process = os.getpid()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        hub, url = asked_hub(), str(request.url)
        proxy = proxy_for(url)
        limit = hub.limit() if hub is not None else Reach.NEVER
        if proxy is not None and hub is not None:
            require_allowed_name(request.url.host, limit)
        try:
            response = self._transport(proxy, limit, request.url.scheme == "https").handle_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            if proxy is None or is_untrusted_certificate(error):
                raise
            raise httpx2.ProxyError(proxy_failure(proxy, str(error))) from error
        if proxy is not None and response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            response.close()
            raise httpx2.ProxyError(proxy_failure(proxy, f"{response.status_code} {response.reason_phrase}"))
        if hub is not None:
            hub.answered(url, None if proxy else _peer(response))
        return response

    def _transport(self, proxy: Proxy | None, limit: Reach, secure: bool) -> httpx2.HTTPTransport:
        key = (proxy, Reach.NEVER if proxy else limit, secure)
        if key not in self._transports:
            made = _ProxyTransport(proxy, secure) if proxy else _DirectTransport(limit, secure)
            if self._transports.setdefault(key, made) is not made:
                made.close()  # another thread was first
        return self._transports[key]

    def close(self) -> None:
        # huggingface_hub calls this in a forked child, where a lock that another thread held is held for ever, and
        # where the connections are the parent's.
        if os.getpid() == self._process:
            for transport in self._transports.values():
                transport.close()


def _peer(response: httpx2.Response) -> str:
    try:
        return str(response.extensions["network_stream"].get_extra_info("server_addr")[0])
    except OSError as error:
        response.close()
        raise httpx2.ReadError("connection reset") from error


def proxy_failure(proxy: Proxy, said: str) -> str:
    """Return the reason of a failure with a proxy, including the variable that names the proxy."""
    answer = re.search(r"\b[45]\d\d\b.*", said)
    if answer:
        return f"the proxy that {proxy.variable} names answers {answer[0]}"
    return f"there is no connection through the proxy that {proxy.variable} names"


def _trust(secure: bool) -> ssl.SSLContext | None:
    """Return nothing for plain HTTP, which works even if the trusted certificates cannot be read."""
    return tls_context() if secure else None


class _ProxyTransport(httpx2.HTTPTransport):
    def __init__(self, proxy: Proxy, secure: bool) -> None:
        address = httpx2.Proxy(proxy.url)
        super().__init__(verify=_trust(secure) or False)
        self._pool.close()
        self._pool = httpcore2.HTTPProxy(
            proxy_url=str(address.url),
            proxy_auth=address.raw_auth,
            ssl_context=_trust(secure),
            proxy_ssl_context=_trust(proxy.scheme == "https"),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_CheckedBackend(Reach.NEVER),
        )


class _DirectTransport(httpx2.HTTPTransport):
    def __init__(self, limit: Reach, secure: bool) -> None:
        super().__init__(verify=_trust(secure) or False)
        self._pool.close()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_trust(secure),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_CheckedBackend(limit),
        )


class _CheckedBackend(httpcore2.SyncBackend):
    def __init__(self, limit: Reach) -> None:
        self._limit = limit

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            addresses = _addresses(host, port, self._limit)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return _first(
            addresses,
            lambda address: _TimedStream(
                super(_CheckedBackend, self).connect_tcp(
                    address, port, _in_time(timeout, httpcore2.ConnectTimeout), local_address, socket_options
                )
            ),
            (httpcore2.ConnectError, httpcore2.ConnectTimeout),
        )


class _TimedStream(httpcore2.NetworkStream):
    """A connection on which every step ends at the deadline of the call, however little arrives."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _in_time(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _in_time(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        limit = _in_time(timeout, httpcore2.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, limit))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _in_time(timeout: float | None, too_late: type[Exception]) -> float | None:
    left = seconds_left()
    if left is None:
        return timeout
    if left <= 0:
        raise too_late("the time for the whole answer is up")
    return left if timeout is None else min(timeout, left)


def connection_pools(proxy: Proxy | None, limit: Reach, *, secure: bool, size: int) -> urllib3.PoolManager:
    """Return the pools for fetching file contents. `limit` applies without a proxy, `secure` to HTTPS."""
    if proxy is None:
        pools = urllib3.PoolManager(maxsize=size, ssl_context=_trust(secure))
        pools.pool_classes_by_scheme = _pool_classes(limit)
        return pools
    parts = urlsplit(proxy.url)
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    return urllib3.ProxyManager(
        proxy.url,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=user) if user else None,
        maxsize=size,
        ssl_context=_trust(secure),
        proxy_ssl_context=_trust(proxy.scheme == "https"),
    )


def _pool_classes(limit: Reach) -> dict[str, type[HTTPConnectionPool]]:
    plain = type("CheckedConnection", (_Checked, HTTPConnection), {"limit": limit})
    secure = type("CheckedTlsConnection", (_Checked, HTTPSConnection), {"limit": limit})
    return {
        "http": type("CheckedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("CheckedTlsPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


class _Checked(HTTPConnection):
    """urllib3's own connection, to a checked address."""

    limit: Reach

    def _new_conn(self) -> socket.socket:
        try:
            return _first(_addresses(self._dns_host, self.port, self.limit), self._connect_to, (OSError,))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    def _connect_to(self, address: str) -> socket.socket:
        return urllib3_connection.create_connection(
            (address, self.port), self.timeout, source_address=self.source_address, socket_options=self.socket_options
        )


def _addresses(host: str, port: int, limit: Reach) -> list[str]:
    # NEVER: nobody asked for a Hub, so this is another program's use of huggingface_hub in this process.
    return [host] if limit is Reach.NEVER else allowed_addresses(host, port, limit)


def _first(
    addresses: list[str], connect: Callable[[str], Connected], failures: tuple[type[Exception], ...]
) -> Connected:
    for address in addresses[:-1]:
        try:
            return connect(address)
        except failures:
            continue  # the next address may answer; what the last one says is raised
    return connect(addresses[-1])
