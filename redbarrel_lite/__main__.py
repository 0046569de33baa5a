"""``python3 -m redbarrel_lite``."""

import sys
from pathlib import Path

if not __package__:  # the folder was named, or this file
    where = Path(__file__).resolve().parent.parent
    sys.exit(f"error: write python3 -m redbarrel_lite, in the folder {where}")

from .cli import main

sys.exit(main())
