"""Cookies, in and out.

What it implements: RFC 6265 section 4 (the fields Cookie and Set-Cookie), and from
its successor's draft SameSite and the name prefixes. What it leaves out: values
in quotes with escapes, which `http.cookies` reads in time that grows with the
square of their length; and signatures, since a cookie had better hold a random
key than data.

In one line::

    name = parse_cookies(["name=Ann; theme=dark"])["name"]
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

SameSite: TypeAlias = Literal["Strict", "Lax", "None"]

# RFC 6265 4.1.1: name and value together. Browsers drop what is larger, in silence.
MAX_COOKIE_BYTES: Final = 4096

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# What we set: cookie-octets. What we read may hold blanks and commas besides, for
# scripts in pages set such cookies, and nothing is ambiguous about them.
_OCTETS: Final = re.compile(r"[!#-+\x2d-:<-\[\]-~]*+")
_NAME: Final = re.compile(_TOKEN)
_PAIR: Final = re.compile(rf'({_TOKEN})=("?)([ !#-:<-\[\]-~]*+)\2')
_DOMAIN: Final = re.compile(r"\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PATH: Final = re.compile(r"/[ -:<-~]*")


def parse_cookies(fields: Iterable[str]) -> dict[str, str]:
    """The cookies that a request's Cookie fields hold; what is no cookie is left out.

    Of two with one name the first counts: it has the longer path (RFC 6265 5.4),
    so it was set for this place rather than for all.
    """
    cookies: dict[str, str] = {}
    for field in fields:
        for text in field.split(";"):
            pair = _PAIR.fullmatch(text.strip(" \t"))
            if pair is not None:
                cookies.setdefault(pair[1], pair[3])
    return cookies


def set_cookie(
    name: str,
    value: str,
    *,
    max_age: int | None,
    path: str,
    domain: str | None,
    secure: bool,
    httponly: bool,
    samesite: SameSite | None,
) -> str:
    """The value of a Set-Cookie field. Raises ValueError for what would not arrive as meant.

    Each part is checked, for what ends it early begins the next one: a value with
    a ``;`` in it would set attributes of its own.
    """
    _check(_NAME, "name", name)
    _check(_OCTETS, "value", value, "; percent-encode it (urllib.parse.quote)")
    _check(_PATH, "path", path)
    if len(name) + len(value) > MAX_COOKIE_BYTES:
        raise ValueError(f"cookie {name!r} is over {MAX_COOKIE_BYTES} bytes: browsers drop it")
    parts = [f"{name}={value}"]
    if max_age is not None:
        parts.append(f"Max-Age={int(max_age)}")
    if domain is not None:
        _check(_DOMAIN, "domain", domain)
        parts.append(f"Domain={domain}")
    parts.append(f"Path={path}")
    if samesite is not None:
        if samesite not in ("Strict", "Lax", "None"):
            raise ValueError(f"bad samesite {samesite!r}: Strict, Lax or None")
        parts.append(f"SameSite={samesite}")
    parts += ["HttpOnly"] * httponly + ["Secure"] * secure
    _check_promises(name, path, domain, samesite, secure=secure)
    return "; ".join(parts)


def _check(pattern: re.Pattern[str], what: str, text: str, hint: str = "") -> None:
    if not pattern.fullmatch(text):
        raise ValueError(f"bad cookie {what} {text!r:.60} (RFC 6265 4.1){hint}")


def _check_promises(
    name: str, path: str, domain: str | None, samesite: SameSite | None, *, secure: bool
) -> None:
    """Browsers drop a cookie whose name or SameSite promises what it does not keep."""
    promises_secure = name.lower().startswith(("__secure-", "__host-")) or samesite == "None"
    if promises_secure and not secure:
        raise ValueError(f"cookie {name!r} must be secure: browsers drop it")
    if name.lower().startswith("__host-") and (domain is not None or path != "/"):
        raise ValueError(f"cookie {name!r} must have the path / and no domain: browsers drop it")


def with_secure(field: str) -> str:
    """A Set-Cookie field that went out over TLS, and is never to come back without."""
    attributes = [part.strip(" \t").lower() for part in field.split(";")[1:]]
    return field if "secure" in attributes else f"{field}; Secure"
