"""What to do about what `doctor` has found: which line belongs into which configuration.

What it implements: the words for each fault, by its kind: what nginx, HAProxy and Apache are to
be told, or the server itself. What it leaves out: how a fault is found (`doctor_checks`).

In one line::

    raise Trouble("the answer is 413", BODY_LIMIT)
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeAlias

from .engineio import BAD_REQUEST
from .engineio_query import UNKNOWN_SID, UNKNOWN_TRANSPORT, UNSUPPORTED_PROTOCOL_VERSION
from .http1_client import Response

# A line for each: whom it is for, and what is to be written there.
Advice: TypeAlias = tuple[str, ...]


class Trouble(Exception):
    """What is wrong, and what to do about it."""

    def __init__(self, what: str, advice: Advice = ()) -> None:
        super().__init__(what)
        self.advice = advice


NOT_THERE: Final = (
    "is it running, and on this port? A server listens on 127.0.0.1 unless told: --host 0.0.0.0,",
    "or --host :: for IPv6",
)
NO_SUCH_NAME: Final = ("is the name right, and has it an A or AAAA record?",)
FILTERED: Final = ("a firewall throws away what is sent there, or the address is another's",)
TLS_HERE: Final = ("write https:// instead of http://: this port speaks TLS",)
NO_TLS_HERE: Final = (
    "write http:// instead of https://, or the port that speaks TLS: this one does not",
)
BAD_TLS: Final = ("no version of TLS or no cipher is known to both: what it speaks may be too old",)
NO_HTTP: Final = ("is it another's port? What is spoken there is not HTTP/1.1",)
TLS_BEHIND: Final = (
    "the proxy speaks http to a server that speaks https:",
    "nginx    proxy_pass https://127.0.0.1:8443;",
    "HAProxy  server one 127.0.0.1:8443 ssl ca-file ...     Apache   SSLProxyEngine on",
)
WRONG_NAME: Final = (
    "the certificate is for other names: ask for one that has this one, too",
    "nginx    server_name NAME;  and the ssl_certificate of that name in the same server { }",
)
CHAIN: Final = (
    "nginx    ssl_certificate has to be the whole chain: fullchain.pem, not cert.pem",
    "Apache   SSLCertificateFile likewise;  HAProxy  the .pem has chain and key in one file",
    "if the authority is your own: --cafile FILE here, and in each client",
)
UNKNOWN_AUTHORITY: Final = (
    "nobody whom browsers trust vouches for it: let an authority sign one, such as Let's Encrypt",
    "if the authority is your own: --cafile FILE here, and in each client",
)
NOT_YET: Final = ("its time has not come: is the clock right, there and here?",)
EXPIRED: Final = ("renew it, and have it read again: nginx -s reload; SIGHUP to us",)
NO_SERVER: Final = (
    "the proxy is there, and finds no server behind it: is that running, on the address of",
    "nginx    proxy_pass http://127.0.0.1:8000;",
    "HAProxy  server one 127.0.0.1:8000     Apache   ProxyPass",
    "if it fails now and then: is there a limit of requests, such as limit_req?",
)
TOO_MANY: Final = (
    "something limits how much is asked, such as limit_req or a CDN: polling asks often",
)
OTHER_HOST: Final = (
    "the server has --allow-host, and this name is not among them: add it, or pass it on:",
    "nginx    proxy_set_header Host $http_host;",
    "Apache   ProxyPreserveHost On",
)
LOGIN: Final = ("bring what it asks for: --header 'Authorization: ...', or --header 'Cookie: ...'",)
FORBIDDEN: Final = (
    *LOGIN,
    "or ask who forbids it: a firewall of the web, a list of addresses, the application itself",
)
PATH: Final = (
    "the url goes to nothing, or has been changed on the way: below the url of a page write",
    "nginx    location /chat/ { proxy_pass http://127.0.0.1:8000; }   with nothing behind the port",
    "Apache   ProxyPass /chat/ http://127.0.0.1:8000/chat/            the same on both sides",
    "and let the .rbr file have it: root /chat;",
)
QUERY: Final = (
    "the query of the url has not come through whole: pass it on",
    "nginx    proxy_pass http://127.0.0.1:8000;   or with $request_uri behind it, not $uri",
    "Apache   RewriteRule without a ? at the end of its target",
)
A_PAGE: Final = (
    "something else answers where sockets should be: a rule for all urls has caught this one, too",
    "nginx    location /socket.io/ { proxy_pass http://127.0.0.1:8000; }   beside  location /",
    "or it is a login: bring what that asks for: --header 'Cookie: ...'",
)
ENCODED: Final = (
    "something in between compresses for those, too, who have not asked for it: let it not",
)
REDIRECTED: Final = (
    "a WebSocket follows no redirect: give clients the url that it leads to;",
    "or if that is of a login, what it asks for: --header 'Cookie: ...'",
)
CACHED: Final = (
    "something in between keeps answers, and gives them to others:",
    "nginx    proxy_cache off;     a CDN: bypass its cache for /socket.io/",
)
STICKY: Final = (
    "let all requests of a client go to one server, by its address or by a cookie:",
    "nginx    upstream chat { ip_hash; server 127.0.0.1:8001; server 127.0.0.1:8002; }",
    "HAProxy  balance source     or  cookie io insert indirect nocache  and  server a ... cookie a",
    "Apache   ProxySet stickysession=ROUTEID  in its <Proxy balancer://...>",
    "or serve by one of ours with --workers, which needs none of that;",
    "or let clients begin with a WebSocket, which is one connection: transports: ['websocket']",
)
UPGRADE: Final = (
    "nginx    proxy_http_version 1.1;",
    "         proxy_set_header Upgrade $http_upgrade;",
    "         proxy_set_header Connection $connection_upgrade;",
    "         with, in http { }: map $http_upgrade $connection_upgrade { default upgrade; '' ''; }",
    "Apache   ProxyPass /socket.io/ http://127.0.0.1:8000/socket.io/ upgrade=websocket",
    "HAProxy  mode http passes it on, unless it deletes the header",
    "python3 -m redbarrel_lite print-config nginx APP.rbr  prints all that belongs there",
)
HANDSHAKE: Final = (
    "something in between takes away fields of the handshake, or answers it itself: let through",
    "Sec-WebSocket-*, Upgrade and Connection, both ways. Is there a list of the fields to keep?",
)
NO_WEBSOCKETS: Final = (
    "a WebSocket fails where other requests are answered: is a firewall or a virus scanner in",
    "between that knows none, or are Upgrade and Connection not passed on, both? Or it is the",
    "server, and its log says more",
)
TUNNEL: Final = (
    "the handshake goes through, and nothing behind it: a proxy that filters WebSockets, or keeps",
    "what should flow. Is a virus scanner or a web application firewall in between?",
)
BODY_LIMIT: Final = (
    "nginx    client_max_body_size 2m;",
    "Apache   LimitRequestBody 2000000",
    "or let the server take less, as clients heed it: max-payload in the .rbr file",
)
MESSAGE_LIMIT: Final = (
    "something in between cuts large messages of WebSockets: raise its limit, or lower max-payload",
)
METHOD: Final = ("the proxy lets no POST through: in nginx look for limit_except",)
BODY: Final = (
    "what is posted has not reached the server: something in between drops or changes the body",
    "nginx    proxy_pass_request_body on;   and no proxy_set_body",
)
BROKEN: Final = ("the log of the proxy, or of the server, says more",)
SLOW: Final = (
    "nothing came: is the server busy (its log names handlers that hold the event loop), or does",
    "something in between keep answers until they are many?  nginx  proxy_buffering off;",
)
SILENT: Final = (
    *SLOW,
    "or is it another url? A server that has sockets only answers nothing else",
)
OLD: Final = (
    "the server speaks an older Engine.IO (socket.io 2): clients must be as old, or it newer",
)
ORIGIN: Final = (
    "the server thinks that it has another name, or is http: let the proxy say, and believe it:",
    "nginx    proxy_set_header Host $http_host;  proxy_set_header X-Forwarded-Proto $scheme;",
    "HAProxy  http-request set-header X-Forwarded-Proto https if { ssl_fc }",
    "Apache   ProxyPreserveHost On  and  RequestHeader set X-Forwarded-Proto https",
    "and us   --trust-proxy 127.0.0.1",
)
OTHER_ORIGIN: Final = (
    "in the .rbr file: allow-origin with this origin; in socket.io: cors: { origin: ... }",
)
QUIET: Final = (
    "something in between gives up before the server's next ping. Let it wait longer:",
    "nginx    proxy_read_timeout 90s;",
    "HAProxy  timeout tunnel 1h  and  timeout server 90s",
    "Apache   ProxyTimeout 90",
    "or let the server speak more often: ping-interval in the .rbr file",
)
DURATION: Final = (
    "something in between ends connections after a while, whatever is said on them: look for such",
    "a limit there. Clients come back by themselves, and miss nothing with recovery in the .rbr",
)

# What statuses say, whatever was asked for.
_BY_STATUS: Final[dict[int, Advice]] = {
    401: LOGIN,
    403: FORBIDDEN,
    404: PATH,
    405: A_PAGE,
    407: LOGIN,
    413: BODY_LIMIT,
    421: OTHER_HOST,
    429: TOO_MANY,
    502: NO_SERVER,
    503: NO_SERVER,
    504: SLOW,
}
# And the codes of Engine.IO. We do say EIO=4: who misses it has not got the query.
_BY_CODE: Final[dict[int, Advice]] = {
    UNKNOWN_SID: STICKY,
    UNKNOWN_TRANSPORT: QUERY,
    UNSUPPORTED_PROTOCOL_VERSION: QUERY,
}
# Servers that say the same in words: the reference to a WebSocket, and python-socketio.
_IN_WORDS: Final = {
    "transport unknown": UNKNOWN_TRANSPORT,
    "invalid transport": UNKNOWN_TRANSPORT,
    "session id unknown": UNKNOWN_SID,
    "invalid session": UNKNOWN_SID,
    "invalid websocket upgrade": BAD_REQUEST,
    "the client is using an unsupported version": UNSUPPORTED_PROTOCOL_VERSION,
}
# In a 400 of nginx, of Go and of Apache.
_TLS_WANTED: Final = re.compile(
    rb"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS|plain HTTP to an SSL", re.I
)
_OLD_HANDSHAKE: Final = re.compile(rb"[0-9]+:0\{")  # a payload of Engine.IO 3
_TITLE: Final = re.compile(r"<title>([^<]*)</title>", re.IGNORECASE)  # of a page
_SHOWN_CHARACTERS: Final = 80


def answered(what: str, head: Response, body: bytes) -> Trouble:
    """The trouble that an answer is which should have been another one."""
    coding = field(head, "content-encoding")
    if coding not in ("", "identity"):
        return Trouble(f"{what} is answered {head.status}{said(head, b'')}, in {coding}", ENCODED)
    text = f"{what} is answered {head.status}{said(head, body)}"
    if 300 <= head.status < 400:
        to = field(head, "location")
        return Trouble(f"{text} to {to}" if to else text, REDIRECTED)
    if head.status < 300:
        return Trouble(text, OLD if _OLD_HANDSHAKE.match(body) else A_PAGE)
    if head.status == 400:
        usual = TLS_BEHIND if _TLS_WANTED.search(body) else BROKEN
        return Trouble(text, _BY_CODE.get(code_of(body), usual))
    return Trouble(text, _BY_STATUS.get(head.status, BROKEN))


def said(head: Response, body: bytes) -> str:
    """The first words of an answer, and who says that it gave it."""
    text = " ".join(body[:1000].decode(errors="replace").split())
    titled = _TITLE.search(text)
    text = titled[1].strip() if titled is not None else text
    text = str(_error_of(body).get("message", text)).removeprefix(f"{head.status} ")
    shown = text[:_SHOWN_CHARACTERS] + ("..." if len(text) > _SHOWN_CHARACTERS else "")
    who = field(head, "server")
    return (f" by {who[:40]}" if who else "") + (f": {shown}" if shown else "")


def field(head: Response, name: str) -> str:
    """A header field of an answer; "" if it has none."""
    return next((value for known, value in head.headers if known == name), "")


def code_of(body: bytes) -> int:
    """The code of an error of Engine.IO; -1 for what is none."""
    code = _error_of(body).get("code")
    if isinstance(code, int):
        return code
    words = body[:1000].decode(errors="replace").strip('" \r\n').lower()
    return next((code for start, code in _IN_WORDS.items() if words.startswith(start)), -1)


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
