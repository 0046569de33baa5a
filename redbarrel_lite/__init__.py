"""RedBarrel Lite: describe web services and sockets in an .rbr file, write plain functions.

In one line::

    python3 -m redbarrel_lite app.rbr
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # a checkout is run by whatever Python there is
    sys.exit("error: RedBarrel Lite needs Python 3.11 or newer")

from . import exc
from .errors import Refused, SocketClosed
from .rbr import parse
from .response import Response

__version__ = "0.1.0.dev0"

__all__ = ["Refused", "Response", "SocketClosed", "exc", "parse"]
