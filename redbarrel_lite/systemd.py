"""What systemd hands to a service, and what it wants to hear from it.

What it implements: sockets that are there already, sd_listen_fds(3), and the messages of
sd_notify(3): READY, RELOADING, STOPPING and WATCHDOG. What it leaves out: the names of
the sockets (all serve the same), sockets of one connection each (``Accept=yes``), and who
else may be on the other side: any program that speaks these two protocols is systemd to us.

In one line::

    sockets = inherited_sockets(os.environ); Notifier(os.environ).tell("READY=1")
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

from .errors import show

# SD_LISTEN_FDS_START: behind standard input, output and error.
FIRST_DESCRIPTOR: Final = 3
DIGITS: Final = 20  # of a 64-bit number
MOST_S: Final = 1e6


def inherited_sockets(environment: MutableMapping[str, str]) -> tuple[socket.socket, ...]:
    """The listening sockets that the process was started with.

    Their variables are taken out of the environment: what the application starts itself
    is not meant. Raises ValueError for what is no socket to serve on, and `NotANumber`.
    """
    pid, count, _ = (
        environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()):  # another process is meant
        return ()
    last = FIRST_DESCRIPTOR + _number("LISTEN_FDS", count)
    return tuple(_listening(descriptor) for descriptor in range(FIRST_DESCRIPTOR, last))


class NotANumber(ValueError):
    """A variable is not as systemd writes it: another start would not mend that."""


def _number(name: str, text: str) -> int:
    """As systemd writes it; int() would take ``-1``, ``1_0`` and the digits of any script."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > DIGITS:
        raise NotANumber(f"{name}: {show(text)} is not a number")
    return int(text)


def _listening(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # its name, and its only argument
        one = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ValueError(f"descriptor {descriptor} is no socket: {error.strerror}") from None
    kinds = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
    if one.family not in kinds or one.type != socket.SOCK_STREAM:
        one.detach()
        raise ValueError(f"descriptor {descriptor} is no stream socket: write ListenStream=")
    if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        one.detach()
        raise ValueError(f"descriptor {descriptor} does not listen: write Accept=no")
    return one


class Notifier:
    """Tells systemd how the service is; where there is none, nobody."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """What is for us in the environment is taken out of it.

        Raises `NotANumber`.
        """
        self._path = environment.pop("NOTIFY_SOCKET", "")
        pid = environment.pop("WATCHDOG_PID", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        is_ours = self._path and pid in ("", str(os.getpid()))
        # Half of the time that we have, as sd_watchdog_enabled(3) advises; and what the system
        # can wait for, which is less than 64 bits can say.
        seconds = _number("WATCHDOG_USEC", microseconds) / 2e6 if is_ours else 0.0
        self.alive_every_s = min(seconds, MOST_S)

    def tell(self, *states: str) -> None:
        """One message of ``NAME=value`` each; that nobody is there to hear it is no fault."""
        if not self._path:
            return
        # An abstract address begins with NUL, and is written with an "@".
        address = f"\0{self._path[1:]}" if self._path[0] == "@" else self._path
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.settimeout(0)  # a queue that is full must not hold us
            to.sendto("\n".join(states).encode(), address)

    def ready(self) -> None:
        """It serves."""
        self.tell("READY=1")

    def reloading(self) -> None:
        """It reads its files again, and will say when it is `ready`."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It comes to its end."""
        self.tell("STOPPING=1")

    def live(self) -> None:
        """Give a sign of life from the running loop, as often as it is wanted, from now on."""
        if self.alive_every_s:
            self.alive()
            asyncio.get_running_loop().call_later(self.alive_every_s, self.live)

    def alive(self) -> None:
        """One sign of life."""
        self.tell("WATCHDOG=1")
