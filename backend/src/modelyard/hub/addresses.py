"""How private an address is, and which addresses may be connected to.

A Hub may redirect to hosts as public as itself or more public. It is the address that is connected to that counts, so
that neither a name that resolves to several addresses nor one whose address changes gets past.
"""

import socket
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from modelyard.core.errors import HubMisbehaved

Address = IPv4Address | IPv6Address


class Reach(IntEnum):
    """From where an address can be reached. NEVER: addresses that no Hub can have."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    NEVER = 3


_WORDS = {
    Reach.PUBLIC: "a public address",
    Reach.PRIVATE: "an address of a private network",
    Reach.LOOPBACK: "an address of this machine",
    Reach.NEVER: "an address that no Hub has",
}
# Where clouds answer with a machine's credentials, beside the link-local range.
_METADATA = {
    ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42")
}
_THIS_MACHINE = IPv4Network("0.0.0.0/8")
_EMBEDDING = (IPv6Network("::ffff:0:0/96"), IPv6Network("::/96"), IPv6Network("64:ff9b::/96"))
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_SITE_LOCAL = IPv6Network("fec0::/10")


def reach_of(address: str) -> Reach:
    """Return the class of an address in numbers, as it is connected to. Raises ValueError for anything else."""
    return _reach(ip_address(address.partition("%")[0]))


def _reach(address: Address) -> Reach:
    if address in _METADATA or address.is_link_local or address.is_multicast:
        return Reach.NEVER
    if address.is_loopback or address.is_unspecified:
        return Reach.LOOPBACK
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return max(_reach(inner), Reach.PRIVATE if address in _LOCAL_NAT64 else Reach.PUBLIC)
        return Reach.PUBLIC if address.is_global and address not in _SITE_LOCAL else Reach.PRIVATE
    if address in _THIS_MACHINE:
        return Reach.LOOPBACK
    if address == IPv4Address("255.255.255.255") or (address.is_reserved and not address.is_private):
        return Reach.NEVER
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a packet to this address ends at, where it carries one."""
    if any(address in network for network in _EMBEDDING) or address in _LOCAL_NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host in the order to try them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


def allowed_addresses(host: str, port: int, limit: Reach) -> list[str]:
    """Return the addresses of a host that are no more private than `limit`. Raises HubMisbehaved, OSError."""
    addresses = resolve(host.strip("[]"), port)
    allowed = [address for address in addresses if reach_of(address) <= min(limit, Reach.LOOPBACK)]
    if not allowed:
        raise refusal(host, min(map(reach_of, addresses)))
    return allowed


def require_allowed_name(host: str, limit: Reach) -> None:
    """Check a host without resolving its name, which the proxy does. Raises HubMisbehaved."""
    reach = named_reach(host)
    if reach > min(limit, Reach.LOOPBACK):
        raise refusal(host, reach)


def named_reach(host: str) -> Reach:
    """Return the class of a host that a proxy connects to: that of an address; names are public, but `localhost`."""
    host = host.strip("[]").rstrip(".").lower()
    try:
        return reach_of(host)
    except ValueError:
        pass
    try:
        return reach_of(socket.inet_ntoa(socket.inet_aton(host)))  # 2130706433, 0x7f.1, 0177.0.0.1
    except OSError:
        return Reach.LOOPBACK if host == "localhost" or host.endswith(".localhost") else Reach.PUBLIC


def refusal(host: str, reach: Reach) -> HubMisbehaved:
    if reach is Reach.NEVER:
        return HubMisbehaved(f"{ascii(host)[1:-1]} is {_WORDS[reach]} (link-local or a cloud's metadata).")
    return HubMisbehaved(
        f"The Hub leads to {ascii(host)[1:-1]}, {_WORDS[reach]}, which is more private than the Hub's own.",
        hint="Check that the endpoint in Settings is a Hub you trust, and where its storage is.",
    )
