"""The demos of 2011, as they are written today."""

import base64
import hmac
import re
import threading


def hello(globs, request):
    return "Hello World"


class Counter:
    """Counts its calls. Services run in threads, so adding one takes a lock."""

    def __init__(self):
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, globs, request):
        return str(self.add())

    def add(self):
        with self._lock:
            self._count += 1
            return self._count


counter = Counter()


def visit(globs, request):
    return {"visits": globs["visits"].add()}


# -- capitalize, and its rules -------------------------------------------------------------


def is_alexis(value):
    """Whether this is the Authorization header (RFC 7617) of alexis, whose password is "red"."""
    wanted = "Basic " + base64.b64encode(b"alexis:red").decode()
    # The time that == takes tells how much of a guess is right.
    return hmac.compare_digest(value.encode(), wanted.encode())


def capitalize(globs, request):
    return {key: value.capitalize() for key, value in request.json.items()}


# -- css -----------------------------------------------------------------------------------


def minify(globs, request, body):
    """Leave out comments and blanks, but for those between words."""
    text = re.sub(r"/\*.*?\*/", "", body.decode(), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r" ?([{};,>]) ?", r"\1", text).replace(": ", ":").replace(";}", "}").strip()


# -- a type of our own ---------------------------------------------------------------------


class Blob:
    """Is made once, and called with each value: False or a ValueError refuses it."""

    def __call__(self, value):
        head, _, content = value.partition(b"\n")
        word, length = head.split()  # not two words: a ValueError
        return word == b"BLOB" and int(length) == len(content)


def measure(globs, request):
    return {"bytes": len(request.body.partition(b"\n")[2])}


def verb(globs, request):
    return {"you said": request.method}
