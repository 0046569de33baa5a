"""The anatomy of an RBR location: what stands behind `use`, and what is wrong with it.

What it implements: the production `location` of the grammar, as `rbr` reads it, and
whether there is what it names, as `locations` says. What it leaves out: all other values.

In one line::

    layer = location_layer("python:chat.join", Path.cwd())
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from .anatomy import CLIENT, Fault, Field, Layer, offset, shown, utf8
from .locations import Folder
from .rbr_check import examine
from .rbr_keys import LOCATION_KINDS

_SECTION: Final = "RBR 1.0, location"
_BEFORE: Final = "path explained ( use "
_AFTER: Final = " );\n"

# A location begins with its kind, or is a dotted name. Anything else with a colon may be
# meant as one, too.
LIKE_A_LOCATION: Final = re.compile(
    rf"(?:{'|'.join(LOCATION_KINDS)}):[^\r\n]*"
    r"|(?!wss?://)[A-Za-z_][A-Za-z-]*:[^\s\d\[{]\S*|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
)

_KIND_MEANS: Final = {
    "python": "a Python callable: it is imported, and called with (globs, request)",
    "wsgi": "a WSGI application, such as one of Flask: it gets the requests below the url",
    "file": "a file, which is sent as it is",
    "directory": "a folder, of which the files are sent",
    "location": "a file: how 0.9 wrote file:",
    "proxy": "another server, to which the requests are handed on",
}


def location_layer(text: str, folder: Path) -> Layer:
    """A location as it would stand behind `use`, in a file of this folder."""
    layer = Layer("RBR location", utf8(text), CLIENT, shown(text), _SECTION)
    resolve = Folder(folder).trouble
    _, found = examine(f"{_BEFORE}{text}{_AFTER}", "explained", resolve)
    kind, colon, target = text.partition(":")
    _add_fields(layer, text, *((kind, target) if colon else ("python", text)))
    for one in found:
        if one.severity == "error":
            at = min(max(one.span.start - len(_BEFORE), 0), len(text))
            hint = f" ({one.help})" if one.help else ""
            # The blank that stands behind it is ours.
            message = one.message if target.strip() or not colon else f"nothing follows '{kind}:'"
            layer.fault = Fault(offset(text, at), f"{one.code}: {message}{hint}", 0)
            break
    return layer


def _add_fields(layer: Layer, text: str, kind: str, target: str) -> None:
    prefix = text.find(":") + 1 if text.partition(":")[0] in LOCATION_KINDS else 0
    means = _KIND_MEANS.get(kind, "no kind of location")
    if prefix:
        layer.fields.append(Field(0, prefix, "kind", kind, means, _SECTION))
    start, end = offset(text, prefix), len(layer.data)
    if kind in ("python", "wsgi") and "." in target:
        module, _, name = target.rpartition(".")
        middle = offset(text, prefix + len(module))
        layer.fields.append(
            Field(start, middle, "module", module, "a .py file, or a package", _SECTION)
        )
        what = "what is called" if prefix else f"what is called; the same as python:{target}"
        layer.fields.append(Field(middle + 1, end, "name", name, what, _SECTION))
        return
    what = "from the folder of the .rbr" if kind in ("file", "directory") else ""
    layer.fields.append(Field(start, end, "target", target, what, _SECTION))
