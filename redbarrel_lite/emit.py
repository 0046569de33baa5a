"""Emit into the sockets of a server that runs: ``python3 -m redbarrel_lite emit EVENT ARGS``.

What it implements: the request of `emitting`'s page, by TCP or by a Unix socket, and what is
said of its answer. What it leaves out: the page.

In one line::

    asyncio.run(post(UnixSocket("/run/chat.emit"), {"event": "news", "args": ["hello"]}))
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from . import strictjson
from .dial import Dial, Fields, Port, UnixSocket, Visitor, trusting, why
from .emitting import MAX_ACK_S, URL, read_token
from .errors import show

# Beyond what it waits for acknowledgements, in seconds.
PATIENCE_S: Final = 30.0
# The exit status if it was emitted, but not all workers of the server have answered.
IN_PART: Final = 3


class NotEmitted(Exception):
    """The server has refused it; the text says why."""


async def post(
    dial: Dial, order: dict[str, Any], token: bytes | None = None, root: str = ""
) -> dict[str, Any]:
    """Have it emitted; return what the server says of it. Raises `NotEmitted` and OSError."""
    fields: Fields = [("content-type", "application/json")]
    if token is not None:
        fields.append(("authorization", f"Bearer {token.decode()}"))
    content = strictjson.dumps(order)
    async with asyncio.timeout(order.get("ack", 0) + PATIENCE_S):
        head, body = await Visitor(dial).ask("POST", root + URL, fields, content)
    text = body.decode(errors="replace").strip()
    if head.status != 200 and text.startswith(str(head.status)):
        hint = "; was it started with --emit-token-file or --emit-uds?" * (head.status == 404)
        raise NotEmitted(text + hint)
    if head.status != 200 and not text:  # it has no room for one more, for instance
        raise NotEmitted(f"the server answers {head.status}")
    try:
        told = json.loads(text) if head.status == 200 else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("reached"), int):
        raise NotEmitted(f"that is no answer of {URL}: {head.status} {show(text, 200)}")
    return told


def shown(told: dict[str, Any]) -> str:
    """The answer, for people."""
    count = told["reached"]
    lines = [f"reached {count} client{'' if count == 1 else 's'}"]
    for sid, args in told.get("acks", {}).items():
        lines.append(f"{sid}: {_json(args)}")
    lines += (f"{sid}: no acknowledgement" for sid in told.get("silent", ()))
    if "others" in told:
        lines.append(str(told["others"]))
    return "\n".join(lines)


def _json(data: Any) -> str:
    """As people read it; escaped, if the terminal can't show it or might obey it."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(data)
    return text if text.isprintable() else json.dumps(data)


# -- the command line --------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of the command, and `run` as what it does."""
    parser.add_argument("event", metavar="EVENT", help="its name")
    parser.add_argument(
        "args", nargs="*", default=[], metavar="ARG", help="an argument: JSON, or else a text"
    )
    parser.add_argument("--room", metavar="R", help="only to the clients in this room")
    parser.add_argument("--to", metavar="SID", help="only to this client")
    parser.add_argument(
        "--except",
        dest="exceptions",
        action="append",
        metavar="SID",
        help="not to this client; may be repeated",
    )
    parser.add_argument("--namespace", default="/", metavar="N", help="of Socket.IO (%(default)s)")
    parser.add_argument("--volatile", action="store_true", help="only to who is ready for it")
    parser.add_argument(
        "--ack", type=_seconds, metavar="S", help="wait so long for acknowledgements, and show them"
    )
    parser.add_argument("--json", action="store_true", help="print the server's answer as it is")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--url", default="http://127.0.0.1:8000", help="of the server, with its root (%(default)s)"
    )
    where.add_argument("--uds", metavar="PATH", help="its Unix socket, as --emit-uds names it")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="as --emit-token-file names it"
    )
    parser.add_argument("--cafile", metavar="FILE", help="trust the certificates in this file")
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= MAX_ACK_S:
        what = f"{text!r} is no number of seconds, more than 0 and up to {MAX_ACK_S}"
        raise argparse.ArgumentTypeError(what)
    return seconds


def _argument(text: str) -> Any:
    """As JSON, if it is that; or the text that it is."""
    try:
        return strictjson.loads_text(text)
    except ValueError:
        return text


def _order(options: argparse.Namespace) -> dict[str, Any]:
    members = ("event", "room", "to", "exceptions", "namespace", "ack")
    order = {name: getattr(options, name) for name in members}
    order |= {"args": [_argument(one) for one in options.args], "volatile": options.volatile}
    return {name: value for name, value in order.items() if value is not None}


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    url = options.url if "://" in options.url else f"http://{options.url}"
    # An empty path is that of a variable that nobody has set: no other server is meant.
    by_tcp = options.uds is None
    place = url if by_tcp else options.uds or "--uds"
    try:
        token = read_token(options.token_file) if options.token_file else None
        tls = trusting(options.cafile)
        dial: Dial = Port(url, tls) if by_tcp else UnixSocket(options.uds)
        root = urlsplit(url).path.rstrip("/") if by_tcp else ""
        told = asyncio.run(post(dial, _order(options), token, root))
    except (NotEmitted, TimeoutError, ValueError) as error:
        return _fail(str(error) or "no answer came in time")
    except OSError as error:
        return _fail(f"{error.filename or place}: {why(error)}")
    answer = _json(told) if options.json else shown(told)
    sys.stdout.write(answer + "\n")
    if "workers" not in told:
        return 0
    who = "{silent} of {of} workers".format(**told["workers"])
    what = "their clients are not counted, and may hear it later"
    sys.stderr.write(f"warning: {who} did not answer in time: {what}\n")
    return IN_PART


def _fail(what: str) -> int:
    sys.stderr.write(f"error: {what}\n")
    return 1
