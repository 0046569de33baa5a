"""The log of this very process, while it is written.

`Tail` is what you could take with you: a handler of `logging`, as it comes with
Python, that tells each record to the sockets in the room of its logger. The shop
below is there to have something to log.
"""

import asyncio
import itertools
import logging
import random
from collections import deque

KEPT = 100  # lines of each logger


class Tail(logging.Handler):
    """The last lines of some loggers; new ones go to whoever has joined the room of that name."""

    def __init__(self, server, *names):
        super().__init__()
        self.server = server
        self.lines = {name: deque(maxlen=KEPT) for name in names}
        self._loop = asyncio.get_running_loop()

    def emit(self, record):
        """Called by `logging`, in whichever thread something is logged."""
        line = {
            "at": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage(),
        }
        # To keep it and to send it must be one step, or who joins between the two has it twice.
        self._loop.call_soon_threadsafe(self._keep, line)

    def _keep(self, line):
        self.lines[line["logger"]].append(line)
        self.server.emit("line", line, room=line["logger"])


def tail(globs):
    """A generator: what is behind the `yield` runs when the server ends."""
    tail = Tail(globs.server, "shop", "stock", "mail")
    loggers = [logging.getLogger(name) for name in tail.lines]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(tail)
        logger.propagate = False  # or all of it would go to the terminal as well
    yield tail
    for logger in loggers:
        logger.removeHandler(tail)


async def join(globs, request, name):
    """What it returns is the acknowledgement: the lines before the first new one."""
    lines = globs["tail"].lines.get(name) if isinstance(name, str) else None
    if lines is None:
        return None
    request.socketio.join(name)
    return list(lines)


async def leave(globs, request, name):
    request.socketio.leave(name)


# -- a shop, to have something to log ------------------------------------------------------

chance = random.Random()  # noqa: S311  # for a play, not for a secret
shop, stock, mail = map(logging.getLogger, ("shop", "stock", "mail"))
numbers = itertools.count(1001)
GOODS = {"barrel": 3, "tap": 12, "cork": 400}


def order(globs, request):
    """An HTTP service, in a thread: logging is what it does anyway."""
    return {"order": place_order("somebody who looks")}


def place_order(customer):
    number, (goods, left) = next(numbers), chance.choice(list(GOODS.items()))
    count = chance.randint(1, 4)
    shop.info("order %d: %d x %s for %s", number, count, goods, customer)
    stock.debug("%s: %d asked for, %d there", goods, count, left)
    if left < count:
        stock.error("%s: none left for order %d, 50 ordered", goods, number)
        GOODS[goods] += 50
    elif left - count < 5:
        stock.warning("%s: only %d left", goods, left - count)
    GOODS[goods] -= count
    mail.info("order %d confirmed to %s", number, customer)
    return number


async def customers(globs):
    async def come():
        while True:
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            if globs.server.sockets():
                place_order(chance.choice(["Ann", "Bob", "Carol", "Tarek"]))

    coming = asyncio.create_task(come())
    yield
    coming.cancel()
