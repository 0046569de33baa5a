"""RedBarrel Lite: describe web services and sockets in an .rbr file, write plain functions.

In one line::

    python3 -m redbarrel_lite app.rbr
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # a checkout is run by whatever Python there is
    sys.exit("error: RedBarrel Lite needs Python 3.11 or newer")

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

__all__ = ["Refused", "Response", "SocketClosed", "exc", "parse"]

if TYPE_CHECKING:
    from . import exc
    from .errors import Refused, SocketClosed
    from .rbr import parse
    from .response import Response
else:
    _ROOMS = {"Refused": "errors", "Response": "response", "SocketClosed": "errors", "parse": "rbr"}

    def __getattr__(name: str) -> object:
        """Import a name for who asks for it (PEP 562): no command waits for all of them."""
        if name == "exc":
            return import_module(f"{__name__}.exc")
        if name in _ROOMS:
            return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
