"""The .rbr files of tests/rbr, and what the tests of the language rooms share.

``python tests/rbr_corpus.py`` writes the .err files anew from what the rooms say
now; read the difference before you commit it, it is what users will read.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "rbr"
if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent.parent))

from redbarrel_lite.rbr_check import examine  # noqa: E402
from redbarrel_lite.rbr_nodes import Location  # noqa: E402

GOOD = sorted((FOLDER / "good").glob("*.rbr"))
BAD = sorted((FOLDER / "bad").glob("*.rbr"))

# What the faulty files may name; everything else is missing.
THERE = {
    "python": {"app.hello", "app.auth", "app.join", "app.small", "app.Type"},
    "wsgi": {"app.wsgi"},
    "file": {"index.html", "app.rbr"},
    "directory": {"static"},
}


def resolve(location: Location) -> tuple[str, str] | None:
    """Stands for a folder with an app.py, without being one: these rooms open no file."""
    if location.target in THERE[location.kind]:
        return None
    return f"there is no {location.kind} '{location.target}'", "create it, or correct its name"


def picture(path: Path) -> str:
    """What is said of a file."""
    found = examine(path.read_bytes(), path.name, resolve)[1]
    return "".join(f"{one}\n" for one in found)


if __name__ == "__main__":
    for path in BAD:
        path.with_suffix(".err").write_text(picture(path), encoding="utf-8")
