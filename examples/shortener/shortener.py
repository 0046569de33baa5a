"""A shortener of links: a form, redirects, and a page that hears of each at once."""

import html
import secrets
import threading
from string import Template
from urllib.parse import urlsplit

from redbarrel_lite import exc

MAX_LINKS = 10_000  # anybody may make some: memory must not fill for that
MAX_LENGTH = 2_000


class Links:
    """Long addresses by their codes, and how often each was followed."""

    def __init__(self):
        self._links = {}
        self._lock = threading.Lock()  # services run in threads

    def add(self, url):
        code = secrets.token_urlsafe(4)
        with self._lock:
            self._links[code] = {"code": code, "url": url, "hits": 0}
            if len(self._links) > MAX_LINKS:
                del self._links[next(iter(self._links))]  # the oldest
        return code

    def get(self, code):
        return self._links.get(code)

    def follow(self, code):
        """The link, with one more hit, as it is now; None if there is none."""
        with self._lock:
            link = self._links.get(code)
            if link is None:
                return None
            link["hits"] += 1
            return dict(link)

    def all(self):
        with self._lock:
            return [dict(link) for link in self._links.values()]


def checked(url):
    """An address of a page of the web, or nothing.

    A link that leads to ``javascript:`` or ``data:`` would be a trap.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    fits = parts.scheme in ("http", "https") and parts.hostname and len(url) <= MAX_LENGTH
    return url if fits and url.isprintable() and " " not in url else ""


def shorten(globs, request):
    url = checked(request.POST.get("url", "").strip())
    if not url:
        raise exc.HTTPBadRequest("That is no address of a web page: it begins with https://")
    code = globs["links"].add(url)
    # 303, not 302: a reload of the page that follows must not send the form again. The
    # address is relative: this file may be included below another's url.
    raise exc.HTTPSeeOther(location=f"made/{code}")


def made(globs, request, code):
    link = globs["links"].get(code)
    if link is None:
        raise exc.HTTPNotFound("no such link")
    here, _, _ = request.path.rpartition("/made/")
    values = {"short": f"{request.host_url}{here}/r/{code}", "url": link["url"]}
    # Each value is escaped: it may hold "><script>.
    escaped = {name: html.escape(value) for name, value in values.items()}
    return Template(globs["made"]).substitute(escaped)


def follow(globs, request, code):
    link = globs["links"].follow(code)
    if link is None:
        raise exc.HTTPNotFound("no such link")
    # A plain HTTP handler, in a thread, tells every socket of this file.
    request.server.emit("followed", link)
    raise exc.HTTPSeeOther(location=link["url"])


def stats(globs, request):
    return {"links": globs["links"].all()}


async def tell(globs, request):
    request.socketio.emit("links", globs["links"].all())
