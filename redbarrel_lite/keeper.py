"""Who keeps a server running for the command line: says what it does, and reads files again.

What it implements: what the user sees of a server that begins, is told of changes (SIGHUP)
and ends, and systemd, if it is the one who asked for it. What it leaves out: signals, and
the change itself, which are the server's.

In one line::

    await server.serve(address, Keeper(server, load, load_tls, notifier, watch), grace)
"""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from .app import App
from .errors import RbrError
from .failures import is_its_own, tell, user_traceback
from .modules import modules_now, restore_modules
from .server import Server
from .succession import NextApp
from .systemd import Notifier
from .watchdog import unwatched

STAYS: Final = "The application of before stays."


class Fault(NamedTuple):
    """Why files can't be served as they are now."""

    text: str
    cause: BaseException | None = None

    def __str__(self) -> str:
        traceback = user_traceback(self.cause) if self.cause is not None else ""
        return "\n".join(filter(None, (traceback, self.text)))


# Looks at the middle generation between two at everything. Python's 10 let 77,000 objects
# gather, which after an hour of coming and going is 10 MB.
FULL_EVERY: Final = 3


def set_aside() -> None:
    """Let the collector of cycles look no more at what will be there to the end.

    What a client leaves behind are cycles, asyncio's own among them, and only a look at
    everything finds those that have lived for long. By itself that comes when a quarter as
    much as there is has been added: with all modules in it, megabytes later.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # which also has it forget how much there was
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_EVERY)


class Keeper:
    """The one that `Server.serve` tells how it goes."""

    def __init__(
        self,
        server: Server,
        load: Callable[[App], NextApp],
        load_tls: Callable[[], ssl.SSLContext | None],
        notifier: Notifier,
        watch: Callable[[], object],
    ) -> None:
        """``load`` reads the files of an application again, ``load_tls`` its certificate.

        ``watch`` is called when it has begun, which may take what it takes.
        """
        self._server = server
        self._load = load
        self._load_tls = load_tls
        self._systemd = notifier
        self._watch = watch
        self._at_terminal = os.isatty(2)
        self.say: Callable[[str], object] = tell  # what all of several servers would say alike
        self.followers: list[asyncio.Task[None]] = []  # who ask for a `change` when they see fit
        self._turn = asyncio.Lock()

    def started(self, url: str) -> None:
        """It accepts."""
        tell(f"Serving on {url}")
        self._systemd.ready()
        self._systemd.live()
        self._watch()
        unwatched(set_aside)

    def ending(self) -> None:
        """It has been asked to end."""
        self._systemd.stopping()
        for task in self.followers:
            task.cancel()

    async def renew(self) -> None:
        """Read again what was read at the start; what has a fault stays as it was."""
        if self._at_terminal and not os.isatty(2):  # the other thing that SIGHUP means: closed
            self._server.stop()
            return
        self._systemd.reloading()
        self._renew_tls()
        if await self._renew_app():
            tell("Read again.")
        self._systemd.ready()

    def _renew_tls(self) -> None:
        try:
            tls = self._load_tls()
        except (OSError, ValueError) as error:
            self.say(f"error: --certfile, --keyfile: {error}\nThe certificate of before stays.")
        else:
            if tls is not None:
                self._server.renew_tls(tls)

    async def _renew_app(self) -> bool:
        """False: it has a fault, which was told."""
        modules = modules_now()
        fault = await self.change(self._load, self._server.take_over)
        if fault is not None:
            restore_modules(modules)  # what only that one has imported may be mended, too
            tell(f"{fault}\n{STAYS}")
        return fault is None

    async def change(
        self, load: Callable[[App], NextApp], put: Callable[[NextApp], Awaitable[None]]
    ) -> Fault | None:
        """Let another application come after the one that there is; or say why it can't.

        One change after the other: each may have to wait for its globals.
        """
        async with self._turn:
            before = self._server.app
            try:
                app = unwatched(lambda: load(before))
                await put(app)
            except RbrError as error:
                return Fault(str(error), error.__cause__)
            except OSError as error:
                return Fault(f"error: {error.filename}: {error.strerror}")
            except BaseException as error:  # of user code that is imported or called
                if not is_its_own(error):
                    raise
                return Fault("", error)
            gone = [f"no longer {line}" for line in before.hooked if line not in app.hooked]
            new = [line for line in app.hooked if line not in before.hooked]
            for line in (*app.warnings, *gone, *new):
                self.say(str(line))
            gc.unfreeze()  # for not all of it is there to the end
            return None
