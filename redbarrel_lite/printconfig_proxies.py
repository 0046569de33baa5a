"""The files of nginx and HAProxy for an application that is behind them.

What it implements: WebSockets and polls through a proxy (RFC 6455 4.1, RFC 9110 7.8), times
and sizes that fit those of the application, who the client is (the X-Forwarded fields that
`forwarded` reads), a url below that of the application, TLS, several machines. What it
leaves out: everything that these programs can do for any server.

In one line::

    ((path, text),) = nginx(site)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from .printconfig_site import Site, about_password, because

KEPT: Final = 16  # connections to the server that wait to be used again
KEPT_S: Final = 20  # less than --idle-timeout

_IDLE: Final = (
    "Less than the server's --idle-timeout, or a request would at times be sent to a connection"
    " that is just being closed."
)
_ALONE: Final = (
    "What a client writes into these fields itself must not go on: the server believes its"
    " proxy. The Origin of a page is compared with this scheme and this host."
)
_SILENCE: Final = (
    "A socket that is well may be silent for its ping-interval and its ping-timeout together;"
    " this is twice that, or a minute."
)
_STICKY: Final = (
    "A client that polls must come to the machine that has its session, each time. Which of its"
    " workers answers there does not matter."
)
_BELOW: Final = (
    "The application does not know where it is: its urls begin without the prefix, and its pages"
    ' name what they load by relative urls, such as "socket.io/socket.io.js".'
)
_LED: Final = (
    "Where the server leads to one of its own urls, the prefix is put before it, if it is not there"
    " yet: with the host that was asked for, or without one. What begins with // is another host's."
)


def _head(site: Site, path: str, *words: str) -> Iterator[str]:
    yield f"# {path}"
    yield from because("", " ".join(words))
    yield from because("", "The server behind it is started by:")
    over: list[str] = []
    unknown = []
    if site.servers:
        ports = {server.rpartition(":")[2] for server in site.servers}
        port = ports.pop() if len(ports) == 1 else "PORT"
        everywhere = "::" if all(one.startswith("[") for one in site.servers) else "0.0.0.0"  # noqa: S104
        options = ["--host", everywhere, "--port", port]
        options += ["--trust-proxy", *(site.trusted or ["PROXY"])]
        unknown += ["PORT is the one of the machine"] * (port == "PORT")
        unknown += ["PROXY is the address from which this proxy comes"] * (not site.trusted)
    else:
        options = [*site.listening(), *site.trusting()]
    if len(site.servers) > 1 and site.silence_s and not site.redis:
        over = ["--redis", "redis://REDIS"]
        unknown.append("REDIS is where the machines tell each other what is broadcast")
    yield f"#     python3 {shlex.join(site.serving(*options) + over)}"
    if unknown:
        yield from because("", f"where {', and '.join(unknown)}.")
    yield from about_password(site)
    yield ""


# -- nginx -------------------------------------------------------------------------------


def nginx(site: Site) -> Iterator[tuple[str, str]]:
    """A site of nginx."""
    path = f"/etc/nginx/sites-available/{site.name}"
    lines = [
        *_head(
            site,
            path,
            "A link in /etc/nginx/sites-enabled makes it count, `nginx -t` checks it, `systemctl"
            " reload nginx` takes it over. A client that is connected takes two of"
            " `worker_connections`, in nginx.conf.",
        ),
        *_nginx_connection(site),
        *_nginx_upstream(site),
        *(_nginx_to_https(site) if site.certfile else ()),
        *_nginx_server(site),
    ]
    yield path, "\n".join(lines) + "\n"


def _variable(site: Site) -> str:
    return re.sub(r"\W", "_", site.name) + "_connection"


def _nginx_connection(site: Site) -> Iterator[str]:
    yield from because(
        "",
        "Connection is about one hop. To the server it asks for a WebSocket where the client has"
        " asked for one, and is empty else: then the connection can be used again.",
        f"map $http_upgrade ${_variable(site)} {{",
        '    default       "";',
        "    ~*^websocket$ upgrade;",
        "}",
        "",
    )


def _nginx_upstream(site: Site) -> Iterator[str]:
    yield f"upstream {site.name} {{"
    if len(site.servers) > 1 and site.polled:
        yield from because(
            "    ",
            f"{_STICKY} So the client's address chooses it; the last proxy before the clients must"
            " do this, for behind it all come from one address.",
            "hash $remote_addr consistent;",
        )
    local = f"unix:{site.uds}" if site.uds else site.near
    servers = site.servers or (local,)
    if len(servers) > 1:
        yield from because(
            "    ",
            "Where it listens. When one request fails, say since a worker has died, the machine is"
            " not away: max_fails=1, which is usual, would send its other clients elsewhere.",
            *(f"server {one} max_fails=0;" for one in servers),
        )
    else:
        yield from because("    ", "Where it listens.", f"server {servers[0]};")
    yield from because(
        "    ", "So many connections wait to be used again, when nothing is asked.",
        f"keepalive {KEPT};",
    )  # fmt: skip
    yield from because("    ", _IDLE, f"keepalive_timeout {KEPT_S}s;")
    yield from ("}", "")


def _nginx_names(site: Site) -> Iterator[str]:
    if site.names:
        why = "The names by which clients ask for it; --allow-host tells them."
    else:
        why = (
            "Its names are for --allow-host to tell. Without one it is asked only where no other"
            " site is the default; that of Debian, sites-enabled/default, is one."
        )
    yield from because("    ", why, f"server_name {' '.join(site.names) or '_'};")


def _nginx_to_https(site: Site) -> Iterator[str]:
    yield from ("server {", "    listen 80;", *_nginx_names(site))
    yield from because(
        "    ",
        "Who comes without TLS is sent to the same url with it.",
        "return 301 https://$host$request_uri;",
    )
    yield from ("}", "")


def _nginx_server(site: Site) -> Iterator[str]:
    yield "server {"
    if site.certfile:
        yield from (
            "    listen 443 ssl;",
            f"    ssl_certificate     {site.certfile};",
            f"    ssl_certificate_key {site.keyfile or site.certfile};",
        )
    else:
        yield "    listen 80;"
    yield from _nginx_names(site)
    yield from because(
        "    ",
        "The largest body that any path takes: its `max-body`, or `max-payload` of polled sockets."
        " The server refuses what is too large for the single path.",
        f"client_max_body_size {site.body_bytes};",
        "",
    )
    yield from because(
        "    ",
        "nginx itself would speak HTTP/1.0 to the server, which has neither WebSockets nor"
        " connections that last.",
        "proxy_http_version 1.1;",
        "proxy_set_header Upgrade    $http_upgrade;",
        f"proxy_set_header Connection ${_variable(site)};",
    )
    yield from because(
        "    ",
        _ALONE,
        "proxy_set_header Host              $http_host;",
        'proxy_set_header Forwarded         "";',
        "proxy_set_header X-Forwarded-For   $remote_addr;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "proxy_set_header X-Forwarded-Host  $http_host;",
    )
    yield from because(
        "    ",
        "A part of an answer goes on at once. The server is made for many clients that are slow.",
        "proxy_buffering off;",
    )
    yield from because("    ", _SILENCE, f"proxy_read_timeout {site.patience_s}s;", "")
    yield from _nginx_locations(site)
    yield "}"


def _nginx_locations(site: Site) -> Iterator[str]:
    to = f"proxy_pass http://{site.name}"
    here = "$scheme://$http_host"
    if site.prefix:
        regex = site.prefix.replace(".", "[.]")
        yield from because(
            "    ",
            _BELOW,
            f"location = {site.prefix} {{",
            f"    return 308 $scheme://$http_host{site.prefix}/$is_args$args;",
            "}",
            f"location {site.prefix}/ {{",
        )
        yield from because("        ", "With a slash behind the name the prefix is cut.", f"{to}/;")
        yield from because(
            "        ",
            _LED,
            f"proxy_redirect {here}{site.prefix}/ {here}{site.prefix}/;",
            f"proxy_redirect {here}/ {here}{site.prefix}/;",
            f'proxy_redirect "~^/(?!/|{regex[1:]}/)(.*)$" {site.prefix}/$1;',
        )
        yield "    }"
        return
    for root in site.roots:
        if root:  # a prefix alone would be that of other words, too
            yield f"    location = {root} {{ {to}; }}"
        yield f"    location {root}/ {{ {to}; }}"


# -- HAProxy -----------------------------------------------------------------------------


def haproxy(site: Site) -> Iterator[tuple[str, str]]:
    """A whole configuration of HAProxy, 2.4 or newer."""
    path = "/etc/haproxy/haproxy.cfg"
    lines = [
        *_head(
            site,
            path,
            f"`haproxy -c -f {path}` checks it, `systemctl reload haproxy` takes it over: sockets"
            " stay with the process of before until they end. How many clients there may be it"
            " reckons from the files that it may open; each takes two.",
        ),
        *_haproxy_defaults(site),
        *_haproxy_frontend(site),
        *_haproxy_backend(site),
    ]
    yield path, "\n".join(lines) + "\n"


def _haproxy_defaults(site: Site) -> Iterator[str]:
    yield "global"
    yield from because(
        "    ",
        "It starts as root, for the port and the key, and goes on as somebody who may nothing.",
        "user haproxy",
        "group haproxy",
    )
    yield from ("", "defaults", "    mode http")
    yield from because("    ", "To get to the server.", "timeout connect 5s")
    yield from because("    ", "For the head of a request.", "timeout http-request 10s")
    yield from because("    ", "For a client's next request.", f"timeout http-keep-alive {KEPT_S}s")
    yield from because(
        "    ",
        f"{_SILENCE} The first two are for polls, the third for WebSockets.",
        f"timeout client {site.patience_s}s",
        f"timeout server {site.patience_s}s",
        f"timeout tunnel {site.patience_s}s",
    )
    yield from because(
        "    ", "For a client that has gone without a word.", "timeout client-fin 10s", ""
    )  # fmt: skip


def _haproxy_frontend(site: Site) -> Iterator[str]:
    yield from (f"frontend {site.name}_clients", "    bind :80")
    if site.certfile:
        yield from because(
            "    ",
            f"The certificate, and its key in the same file or in {site.certfile}.key.",
            f"bind :443 ssl crt {site.certfile}",
        )
        yield from because(
            "    ",
            "Who comes without TLS is sent to the same url with it.",
            "http-request redirect scheme https code 301 unless { ssl_fc }",
        )
    yield from because(
        "    ",
        _ALONE,
        "http-request del-header Forwarded",
        "http-request set-header X-Forwarded-For %[src]",
        "http-request set-header X-Forwarded-Host %[req.hdr(host)]",
        "http-request set-header X-Forwarded-Proto http",
        "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
    )
    if site.prefix:
        yield from because(
            "    ",
            _BELOW,
            f"http-request redirect code 308 location %[url,regsub(^{site.prefix},{site.prefix}/)]"
            f" if {{ path {site.prefix} }}",
        )
    below = [site.prefix] if site.prefix else list(site.roots)
    if "" in below:
        yield f"    default_backend {site.name}"
    else:
        below = [quote(root, safe="/~@:+=") for root in below]  # as they are sent
        urls = " ".join(f"{root}/" for root in below)
        also = "" if site.prefix else f" or {{ path {' '.join(below)} }}"
        yield f"    use_backend {site.name} if {{ path_beg {urls} }}{also}"
    yield ""


def _haproxy_backend(site: Site) -> Iterator[str]:
    yield f"backend {site.name}"
    if site.prefix:
        regex = site.prefix.replace(".", "[.]")
        yield from because(
            "    ",
            "The prefix is cut.",
            f"http-request replace-path ^{regex}(/.*) \\1",
        )
        yield from because(
            "    ",
            _LED,
            "http-request set-var(txn.host) req.hdr(host)",
            "acl is_ours res.fhdr(Location) -m reg ^/([^/]|$)",
            "acl is_ours res.fhdr(Location),field(3,/),strcmp(txn.host) eq 0",
            f"acl is_below res.fhdr(Location) -m reg ^(https?://[^/]*)?{regex}/",
            "http-response replace-header Location ^(https?://[^/]*)?(/.*)$"
            f" \\1{site.prefix}\\2 if is_ours !is_below",
        )
    if len(site.servers) > 1:
        yield from _haproxy_machines(site)
        return
    yield from because(
        "    ",
        "It is not asked whether it is there: while it starts again, systemd keeps who comes.",
    )
    local = f"unix@{site.uds}" if site.uds else site.near
    yield f"    server {site.name} {(*site.servers, local)[0]}"


def _haproxy_machines(site: Site) -> Iterator[str]:
    if site.polled:
        secure = " secure" * bool(site.certfile)
        yield from because(
            "    ",
            f"{_STICKY} A browser tells by a cookie which that is; who keeps no cookies comes to it"
            " by his address.",
            "balance source",
            "hash-type consistent",
            f"cookie {site.name}_machine insert indirect nocache httponly{secure}",
        )
    host = site.names[0] if site.names else "localhost"
    yield from because(
        "    ",
        "A machine that does not answer gets no clients.",
        "option httpchk",
        f"http-check send meth GET uri /__health__ ver HTTP/1.1 hdr Host {host}",
    )
    for number, address in enumerate(site.servers, 1):
        cookie = f" cookie {number}" * site.polled
        yield f"    server {site.name}{number} {address} check{cookie}"
