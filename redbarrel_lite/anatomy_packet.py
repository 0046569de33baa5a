r"""The anatomy of what stands before a capture's bytes: the headers of IP and of TCP.

What it implements: stepping over the headers of Ethernet, of Linux's and BSD's captures of
no network, of IPv4 (RFC 791 3.1), IPv6 (RFC 8200 3) and TCP (RFC 9293 3.1), and saying
from where to where they lead. What it leaves out: their options, fragments, and order.

In one line::

    segment = segment_of(bytes.fromhex("4500..."))
"""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

from .anatomy import CLIENT, Field, Layer, counted

_TCP: Final = 6
_SECTION: Final = "RFC 9293 3.1"
_PROTOCOLS: Final = {1: "ICMP", 17: "UDP", 58: "ICMP"}
# How long the header of a link is, and where in it the kind of the packet stands.
_LINKS: Final = (
    (14, 12, "Ethernet header"),
    (18, 16, "Ethernet header"),  # with IEEE 802.1Q in it
    (16, 14, "header of Linux's 'any'"),
    (20, 0, "header of Linux's 'any'"),
)
_KINDS: Final = {b"\x08\x00": 4, b"\x86\xdd": 6}
_LOOPBACK: Final = (b"\2\0\0\0", b"\0\0\0\2", b"\x1e\0\0\0", b"\0\0\0\x1e", b"\x18\0\0\0")
_FLAGS: Final = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")


class Segment(NamedTuple):
    """What TCP carries in one packet, and the layer of what stands before it."""

    headers: Layer
    payload: bytes
    source: str
    target: str
    sequence: int


class _Packet(NamedTuple):
    """Where the parts of a packet are."""

    start: int  # of IP
    tcp: int
    end: int
    link: str
    addresses: tuple[str, str]


def segment_of(data: bytes) -> Segment | None:
    """The segment in a packet; None if this is none. Raises ValueError for another protocol's."""
    packet = _packet(data)
    if packet is None:
        return None
    tcp = data[packet.tcp : packet.end]
    ports = int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")
    source, target = (
        f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        for address, port in zip(packet.addresses, ports, strict=True)
    )
    size = (tcp[12] >> 4) * 4
    headers = _layer(data[: packet.tcp + size], packet, source, target)
    payload = tcp[size:]
    headers.summary = f"{source} to {target}, {counted(len(payload), 'byte')}"
    if packet.end > len(data):
        headers.summary += f", and {packet.end - len(data):,} that were not captured"
    return Segment(headers, payload, source, target, int.from_bytes(tcp[4:8], "big"))


def _layer(data: bytes, packet: _Packet, source: str, target: str) -> Layer:
    layer = Layer("TCP segment", data, CLIENT, "", _SECTION, is_text=False)
    if packet.start:
        layer.fields.append(Field(0, packet.start, packet.link, "", "", ""))
    version = data[packet.start] >> 4
    section = "RFC 791 3.1" if version == 4 else "RFC 8200 3"
    means = f"from {packet.addresses[0]} to {packet.addresses[1]}"
    name = f"IPv{version} header"
    layer.fields.append(Field(packet.start, packet.tcp, name, "", means, section))
    tcp = data[packet.tcp :]
    flags = ", ".join(name for bit, name in enumerate(_FLAGS) if tcp[13] >> bit & 1)
    means = f"from port {source.rpartition(':')[2]} to {target.rpartition(':')[2]}; {flags}"
    layer.fields.append(Field(packet.tcp, len(data), "TCP header", "", means, _SECTION))
    return layer


def _packet(data: bytes) -> _Packet | None:
    if (found := _at(data, 0, "")) is not None:
        return found
    if data[:4] in _LOOPBACK:
        return _at(data, 4, "header of BSD's loopback")
    for size, at, name in _LINKS:
        version = _KINDS.get(data[at : at + 2])
        if version is not None and data[size : size + 1] and data[size] >> 4 == version:
            found = _at(data, size, name)
            if found is not None:
                return found
    return None


def _at(data: bytes, start: int, link: str) -> _Packet | None:
    """The packet whose IP header stands there, if one does: all that it says must fit."""
    head = data[start:]
    if len(head) >= 40 and head[0] >> 4 == 4:
        size = (head[0] & 15) * 4
        length = int.from_bytes(head[2:4], "big") or len(head)
        protocol, addresses = head[9], (head[12:16], head[16:20])
    elif len(head) >= 60 and head[0] >> 4 == 6:
        size = 40
        length = size + (int.from_bytes(head[4:6], "big") or len(head) - size)
        protocol, addresses = head[6], (head[8:24], head[24:40])
    else:
        return None
    if not 20 <= size <= length - 8:
        return None
    if protocol in _PROTOCOLS and (link or _is_summed(head[:size])):
        raise ValueError(f"this is a packet of {_PROTOCOLS[protocol]}, and HTTP runs over TCP")
    tcp = head[size:length]
    if protocol != _TCP or len(tcp) < 20 or not 20 <= (tcp[12] >> 4) * 4 <= len(tcp):
        return None
    source, target = (str(ipaddress.ip_address(one)) for one in addresses)
    return _Packet(start, start + size, start + length, link, (source, target))


def _is_summed(head: bytes) -> bool:
    """Whether the checksum of an IPv4 header is right (RFC 1071)."""
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, len(head), 2))
    return len(head) < 40 and total % 0xFFFF == 0
