"""What runs first in a .pyz: finds the rooms of this package in the archive.

What it implements: importing modules from one text of all sources, by `find_spec` and
`exec_module` (PEP 451). It is written into the archive as ``__main__.py``, with a call of
`begin` behind it. What it leaves out: the application's modules and files, which lie in the
archive one by one, for `packed`; and who writes that text, which is `pyz`.

In one line::

    begin("redbarrel_lite.txt"); from redbarrel_lite.cli import main

Why one text: compressed one by one, the rooms take half as much again. In it a character or
two stand for each word that is frequent, alone or in a name, for deflate forgets a word after
32 kB. lzma would do without that, and better, but a Python may have been built without it;
zlib, which zipimport needs, it has.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Final

PACKAGE: Final = "redbarrel_lite"
BETWEEN_WORDS: Final = "\1"

_CODE: Final = re.compile("[\x80-\xdf]|[\xe0-\xff].")


def codes() -> list[str]:
    """What stands for words: one character for the first ones, and two for the others."""
    last = [chr(number) for number in range(0x80, 0x100)]
    return last[:0x60] + [one + other for one in last[0x60:] for other in last]


def begin(member: str) -> str:
    """Have the rooms be found in the archive that runs, in its ``member``; return its path."""
    if sys.version_info < (3, 11):  # noqa: UP036  # whoever runs it may not have read that
        sys.exit("error: RedBarrel Lite needs Python 3.11 or newer")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `cli.main`: no traceback of imports
    loader: Any = sys.modules["__main__"].__spec__.loader  # type: ignore[union-attr]
    archive: str = os.path.realpath(loader.archive)
    text = loader.get_data(os.path.join(loader.archive, member))  # noqa: PTH118
    # The folders in the archive are no packages to be imported by everybody.
    sys.path.remove(loader.archive)
    sys.meta_path.insert(0, Rooms(archive, text))
    return archive


class Rooms:
    """Finds and loads the modules of the package."""

    def __init__(self, archive: str, text: bytes) -> None:
        """``text``: words in UTF-8; then names and contents, a byte a character; NUL parts them."""
        words, _, rest = text.partition(b"\0")
        files = rest.decode("latin-1").split("\0")
        self.archive = archive
        self._words = dict(zip(codes(), words.decode().split(BETWEEN_WORDS), strict=False))
        self._texts = dict(zip(map(self._plain, files[::2]), files[1::2], strict=True))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        file = self._file(name)
        if file not in self._texts:
            return None
        place = os.path.join(self.archive, PACKAGE, file)  # noqa: PTH118  # no pathlib so early
        spec = ModuleSpec(name, self, origin=place, is_package=name == PACKAGE)  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102  # that is importing

    def get_code(self, name: str) -> CodeType:
        place = os.path.join(self.archive, PACKAGE, self._file(name))  # noqa: PTH118
        code: CodeType = compile(self.get_source(name), place, "exec", dont_inherit=True)
        return code

    def get_source(self, name: str) -> str:
        """For tracebacks, too."""
        return self._plain(self._texts[self._file(name)])

    @property
    def sources(self) -> dict[str, str]:
        """All, by the names of their files."""
        return {file: self._plain(text) for file, text in self._texts.items()}

    def _plain(self, text: str) -> str:
        return _CODE.sub(lambda match: self._words[match[0]], text)

    @staticmethod
    def _file(name: str) -> str:
        package, _, room = name.partition(".")
        return f"{room or '__init__'}.py" if package == PACKAGE else ""
