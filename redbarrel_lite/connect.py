"""A terminal that talks to a server: ``python3 -m redbarrel_lite connect URL``.

What it implements: lines that are typed, lines that come meanwhile, and the end of either. It
needs a terminal no more than a server does: from a pipe it reads a script. What it leaves
out: what the lines mean (`conversations`).

In one line::

    connect(Way("ws://127.0.0.1:8000/ws"), "websocket")
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TextIO

from .conversations import KINDS, Conversation, Mistyped, Way, header_of, kind_of
from .dial import trusting, why
from .dial_socket import TRANSPORTS, UPGRADE
from .drawing import pen_for
from .errors import SocketClosed
from .failures import end_unread
from .tap import Tap
from .testing_sync import Loop
from .trace import EXPLAIN, JSON, LINES, ClientTracer

PROMPT = "> "
ONCE_MORE_S = 0.1


class Terminal:
    """Where lines are read, and where others appear meanwhile, above what is being typed."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.is_interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self.unsent = ""  # what was being typed when it was interrupted
        self._is_asking = False
        self._typed: Callable[[], str] = str
        if self.is_interactive:
            # Whoever started us may have it ignored, as a shell does for what is in its background.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with contextlib.suppress(ImportError):  # Windows has none: lines can be typed, too
                import readline  # noqa: PLC0415  # it takes hold of the terminal

                self._typed = readline.get_line_buffer

    def ask(self, is_over: Callable[[], bool]) -> str | None:
        """The next line that is typed; None at the end. Raises KeyboardInterrupt.

        On a terminal nobody is asked for another line after the end of what he talks to.
        """
        try:
            self._is_asking = True
            if self.is_interactive and is_over():
                return None
            return input(PROMPT if self.is_interactive else "")
        except EOFError:
            return None
        finally:
            self._is_asking = False

    def show(self, text: str) -> None:
        """Print lines; what is being typed moves below them. From any thread."""
        if self.is_interactive and self._is_asking:
            # To the margin, clear the line; then the prompt again, and what was typed.
            text = f"\r\x1b[K{text}\n{PROMPT}{self._typed()}"
        else:
            text += "\n"
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:  # a server's is another one
            end_unread()

    def interrupt(self) -> None:
        """Let `ask` return, as Ctrl+C does. From the loop's thread."""
        if self.is_interactive and self._is_asking and hasattr(signal, "pthread_kill"):
            self.unsent = self._typed()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            # A signal that comes while a key is taken is seen with the next one.
            asyncio.get_running_loop().call_later(ONCE_MORE_S, self.interrupt)


def connect(way: Way, kind: str, trace: str = "") -> int:
    """Talk until the input or the connection ends; return the exit status.

    ``trace`` is a form of `trace`, or none. 0 is well, 1 is no connection, one that did not end
    well, or a script of which something could not be done. Raises ValueError for a url that is
    none.
    """
    # A program that reads lines of JSON wants nothing else.
    is_data = trace == JSON and not sys.stdout.isatty()
    terminal = Terminal(sys.stderr if is_data else sys.stdout)
    if trace:
        write = Terminal(sys.stdout).show if is_data else terminal.show
        way = replace(way, tap=Tap(ClientTracer(write, trace, pen_for(sys.stdout))))
    loop = Loop()
    try:
        talk = KINDS[kind](way, terminal.show)
        try:
            terminal.show(loop.run(talk.open()))
            if terminal.is_interactive:
                terminal.show(f"A line {talk.says}; /help says what else there is, /quit ends.")
        except OSError as error:
            terminal.show(f"! {way.url}: {why(error)}" if error.errno else f"! {error}")
            return 1
        listening = loop.call(_listen, talk, terminal)
        is_done = _converse(terminal, loop, talk)
        talk.has_quit = True
        try:
            loop.run(talk.close())
        except OSError as error:
            terminal.show(f"! {error}")
            is_done = False
        loop.run(_end(listening))
        return 0 if is_done and talk.ended_well() else 1
    finally:
        loop.close()


def _listen(talk: Conversation, terminal: Terminal) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(talk.listen())
    task.add_done_callback(lambda _: terminal.interrupt())
    return task


async def _end(listening: asyncio.Task[None]) -> None:
    """What came before the end has been shown; who listens to a server that says nothing, stop."""
    _, pending = await asyncio.wait([listening], timeout=0)
    for task in pending:
        task.cancel()


def _converse(terminal: Terminal, loop: Loop, talk: Conversation) -> bool:
    """Do what is typed, line by line; return whether all of it could be done.

    What is mistyped on a terminal is seen there, and typed again.
    """
    is_done = True
    try:
        while not talk.has_quit and (line := terminal.ask(lambda: talk.is_over)) is not None:
            if not line.strip():
                continue
            if talk.is_over:
                terminal.unsent = line
                break
            try:
                loop.run(talk.take(line))
            except (Mistyped, OSError, SocketClosed, ValueError) as error:
                terminal.show(f"! {error}")
                is_done = is_done and terminal.is_interactive
    except KeyboardInterrupt:
        terminal.show("")  # the line stays as it is
    if talk.is_over and terminal.unsent.strip():
        terminal.show(f"! the connection has ended; not sent, nor what follows: {terminal.unsent}")
        return False
    return is_done


# -- the command line --------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of the command, and `run` as what it does."""
    parser.add_argument(
        "url", metavar="URL", help="ws://HOST/PATH, or http://HOST/socket.io/, or any http:// url"
    )
    parser.add_argument(
        "--as", dest="kind", choices=KINDS, help="what to speak (as the url's scheme and path say)"
    )
    parser.add_argument(
        "--transport", choices=TRANSPORTS, default=UPGRADE, help="of Engine.IO (%(default)s)"
    )
    parser.add_argument("--namespace", default="/", help="of Socket.IO (%(default)s)")
    parser.add_argument("--auth", type=_auth, metavar="JSON", help="for the namespace: an object")
    parser.add_argument(
        "--subprotocol", action="append", default=[], metavar="NAME", help="of a WebSocket"
    )
    parser.add_argument(
        "--trace",
        choices=(LINES, EXPLAIN, JSON),
        metavar="FORM",
        help="show the wire, too: a line a layer; =explain: its bytes; =json",
    )
    add_company(parser)
    parser.set_defaults(run=run)


def add_company(parser: argparse.ArgumentParser) -> None:
    """What goes along to a server, and whom to trust there: `doctor` takes it, too."""
    parser.add_argument(
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="NAME: VALUE",
        help="goes along with each request; may be repeated",
    )
    parser.add_argument("--cafile", metavar="FILE", help="trust the certificates in this file")


def _auth(text: str) -> dict[str, Any]:
    try:
        auth = json.loads(text)
    except ValueError:
        auth = None
    if not isinstance(auth, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no object of JSON, such as {{"token": "x"}}')
    return auth


def _header(text: str) -> tuple[str, str]:
    try:
        return header_of(text)
    except Mistyped as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check_meaning(options: argparse.Namespace, kind: str) -> None:
    """Raise ValueError for an option that means nothing to what is spoken."""
    for name, unsaid, meant in (
        ("auth", None, "socketio"),
        ("namespace", "/", "socketio"),
        ("subprotocol", [], "websocket"),
    ):
        if getattr(options, name) != unsaid and kind != meant:
            raise ValueError(f"--{name} is for {meant}, and this url is {kind}; see --as")


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    url = options.url if "://" in options.url else f"http://{options.url}"
    try:
        way = Way(
            url,
            options.transport,
            options.namespace,
            options.auth,
            tuple(options.header),
            tuple(options.subprotocol),
            trusting(options.cafile),
        )
        kind = options.kind or kind_of(url)
        _check_meaning(options, kind)
        return connect(way, kind, options.trace or "")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
