"""Who asks, when a proxy stands in between: Forwarded and its older cousins.

What it implements: RFC 7239, and the X-Forwarded-For, -Proto and -Host that came
before it, from proxies that are trusted. What it leaves out: trust by default;
anybody may write these fields.

In one line::

    origin = seen_through(headers, peer, trusted)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

UNIX: Final = "unix"  # who comes over a Unix socket has no address, and trust may have a name


@dataclass(frozen=True, slots=True)
class Trust:
    """Which peers are believed: addresses, and whoever comes over a Unix socket."""

    networks: tuple[Network, ...] = ()
    unix: bool = False

    def __contains__(self, peer: object) -> bool:
        if peer == "":
            return self.unix
        if not self.networks:  # nobody is, mostly: not worth reading an address for
            return False
        try:
            address = ip_address(str(peer))
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:10.0.0.1, as IPv6 sockets see it
        return any((mapped or address) in network for network in self.networks)


NOBODY: Final = Trust()


def trust(names: Sequence[str]) -> Trust:
    """What ``--trust-proxy`` says: addresses, networks in CIDR notation, or ``unix``.

    Raises ValueError for anything else.
    """
    networks = tuple(ip_network(name, strict=False) for name in names if name != UNIX)
    return Trust(networks, UNIX in names)


class Origin(NamedTuple):
    """Who asked, by which scheme, and for which host; None where no proxy has said so."""

    address: str
    scheme: str | None = None
    host: str | None = None


_OLDER: Final = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")
# RFC 7239 4: a list of elements, each of pairs, of tokens and quoted strings.
_PAIR: Final = re.compile(r'[ \t]*([A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,]+))[ \t]*')
# With a port, or brackets, or both: "[2001:db8::1]:4711". None is longer, nor is to be logged.
_NODE: Final = re.compile(
    r"\[([0-9A-Fa-f:.]{1,45})\](?::\w+)?|([0-9.]{1,45})(?::\w+)?|([0-9A-Fa-f:.]{1,45})"
)
_HOST: Final = re.compile(r"[A-Za-z0-9._~-]+(?::[0-9]{0,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{0,5})?")


def seen_through(headers: Mapping[str, str], peer: str, trusted: Trust) -> Origin:
    """The origin of a request from ``peer``, as the trusted proxies on its way tell it.

    Each proxy adds the address that it saw, at the right end: so the list is
    read from there, until an address that is not trusted. What stands further
    left was written by that one, and may say anything.

    Where there are both, the older fields count. A proxy sets one kind and hands on what
    its client wrote into the other, and most set the older.
    """
    if peer not in trusted:
        return Origin(peer)
    if any(name in headers for name in _OLDER):
        hops = _x_forwarded(headers)
    else:
        hops = _forwarded(headers.get("forwarded", ""))
    found = Origin(peer)
    for hop in reversed(hops):
        found = Origin(hop.address or found.address, hop.scheme, hop.host)
        if hop.address not in trusted:
            break
    return found


def _forwarded(value: str) -> list[Origin]:
    hops: list[Origin] = []
    for element in value.split(","):
        pairs = {
            m[1].lower(): m[2] or m[3] or "" for m in map(_PAIR.fullmatch, element.split(";")) if m
        }
        if pairs:
            hops.append(_hop(pairs.get("for", ""), pairs.get("proto", ""), pairs.get("host", "")))
    return hops


def _x_forwarded(headers: Mapping[str, str]) -> list[Origin]:
    addresses = headers.get("x-forwarded-for", "").split(",")
    # These two are not lists: the nearest proxy says them, for the whole way.
    scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2]
    host = headers.get("x-forwarded-host", "").rpartition(",")[2]
    return [_hop(address, scheme, host) for address in addresses]


def _hop(node: str, scheme: str, host: str) -> Origin:
    match = _NODE.fullmatch(node.strip())
    address = next(filter(None, match.groups()), "") if match else ""
    scheme, host = scheme.strip().lower(), host.strip().lower()
    return Origin(
        address,
        scheme if scheme in ("http", "https") else None,
        host if _HOST.fullmatch(host) else None,
    )
