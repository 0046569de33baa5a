"""Who is let in, before any path is asked: what an administrator says of all clients.

What it implements: the names that are served (RFC 9110 7.2 and 15.5.20), how many
connections, of all and of an address, how long a head may be, and which proxies are
believed. What it leaves
out: the rules of paths, which are in `conditions`, and time, which is in `patience`.

In one line::

    gate = Gate(names=host_names(["chat.example"])); gate.serves("chat.example:443")
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final

from .forwarded import NOBODY, Trust
from .http1_reader import USUAL, Limits

_NAME: Final = re.compile(r"[a-z0-9._~-]+|\[[0-9a-f:.]+\]")
_PORT: Final = re.compile(r":[0-9]*\Z")
# A browser on the machine of a developer knows the server there by no other name.
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked of every connection and every request."""

    names: frozenset[str] = frozenset()  # that are served, as in Host; none: all are
    trusted: Trust = NOBODY  # to say who asks
    max_connections: int = 0  # 0: no limit
    max_per_address: int = 0  # likewise
    heads: Limits = USUAL

    def serves(self, host: str) -> bool:
        """Whether the server has this name, which may have a port behind it."""
        return not self.names or _PORT.sub("", host) in self.names

    def is_sure_of(self, host: str) -> bool:
        """Whether no page of elsewhere can have this Host: a name that is served, or an address.

        Any other name may be one that its owner has pointed here (DNS rebinding).
        """
        name = _PORT.sub("", host)
        return name in (self.names or LOOPBACK_NAMES) or _is_address(name.strip("[]"))

    def counts_as(self, address: str) -> str:
        """The address that a connection counts for; "" if it is not counted.

        All clients of a proxy come from its address, and all of a Unix socket from none.
        """
        if not self.max_per_address or not address or address in self.trusted:
            return ""
        return _network_of(address)


def host_names(names: Iterable[str]) -> frozenset[str]:
    """What ``--allow-host`` says: names and addresses, without ports.

    Raises ValueError for what no Host field has.
    """
    found = frozenset(name.lower() for name in names)
    for name in found:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a host, such as chat.example or [::1]")
    return found


def usual_names(address: str, *, debug: bool) -> frozenset[str]:
    """The names that are served where nobody has said which.

    All of them, but for a developer's server on loopback. A page of anywhere may have
    its own name point to 127.0.0.1 from one moment to the next, and is then, for its
    browser, a page of that server (DNS rebinding): with what ``--debug`` tells, and
    with no rule of origins in its way. Only the name that it asks for gives it away.
    """
    return LOOPBACK_NAMES if debug and _is_loopback(address) else frozenset()


def is_own_name(host: str) -> bool:
    """Whether a Host is one by which only this machine reaches itself."""
    return _PORT.sub("", host).lower() in LOOPBACK_NAMES


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _network_of(address: str) -> str:
    """An address of IPv4 itself; of IPv6 its /64, all of which its owner may speak from."""
    found = ip_address(address.partition("%")[0])  # without the zone of a link-local one
    if isinstance(found, IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:  # as a socket for both kinds sees it
        return str(found.ipv4_mapped)
    return str(IPv6Network((found, 64), strict=False))
