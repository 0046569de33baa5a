"""JSON as RFC 8259 has it, and no more: what Python's own module adds is refused.

What it implements: RFC 8259 with limits for depth and for the length of numbers.
What it leaves out: the extensions of `json` (NaN, Infinity, infinity by way of
1e400, texts in UTF-16), which every reader in a browser stumbles over.

In one line::

    data = loads(body)
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final

# Whoever walks through the data, ours or the user's, mostly does so by recursion.
MAX_DEPTH: Final = 64
# int() takes time that grows with the square of the digits. No float has more
# than 309 before its point, so no other reader of JSON understands a longer one.
MAX_NUMBER_DIGITS: Final = 400


def loads(body: bytes) -> Any:
    """The data that a JSON text stands for. Raises ValueError, with the reason."""
    if body.startswith(b"\xef\xbb\xbf"):
        raise ValueError("it starts with a byte order mark (RFC 8259 section 8.1)")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 (RFC 8259 section 8.1)") from None
    return loads_text(text)


def loads_text(text: str, max_depth: int = MAX_DEPTH) -> Any:
    """The same of a text that is decoded already. Raises ValueError, with the reason."""
    try:
        data = _decode(text)
    except RecursionError:
        raise ValueError(f"it is nested over {max_depth} levels deep") from None
    if nests_over(text, max_depth):
        raise ValueError(f"it is nested over {max_depth} levels deep")
    return data


_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"')
# Each bracket is a step, down or up; the rest is left out.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_STEPS: Final = bytes(set(range(256)) - set(b"[{]}"))


def nests_over(text: str, limit: int) -> bool:
    """Whether containers nest deeper than ``limit`` in a text that is known to be JSON.

    To walk through the data would take ten times as long, and all clients would wait.
    """
    # Counting is fast, and finds nothing to look at in most texts.
    if text.count("[") + text.count("{") <= limit:
        return False
    brackets = _STRING.sub("", text).encode(errors="replace")
    return max(accumulate(array("b", brackets.translate(_STEPS, _NO_STEPS)))) > limit


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if number - number:  # only infinity and NaN differ from themselves
        raise ValueError(f"{text[:20]} is too large")
    return number


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON (RFC 8259 section 6)")


_decode: Final = json.JSONDecoder(
    parse_int=_integer, parse_float=_finite, parse_constant=_constant
).decode

# Encoders that are made once: json.dumps makes one for each call that wants no default.
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_encode_ascii: Final = json.JSONEncoder(allow_nan=False).encode
_BRIEF: Final[Any] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
_encode_brief: Final = json.JSONEncoder(**_BRIEF).encode
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def dumps(data: Any) -> bytes:
    r"""The JSON text of some data. Raises ValueError and TypeError for what JSON has not.

    Half of a surrogate pair, which a client can send as ``"\ud800"``, has no place
    in UTF-8: it goes out as the escape that it came in as.
    """
    try:
        return _encode(data).encode()
    except UnicodeEncodeError:
        return _encode_ascii(data).encode()


def brief(data: Any, default: Callable[[Any], Any] | None = None) -> str:
    """The same as a text that UTF-8 can hold, and without blanks: what a machine reads.

    ``default`` gives what JSON has of what it has not, or raises TypeError.
    """
    encode = (
        _encode_brief if default is None else json.JSONEncoder(**_BRIEF, default=default).encode
    )
    text = encode(data)
    if is_utf8(text):
        return text
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def is_utf8(text: str) -> bool:
    """False for a text with half of a surrogate pair, which only an escape can carry."""
    if text.isascii():  # which is known, and mostly so
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
