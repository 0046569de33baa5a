"""``python3 -m redbarrel_lite``."""

import signal
import sys
from pathlib import Path

if not __package__:  # the folder was named, or this file
    where = Path(__file__).resolve().parent.parent
    sys.exit(f"error: write python3 -m redbarrel_lite, in the folder {where}")

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `cli.main`: no traceback of imports

from .cli import main

sys.exit(main())
