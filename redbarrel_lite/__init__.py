"""RedBarrel Lite: describe web services and sockets in an .rbr file, write plain functions.

In one line::

    python -m redbarrel_lite app.rbr
"""

from . import exc
from .errors import Refused, SocketClosed
from .rbr import parse
from .response import Response

__version__ = "0.1.0.dev0"

__all__ = ["Refused", "Response", "SocketClosed", "exc", "parse"]
