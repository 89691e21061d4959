"""The proxies that the environment names for connections to other machines."""

import os
import re
import urllib.request
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote, unquote, urlsplit

from modelyard.core.errors import HubUnreachable

_KINDS = ("http", "https", "all")
_SCHEMES = ("http", "https")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


@dataclass(frozen=True)
class Proxy:
    """`url` holds scheme, credentials, host and port, in the spelling that both HTTP clients understand."""

    url: str
    variable: str

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for a request to `url`, None for none. Raises HubUnreachable, which names the variable."""
    parts = urlsplit(url)
    if _is_exempt(parts.hostname or "", parts.port):
        return None
    return _named_proxy(parts.scheme) or _named_proxy("all")


def proxy_problems() -> list[HubUnreachable]:
    """Return what is wrong with the proxy variables of this process's environment."""
    found = []
    for kind in _KINDS:
        try:
            _named_proxy(kind)
        except HubUnreachable as error:
            found.append(error)
    return found


def _is_exempt(host: str, port: int | None) -> bool:
    if urllib.request.proxy_bypass(f"{host}:{port}" if port else host):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    # urllib knows no networks, which curl and other programs take in NO_PROXY.
    names = urllib.request.getproxies_environment().get("no", "").split(",")
    return any(_holds(name.strip(), address) for name in names if "/" in name)


def _holds(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False


def _named_proxy(kind: str) -> Proxy | None:
    value = urllib.request.getproxies().get(kind, "").strip()
    return _checked(value, _variable(kind)) if value else None


def _variable(kind: str) -> str:
    """Return the name under which urllib found a value: lower case goes before capitals."""
    wanted = f"{kind}_proxy"
    names = [name for name, value in os.environ.items() if name.lower() == wanted and value]
    return wanted if wanted in names else names[-1] if names else "The system's proxy setting"


def _checked(value: str, variable: str) -> Proxy:
    address = value if "://" in value else f"http://{value}"
    # What a person would have to see may hold a password.
    shown = re.sub(r"^([^/]*//)?.*@", r"\1***@", value)
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _unusable(variable, shown, f"{error}") from error
    if parts.scheme not in _SCHEMES:
        raise _unusable(variable, shown, f"proxies of the kind {parts.scheme!a} are not supported, only http and https")
    # Behind a slash may stand the rest of a password that is not escaped, with the real host after it.
    if not _HOST.fullmatch(host) or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _unusable(variable, shown, "write an address such as http://proxy.example.org:3128")
    user = ""
    if parts.username:
        # A password may hold characters that an address spells otherwise.
        name, _, password = parts.netloc.rpartition("@")[0].partition(":")
        user = f"{quote(unquote(name), safe='')}:{quote(unquote(password), safe='')}@"
    place = f"[{host}]" if ":" in host else host
    return Proxy(f"{parts.scheme}://{user}{place}" + (f":{port}" if port else ""), variable)


def _unusable(variable: str, shown: str, reason: str) -> HubUnreachable:
    return HubUnreachable(
        f"{variable} is {shown!a}: {reason}.",
        hint=f"Set {variable} to the address of an HTTP proxy, or unset it, and restart. What is on this machine works"
        " without it.",
    )
