"""Runs ours, and notes a few hundred times a second of CPU time where it is.

    python sampled.py FILE ARGUMENTS...

The arguments are those of `python -m redbarrel_lite`. At the end it writes to FILE how often
each function was seen, as JSON. The system sends a signal after so much CPU time of the
process, its own work for us included; what a call into C has taken counts for its caller.
"""

import json
import signal
import sys
from collections import Counter
from pathlib import Path

from redbarrel_lite.cli import main

EVERY_S = 0.001  # of CPU time; the system may find that too often
seen = Counter()


def note(_signum, frame):
    code = frame.f_code
    seen[f"{code.co_filename}:{code.co_name}"] += 1


file, *arguments = sys.argv[1:]
signal.signal(signal.SIGPROF, note)
signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
try:
    main(arguments)
finally:
    signal.setitimer(signal.ITIMER_PROF, 0)
    Path(file).write_text(json.dumps(seen), encoding="utf-8")
