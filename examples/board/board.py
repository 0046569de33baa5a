"""A sheet of paper that everybody draws on.

A piece of a line is one message of bytes; several behind each other are a sheet::

    colour  width  points   x     y      x     y  ...     x and y: 0 is one edge of the
      1       1      2      2     2      2     2          sheet, 65535 the other
"""

from collections import deque

MAX_POINTS = 512  # of one piece
MAX_SHEET = 400_000  # bytes; beyond it, what was drawn first is forgotten


class Sheet:
    """The pieces so far, in the order in which they came."""

    def __init__(self):
        self._pieces = deque()
        self._size = 0

    def __bytes__(self):
        return b"".join(self._pieces)

    def add(self, piece):
        self._pieces.append(piece)
        self._size += len(piece)
        while self._size > MAX_SHEET:
            self._size -= len(self._pieces.popleft())

    def clear(self):
        self._pieces.clear()
        self._size = 0


def is_piece(x):
    """Whether it is bytes, and as long as it says: the other pages will believe it."""
    points = int.from_bytes(x[2:4], "little") if isinstance(x, bytes) else 0
    return 1 <= points <= MAX_POINTS and len(x) == 4 + 4 * points


async def show(globs, request):
    request.socketio.emit("sheet", bytes(globs["sheet"]))


async def draw(globs, request, piece):
    if is_piece(piece):
        globs["sheet"].add(piece)
        # To all, also to who drew it: so all have the pieces in the same order.
        request.server.emit("piece", piece)


async def clear(globs, request):
    globs["sheet"].clear()
    request.server.emit("sheet", b"")
