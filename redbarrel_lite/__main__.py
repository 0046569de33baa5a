"""``python3 -m redbarrel_lite``."""

import sys

from .cli import main

sys.exit(main())
