"""What the words of HTTP mean: methods, statuses and header fields, each with its section.

What it implements: tables, after RFC 9110 and the RFCs that add to it. What it leaves
out: the syntax (`anatomy_http`), and fields that servers and browsers rarely send.

In one line::

    meaning, section = FIELDS["host"]
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

# RFC 9110 9.3 and RFC 5789 (PATCH).
METHODS: Final = {
    "GET": ("asks for what is there", "RFC 9110 9.3.1"),
    "HEAD": ("asks for what GET would say of it, without the content", "RFC 9110 9.3.2"),
    "POST": ("hands over content, for the server to work on", "RFC 9110 9.3.3"),
    "PUT": ("puts content there, in place of what was", "RFC 9110 9.3.4"),
    "DELETE": ("takes away what is there", "RFC 9110 9.3.5"),
    "CONNECT": ("asks a proxy for a tunnel", "RFC 9110 9.3.6"),
    "OPTIONS": ("asks what may be asked", "RFC 9110 9.3.7"),
    "TRACE": ("asks for an echo of itself", "RFC 9110 9.3.8"),
    "PATCH": ("changes a part of what is there", "RFC 5789 2"),
}

# Their values are nobody's business but the two sides'.
SECRET_FIELDS: Final = frozenset("authorization cookie proxy-authorization set-cookie".split())

FIELDS: Final = {
    "accept": ("kinds of content that the client understands", "RFC 9110 12.5.1"),
    "accept-encoding": ("compressions that the client understands", "RFC 9110 12.5.3"),
    "accept-language": ("languages that its user reads", "RFC 9110 12.5.4"),
    "accept-ranges": ("whether a part may be asked for", "RFC 9110 14.3"),
    "access-control-allow-credentials": (
        "a page of that origin may read it, cookies and all",
        "Fetch 3.2.3",
    ),
    "access-control-allow-origin": ("whose pages may read it", "Fetch 3.2.3"),
    "age": ("seconds that it has been in a cache", "RFC 9111 5.1"),
    "allow": ("methods that this resource knows", "RFC 9110 10.2.1"),
    "authorization": ("who the client claims to be", "RFC 9110 11.6.2"),
    "cache-control": ("what caches may do with it", "RFC 9111 5.2"),
    "connection": (
        "what becomes of the connection, and fields for the next hop only",
        "RFC 9110 7.6.1",
    ),
    "content-disposition": ("to be shown, or saved under a name", "RFC 6266 4"),
    "content-encoding": ("how the content is compressed", "RFC 9110 8.4"),
    "content-length": ("bytes of content that follow the head", "RFC 9110 8.6"),
    "content-range": ("which part of the whole this is", "RFC 9110 14.4"),
    "content-security-policy": ("what the page may load and run", "CSP 3"),
    "content-type": ("what kind of content it is", "RFC 9110 8.3"),
    "cookie": ("what the server has asked the client to say again", "RFC 6265 5.4"),
    "date": ("when the answer was made", "RFC 9110 6.6.1"),
    "etag": ("names this version of it", "RFC 9110 8.8.3"),
    "expect": ("the client waits for 100 before it sends its content", "RFC 9110 10.1.1"),
    "expires": ("until when it is fresh", "RFC 9111 5.3"),
    "forwarded": ("what a proxy says of who asks", "RFC 7239 4"),
    "host": ("the host, and the port, that are meant: one machine may serve many", "RFC 9110 7.2"),
    "if-match": ("only if it is still this version", "RFC 9110 13.1.1"),
    "if-modified-since": ("only if it has changed since", "RFC 9110 13.1.3"),
    "if-none-match": ("only if it is none of these versions", "RFC 9110 13.1.2"),
    "keep-alive": ("how long the connection may be idle, of old", "RFC 2068 19.7.1"),
    "last-modified": ("when it has changed last", "RFC 9110 8.8.2"),
    "location": ("where to go instead, or what was made", "RFC 9110 10.2.2"),
    "origin": ("the site whose page asks", "RFC 6454 7"),
    "proxy-authorization": ("who the client claims to be, to a proxy", "RFC 9110 11.7.2"),
    "range": ("the part of it that is asked for", "RFC 9110 14.2"),
    "referer": ("the page that led here", "RFC 9110 10.1.3"),
    "retry-after": ("how long to wait before asking again", "RFC 9110 10.2.3"),
    "sec-websocket-accept": (
        "proves that the server speaks WebSocket, and heard this very key",
        "RFC 6455 11.3.3",
    ),
    "sec-websocket-extensions": (
        "extensions of the protocol, such as compression",
        "RFC 6455 11.3.2",
    ),
    "sec-websocket-key": (
        "16 bytes of chance in base64, which the answer must prove to have seen",
        "RFC 6455 11.3.1",
    ),
    "sec-websocket-protocol": ("what is spoken inside of the WebSocket", "RFC 6455 11.3.4"),
    "sec-websocket-version": ("the version of the protocol: 13 is the only one", "RFC 6455 11.3.5"),
    "server": ("the software that answers", "RFC 9110 10.2.4"),
    "set-cookie": ("to be said again with each request", "RFC 6265 4.1"),
    "strict-transport-security": ("from now on by TLS only", "RFC 6797 6.1"),
    "te": ("codings and trailers that the client understands", "RFC 9110 10.1.4"),
    "trailer": ("fields that come behind the content", "RFC 9110 6.6.2"),
    "transfer-encoding": ("how the content is cut to travel: in chunks", "RFC 9112 6.1"),
    "upgrade": ("the protocol that the connection goes over to", "RFC 9110 7.8"),
    "user-agent": ("the software that asks", "RFC 9110 10.1.5"),
    "vary": ("fields of the request that the answer depends on", "RFC 9110 12.5.5"),
    "via": ("proxies that it came through", "RFC 9110 7.6.3"),
    "www-authenticate": ("how the client may say who it is", "RFC 9110 11.6.1"),
    "x-forwarded-for": ("the client, and the proxies that it came through, of custom", ""),
    "x-forwarded-proto": ("http or https, as the client spoke it, of custom", ""),
}


_KINDS: Final = (
    "interim: the answer itself follows",
    "it is done",
    "look elsewhere",
    "the request is wrong",
    "the server failed",
)
_OF_THEIR_OWN: Final = {
    101: "from here on the connection speaks another protocol",
    304: "what the client has kept is still right",
}


def status_means(status: int) -> str:
    """What a status says, in a few words (RFC 9110 15)."""
    kind = _KINDS[status // 100 - 1] if 100 <= status < 600 else "not a status"
    kind = _OF_THEIR_OWN.get(status, kind)
    try:
        known = HTTPStatus(status)
    except ValueError:
        return kind
    return f"{known.phrase}: {kind}"
