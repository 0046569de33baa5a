"""From the options of serving to a running server, and to its end.

What it implements: opening what the options name, putting a server together, alone or as one
of several workers, and the end of the process, whatever the application's threads still do.
What it leaves out: the options themselves (`options`), and what is said and read again while
the server runs, which is `keeper`.

In one line::

    status = serve(options)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Final, NoReturn

from .accesslog import FORMATS, Entry
from .app import App, Page
from .cluster import Cluster
from .emitting import Desk, read_token
from .errors import RbrError
from .failures import fail, tell
from .forwarded import trust
from .gate import Gate, host_names, usual_names
from .http1 import Limits
from .keeper import Keeper
from .listener import Address, SocketFile, bind, make_room, urls
from .patience import TimeLimits
from .post import Post, WorkerKeeper, attend
from .server import BEGUN, Server
from .succession import NextApp
from .systemd import NotANumber, Notifier, inherited_sockets
from .tap import Tap
from .upstream import Upstream
from .watchdog import watching
from .workers import Supervisor

if TYPE_CHECKING:
    from .reload import Reloader
    from .status import Status

MAX_OPEN_FILES: Final = 1 << 20
THREADS_END_S: Final = 0.5
PIPE_BYTES: Final = 4096
WRONG_USE: Final = 2  # as argparse ends


def serve(options: argparse.Namespace) -> int:
    """Serve until a signal; return the exit status."""
    _log_to_stderr(debug=options.debug)
    try:
        options.sockets = inherited_sockets(os.environ)
        options.notifier = Notifier(os.environ)
    except NotANumber as error:
        tell(f"error: {error}")
        return WRONG_USE
    except ValueError as error:
        return fail(f"error: LISTEN_FDS: {error}")
    options.is_last = options.is_hung_up = False
    options.folder = Path()
    with contextlib.suppress(OSError):  # it has gone
        options.folder = Path.cwd()
    if options.workers > 1 and not hasattr(os, "fork"):
        tell("warning: --workers: there is one, for this system can't share a port")
        options.workers = 1
    if options.workers == 1:
        _remember_hangups(options)
        return _work(options, None)
    try:
        outcome = _supervise(options)
    except OSError as error:
        return _cannot_serve(options, error)
    if isinstance(outcome, int):
        return outcome
    with contextlib.closing(outcome):
        who = f"worker {outcome.seat.number} (process {os.getpid()}): "
        _log_to_stderr(debug=options.debug, who=who)
        return _work(options, outcome)


def _remember_hangups(options: argparse.Namespace) -> None:
    """SIGHUP may come before there is a server to obey it, and would end us."""

    def remember(*_: object) -> None:
        options.is_hung_up = True

    if hasattr(signal, "SIGHUP"):  # Windows
        signal.signal(signal.SIGHUP, remember)


def _supervise(options: argparse.Namespace) -> int | Post:
    """What `Supervisor.run` returns, twice: to the parent its status, to each worker its post."""
    is_ours = not options.sockets
    address = Address(options.host, options.port, options.uds)
    sockets = options.sockets or bind(address)
    scheme = "http" if options.certfile is None else "https"
    file = SocketFile.of(options.uds) if is_ours and options.uds else None
    supervisor = Supervisor(sockets, file, options.workers, options.grace, options.notifier)
    outcome = supervisor.run(urls(scheme, sockets))
    if isinstance(outcome, int) and options.emit_uds:
        with contextlib.suppress(OSError):
            make_room(options.emit_uds)  # a worker that was killed has left it
    options.sockets, options.is_last = sockets, is_ours
    options.notifier = Notifier({})  # the supervisor speaks for all
    return outcome


def _work(options: argparse.Namespace, post: Post | None) -> int:
    """Serve, alone or as one of several."""
    status = _status(options)
    own = status.pages if status is not None else None
    options.begun_ns = time.time_ns()
    try:
        app = App.load(
            _files(options), Upstream, doc=not options.no_doc, pages=_pages(options), own=own
        )
    except RbrError as error:
        return fail(str(error), error.__cause__)
    except OSError as error:
        return fail(f"error: {error.filename}: {error.strerror}")
    if post is None or post.is_first:
        for line in (*app.warnings, *app.hooked):
            tell(str(line))
    try:
        options.tls = _tls(options)
    except (OSError, ValueError) as error:
        return fail(f"error: --certfile, --keyfile: {error}")
    kind = Server if status is None else status.serving
    server = kind(app, _time_limits(options), _access_log(options.log), _gate(options))
    del app  # or it would be here still, when another one has come after it
    server.tap = _tap(options)
    if post is None or post.is_doorman:
        server.emits_on = options.emit_uds or ""
    _raise_limit_of_open_files()
    try:
        asyncio.run(_serve_until_signal(server, options, post), debug=options.debug or None)
    except RbrError as error:
        return fail(str(error), error.__cause__)
    except OSError as error:
        return _cannot_serve(options, error)
    return 0


# What to do about what the system says.
_TO_DO: Final = {
    os.strerror(errno.EADDRINUSE): "; end who serves there, or name another place",
    os.strerror(errno.EADDRNOTAVAIL): "; --host is an address of this machine, or 0.0.0.0 for all",
    os.strerror(errno.EACCES): "; for ports below 1024 one needs CAP_NET_BIND_SERVICE, for a path"
    " a folder where one may write",
    os.strerror(errno.EEXIST): "; it is no socket, and stays: name another path",
    os.strerror(errno.ENOENT): "; make its folder first",
}


def _cannot_serve(options: argparse.Namespace, error: OSError) -> int:
    # asyncio wraps the system's words into a sentence of its own.
    number = error.errno
    if number is None and "could not bind" in str(error):  # so it is since Python 3.13
        number = errno.EADDRNOTAVAIL
    why = os.strerror(number) if number and number > 0 else error.strerror or str(error)
    where = options.uds or f"{options.host}:{options.port}"
    if options.sockets:
        where = "the sockets of LISTEN_FDS"
    return fail(f"error: can't serve on {error.filename or where}: {why}{_TO_DO.get(why, '')}")


def _files(options: argparse.Namespace) -> list[Path]:
    """The files to serve; with --debug, the page of the wire is one more, and so on."""
    files = [_from_start(options, one) for one in options.apps]
    if options.debug:
        from .wirepage import FILE  # noqa: PLC0415  # in production nobody pays for it

        files.append(FILE)
    if options.reload:
        from .reload import FILE as RELOAD  # noqa: PLC0415  # as above

        files.append(RELOAD)
    return files


def _from_start(options: argparse.Namespace, file: Path) -> Path:
    """What was named at the start, as it is called in the folder where the application is now."""
    with contextlib.suppress(OSError):
        if file.is_absolute() or Path.cwd() == options.folder:
            return file
    folder: Path = options.folder
    return folder / file


def _pages(options: argparse.Namespace) -> list[Page]:
    """What the server answers beside the files. Raises OSError."""
    if options.emit_token_file is None:
        return []
    return [Desk(read_token(_from_start(options, options.emit_token_file))).route]


def _show_wire(server: Server, options: argparse.Namespace) -> None:
    from .wirepage import LOOPBACK, show  # noqa: PLC0415  # as above

    show(server, trust([*LOOPBACK, *options.wire_to]))


def _status(options: argparse.Namespace) -> Status | None:
    """The pages of --status; None, and nothing to pay, without it."""
    if not options.status:
        return None
    from .status import Status  # noqa: PLC0415  # as above

    return Status(trust(options.status_to))


def _tap(options: argparse.Namespace) -> Tap | None:
    """What --trace and --debug watch connections by; None, and nothing to pay, without them."""
    if options.trace is None:
        return Tap() if options.debug else None
    from .drawing import pen_for  # noqa: PLC0415  # as above
    from .trace import Tracer  # noqa: PLC0415

    return Tap(Tracer(tell, options.trace, pen_for(sys.stderr)))


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    """What --certfile and --keyfile ask for: the library's own choice, TLS 1.2 at least.

    Raises OSError or ValueError for files that are no certificate and its key.
    """
    if options.certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = (options.certfile, options.keyfile or options.certfile)
    certificate, key = (_from_start(options, Path(one)) for one in files)
    for one in (certificate, key):
        with one.open("rb"):  # OpenSSL's error does not name the file
            pass

    def refuse() -> str:  # OpenSSL would ask at the terminal, with the loop held until it is told
        raise ValueError(f"{key} is encrypted: `openssl pkey -in {key}` prints it as it must be")

    try:
        context.load_cert_chain(certificate, key, refuse)
    except ssl.SSLError as error:
        what = f"{certificate} is no certificate in PEM, or {key} has not its key"
        if error.reason not in (None, "KEY_VALUES_MISMATCH"):  # None: it says "PEM lib"
            why = error.reason.replace("_", " ").lower()
            what = f"{certificate}, {key}: TLS refuses this: {why}"
        raise ValueError(what) from None
    return context


def _load_again(options: argparse.Namespace, before: App, *, anew: bool = False) -> NextApp:
    doc, pages = not options.no_doc, _pages(options)
    files = _files(options)
    return NextApp.load(files, Upstream, doc=doc, pages=pages, before=before, anew=anew)


def _reloader(server: Server, options: argparse.Namespace, keeper: Keeper) -> Reloader:
    from .reload import Reloader  # noqa: PLC0415  # as above

    files = [_from_start(options, one).absolute() for one in options.apps]
    load = partial(_load_again, options, anew=True)
    return Reloader(server, keeper, files, load, options.begun_ns)


async def _serve_until_signal(
    server: Server, options: argparse.Namespace, post: Post | None
) -> None:
    # asyncio's own, for what looks up names and for `asyncio.to_thread`; held, so as to end it.
    executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
    asyncio.get_running_loop().set_default_executor(executor)
    with contextlib.ExitStack() as stack:

        def begun() -> None:
            if options.is_hung_up:
                server.renew()
            if options.debug:
                _show_wire(server, options)
            if reloader is not None:
                stack.enter_context(reloader.following())
            stack.enter_context(watching(options.watchdog))

        new_keeper: Callable[..., Keeper] = Keeper
        if post is not None:
            attend(server, post)
            new_keeper = partial(WorkerKeeper, post)
        load = partial(_load_again, options)
        keeper = new_keeper(server, load, lambda: _tls(options), options.notifier, begun)
        reloader = _reloader(server, options, keeper) if options.reload else None
        where = options.host, options.port, options.uds, options.tls, options.sockets
        address = Address(*where, is_last=options.is_last)
        limit = partial(_limit_beginning, server, options.grace)
        threading.Thread(target=limit, name="beginning", daemon=True).start()
        async with _backplane(server, options):
            await server.serve(address, keeper, options.grace)
    # The grace is over. What is left would keep asyncio, or Python itself, from ending.
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        left = (await asyncio.wait(left, timeout=0.1))[1]
    executor.shutdown(wait=False)
    threads = _threads_at_work()
    if left or threads:
        _leave_behind(f"Some {'threads' if threads else 'tasks'} have not ended")


def _limit_beginning(server: Server, grace: float) -> None:
    """A `def` that makes a global holds the loop, and nothing ends it but the process."""
    if server.begins.get() == BEGUN:
        return
    try:
        server.begins.get(timeout=grace)
    except Empty:
        _leave_behind("Some globals have not ended")


def _leave_behind(what: str) -> NoReturn:
    tell(f"{what}: left behind.")
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(0)


def _backplane(
    server: Server, options: argparse.Namespace
) -> contextlib.AbstractAsyncContextManager[object]:
    """What --redis asks for."""
    if options.redis is None:
        return contextlib.nullcontext()
    from .backplane import Backplane  # noqa: PLC0415  # as above

    server.cluster = server.cluster or Cluster()
    return Backplane(
        server.cluster, options.redis, options.redis_channel or "", options.redis_emitter or ""
    )


def _threads_at_work() -> bool:
    """Whether a thread keeps Python from ending; idle ones have been told, and need a moment."""
    end = time.monotonic() + THREADS_END_S
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                return True
    return False


def _raise_limit_of_open_files() -> None:
    """Each client is an open file, and the usual soft limit is 1024 of them."""
    try:
        import resource  # noqa: PLC0415  # Windows has none, and no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if 0 <= soft < most:
        with contextlib.suppress(OSError, ValueError):  # macOS: less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _time_limits(options: argparse.Namespace) -> TimeLimits:
    return TimeLimits(
        head=options.head_timeout,
        body=options.body_timeout,
        idle=options.idle_timeout,
        write=options.write_timeout,
    )


def _usual_names(options: argparse.Namespace) -> frozenset[str]:
    hosts = ["" if options.uds else options.host]
    if options.sockets:
        hosts = [one.getsockname()[0] for one in options.sockets if one.family != socket.AF_UNIX]
    names = [usual_names(host, debug=options.debug or options.reload) for host in hosts]
    return names[0] if names and all(names) else frozenset()


def _gate(options: argparse.Namespace) -> Gate:
    return Gate(
        host_names(options.allow_host) or _usual_names(options),
        trust(options.trust_proxy),
        options.max_connections,
        options.max_per_address,
        Limits(options.max_line, options.max_head, options.max_fields),
    )


def _access_log(name: str) -> Callable[[Entry], None] | None:
    form = FORMATS[name]
    if form is None:
        return None
    lines: list[str] = []

    def write() -> None:
        # Into a pipe that several workers have, so much goes in one piece (pipe(7)).
        while lines:
            size = count = 0
            for line in lines:
                size += len(line) + 1
                if count and size > PIPE_BYTES:
                    break
                count += 1
            tell("\n".join(lines[:count]))
            del lines[:count]

    def note(entry: Entry) -> None:
        # One write for all that is answered in a turn of the loop: the system's call
        # costs more than making the line does.
        if not lines:
            asyncio.get_running_loop().call_soon(write)
        lines.append(form(entry))

    return note


def _log_to_stderr(*, debug: bool, who: str = "") -> None:
    """Our own log, and nobody else's: the application's `logging` is left alone."""
    log = logging.getLogger("redbarrel_lite")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"{who}%(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if debug else logging.INFO)
