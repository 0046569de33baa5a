"""The command ``new``: a small application that runs, as the start of another.

Implements what 2011's rbr-quickstart did: asks for a name and what is to be said
of it, unless the command line has said so, and writes a folder with a service, a
socket, a page and a test. It never writes over anything: a folder that exists
stays as it is, and the new one gets a number. Leaves out the command line
(`cli`). Used as ``sys.exit(new({"name": "chat"}, Path.cwd()))``.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from .packed import PROGRAM
from .rbr_format import quoted

# Lower case, as some file systems do not tell `Chat` from `chat`; a name of RBR besides.
_NAME = re.compile(r"[a-z_][a-z0-9_-]*")

QUESTIONS = {
    "name": ("Name of the project", ""),
    "title": ("Title", "${name}"),
    "description": ("Description", "A service and a socket"),
    "version": ("Version", "1.0"),
    "author": ("Author", ""),
}


@dataclass(frozen=True, slots=True)
class Project:
    """What a new application is called, and what is said of it."""

    name: str
    title: str
    description: str
    version: str
    author: str


def new(given: Mapping[str, str], parent: Path, ask: Callable[[str], str] | None = None) -> int:
    """Write a new application below ``parent``; return the exit status.

    ``given`` holds the answers that are known already; ``ask`` is put the other
    questions, or their defaults are taken if there is nobody to ask.
    """
    try:
        project = complete(given, ask)
        folder = write(project, parent)
    except ValueError as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}", 1)
    shown = folder.relative_to(parent)
    sys.stdout.write(
        f"Written to {shown}/. Run it, and test it:\n"
        f"  {PROGRAM} {shown}/{project.name}.rbr\n"
        f"  python3 -m unittest discover {shown}\n"
    )
    return 0


def complete(given: Mapping[str, str], ask: Callable[[str], str] | None) -> Project:
    """All answers. Raises ValueError for a name that cannot be one."""
    answers: dict[str, str] = {}
    for key, (question, default) in QUESTIONS.items():
        usual = Template(default).safe_substitute(answers)
        if key in given:
            answers[key] = given[key]
        elif ask is None:
            answers[key] = usual
        else:
            answers[key] = ask(f"{question}{f' [{usual}]' if usual else ''}: ").strip() or usual
        if key == "name":
            answers[key] = _checked_name(answers[key])
    return Project(**answers)


def _checked_name(name: str) -> str:
    lowered = name.strip().lower()
    if not _NAME.fullmatch(lowered):
        raise ValueError(
            f"'{name}' cannot be the name of a project: "
            "it is made of letters, digits, '_' and '-', and starts with a letter"
        )
    return lowered


def write(project: Project, parent: Path) -> Path:
    """The folder of a new application, with its files in it."""
    folder = _new_folder(parent, project.name)
    for name, text in files_of(project).items():
        with (folder / name).open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    return folder


def _new_folder(parent: Path, name: str) -> Path:
    number = 0
    while True:
        folder = parent / (f"{name}-{number}" if number else name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def files_of(project: Project) -> dict[str, str]:
    """The files of a new application, by their names."""
    # A template and its values never meet unescaped: each file has its own way to quote.
    plain = {"name": project.name}
    return {
        f"{project.name}.rbr": Template(_RBR).substitute(
            plain,
            title=quoted(project.title),
            description=quoted(project.description),
            version=_version(project.version),
        ),
        "app.py": _APP,
        "index.html": Template(_PAGE).substitute(title=html.escape(project.title)),
        "test_app.py": Template(_TEST).substitute(plain),
        "README.md": Template(_README).substitute(
            plain, title=_one_line(project.title), description=_one_line(project.description)
        ),
        "pyproject.toml": Template(_PYPROJECT).substitute(
            plain,
            version=_toml(project.version),
            description=_toml(project.description),
            authors=f"[{{ name = {_toml(project.author)} }}]" if project.author else "[]",
        ),
    }


def _version(version: str) -> str:
    return version if re.fullmatch(r"[0-9][0-9.]*", version) else quoted(version)


def _toml(text: str) -> str:
    # TOML's basic strings have the escapes of JSON, and one more character that needs one.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return status


_RBR = """\
meta (
    title $title,
    description $description,
    version $version
);

path page (
    description "The page that talks to the socket",
    url /,
    use file:index.html
);

path hello (
    description "Greets who says a name",
    url /hello,
    use python:app.hello
);

path socket (
    description "Tells everybody what anybody says",
    method SOCKETIO,
    use python:app.chat
);
"""

_APP = '''\
"""What the paths of the .rbr file use."""


def hello(globs, request, name="world"):
    """GET /hello?name=you"""
    return {"hello": name}  # a dict becomes JSON


def chat(globs, request):
    """One call for each client, for as long as it is there."""
    socketio = request.socketio
    for message in socketio:
        socketio.send(message[0])
        socketio.broadcast(message[0])
'''

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>$title</title>
<h1>$title</h1>
<form><input autofocus autocomplete="off" aria-label="Say something"> <button>Say it</button></form>
<ul></ul>
<script src="/socket.io/socket.io.js"></script>
<script>
  const socket = io();
  const input = document.querySelector("input");
  socket.on("message", (text) => {
    const line = document.createElement("li");
    line.textContent = text;
    document.querySelector("ul").append(line);
  });
  document.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    socket.send(input.value);
    input.value = "";
  });
</script>
"""

_TEST = '''\
"""Asks the application what a browser would, in this process."""

import unittest
from pathlib import Path

from redbarrel_lite import testing

FILE = Path(__file__).with_name("$name.rbr")


class TestApp(unittest.TestCase):
    def setUp(self):
        self.client = testing.client(FILE)
        self.addCleanup(self.client.close)

    def test_page_is_served(self):
        self.assertIn("socket.io.js", self.client.get("/").text)

    def test_hello_greets(self):
        self.assertEqual(self.client.get("/hello").json, {"hello": "world"})
        self.assertEqual(self.client.get("/hello", params={"name": "you"}).json, {"hello": "you"})

    def test_what_one_says_all_hear(self):
        with self.client.socket() as ann, self.client.socket() as bob:
            ann.send("hi")
            self.assertEqual(ann.recv(), ["hi"])
            self.assertEqual(bob.recv(), ["hi"])


if __name__ == "__main__":
    unittest.main()
'''

_README = """\
# $title

$description

    python3 -m redbarrel_lite $name.rbr --reload

then open http://127.0.0.1:8000; it follows your files as you change them. Test it with

    python3 -m unittest

Both need the package `redbarrel_lite`: installed, or in a folder that `PYTHONPATH` names.
"""

_PYPROJECT = """\
[project]
name = "$name"
version = $version
description = $description
authors = $authors
requires-python = ">=3.11"
dependencies = ["redbarrel-lite"]

[tool.setuptools]
py-modules = ["app"]
"""
