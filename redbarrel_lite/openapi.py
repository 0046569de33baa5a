"""The services of .rbr files as an OpenAPI document.

What it implements: OpenAPI 3.1.0 with what the file says: paths, parameters, bodies,
statuses; sockets and rules as extensions (``x-sockets``, ``x-rules``). What it leaves
out: schemas of bodies, which the file does not know.

In one line::

    text = json.dumps(document(files, "/api"))
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from . import wording
from .loading import File
from .rbr_keys import is_custom
from .rbr_nodes import Field, Path, Placeholder, Section, Url
from .wording import plain

Json: TypeAlias = dict[str, Any]

# The fields of a Path Item (OpenAPI 3.1.0, 4.8.9.1); CONNECT has none.
_METHODS: Final = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
_WITH_BODY: Final = ("POST", "PUT", "PATCH")
# 4.8.12.1: parameters of these names are ignored.
_NO_PARAMETERS: Final = ("accept", "content-type", "authorization")
_SCHEMAS: Final = {"int": {"type": "integer"}, "float": {"type": "number"}}


def document(files: Sequence[File], root: str) -> Json:
    """The whole document, for what is served at ``root`` and below."""
    meta = files[0].tree.meta
    info = {"title": title(files), "version": meta.text("version") or "0"}
    info |= _description(meta.text("description"))
    paths = _Paths()
    for path, url in _urls(files, root):
        if not path.is_socket:
            paths.add(path, url)
    sockets = [_socket(path, url) for path, url in _urls(files, "") if path.is_socket]
    found: Json = {
        "openapi": "3.1.0",
        "info": info,
        "servers": [{"url": wording.sent(Url(root or "/"))}],
    }
    return found | {"paths": paths.items} | ({"x-sockets": sockets} if sockets else {})


def _description(text: str) -> Json:
    """A description as a field of an object; none if nothing is said."""
    text = inspect.cleandoc(text).strip()
    return {"description": text} if text else {}


def title(files: Sequence[File]) -> str:
    """What the application calls itself, or else the name of its first file."""
    given = files[0].tree.meta.text("title").strip()
    return given or files[0].tree.source.filename.rpartition("/")[2]


def _urls(files: Sequence[File], root: str) -> Iterator[tuple[Path, Url]]:
    """The paths that are served, with their urls as seen from ``root``."""
    for file in files:
        for path in file.tree.paths:
            if path.url is not None:
                yield path, Url(file.root.removeprefix(root) + path.url.text)


# -- services ------------------------------------------------------------------


class _Paths:
    """The Paths Object, as it grows."""

    def __init__(self) -> None:
        self.items: dict[str, Json] = {}
        self._templates: dict[str, str] = {}  # the first of each shape
        self._ids: set[str] = set()
        self._alternatives: dict[tuple[str, str], list[Json]] = {}  # by template and method

    def add(self, path: Path, url: Url) -> None:
        """Enter a path under its template.

        Templates that differ in the names of their placeholders only are one to OpenAPI
        (4.8.8.2): the later one takes the names of the first. Where a method is given
        already, for two regexes may share what is one template here, the operation
        becomes an alternative of the first.
        """
        template = _template(url)
        known = self._templates.setdefault(re.sub(r"\{\w+\}", "{}", template), template)
        names = re.findall(r"\{(\w+)\}", known)
        item = self.items.setdefault(known, {})
        verbs = wording.methods(path)
        for verb in verbs:
            name = path.name.text if len(verbs) == 1 else f"{path.name.text}-{verb.lower()}"
            operation = _operation(path, verb, url, names)
            operation["operationId"] = wording.unique(name, self._ids)
            key = verb.lower() if verb in _METHODS else f"x-{verb.lower()}"
            if key in item:
                self._alternatives_of(known, key).append(operation)
            else:
                item[key] = operation

    def _alternatives_of(self, template: str, key: str) -> list[Json]:
        first = self.items[template][key]
        if (template, key) not in self._alternatives:
            name = wording.unique("x-alternatives", set(first))
            self._alternatives[template, key] = first[name] = []
        return self._alternatives[template, key]


def _template(url: Url) -> str:
    parts = [
        f"{{{part.name}}}" if isinstance(part, Placeholder) else wording.sent(Url(part))
        for part in url.parts()
    ]
    return "".join(parts)


def _operation(path: Path, verb: str, url: Url, names: Sequence[str]) -> Json:
    found = _description(path.text("description"))
    parameters = [*_path_parameters(url, names), *_header_parameters(path)]
    if parameters:
        found["parameters"] = parameters
    if verb in _WITH_BODY:
        found["requestBody"] = _request_body(path)
    found["responses"] = _responses(path, verb)
    return found | _extensions(path)


def _path_parameters(url: Url, names: Sequence[str]) -> Iterator[Json]:
    placeholders = [part for part in url.parts() if isinstance(part, Placeholder)]
    for part, name in zip(placeholders, names, strict=True):
        schema: Json = {"type": "string"}
        if part.regex is not None:
            schema["pattern"] = f"^(?:{part.regex})$"
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _header_parameters(path: Path) -> Iterator[Json]:
    for name, kind in wording.header_types(path).items():
        if name.lower() not in _NO_PARAMETERS:
            schema = _SCHEMAS.get(kind, {"type": "string"})
            yield {"name": name, "in": "header", "required": True, "schema": schema}


def _request_body(path: Path) -> Json:
    kind = wording.body_type(path, "request-body")
    media = "application/json" if kind == "json" else "*/*"
    body: Json = {"content": {media: {"schema": _SCHEMAS.get(kind, {})}}}
    described = (part.description for part in wording.parts(path) if part.key == "request-body")
    return body | _description(next(described, ""))


def _responses(path: Path, verb: str) -> Json:
    described = wording.statuses(path)
    if not any(200 <= code <= 399 for code in described):
        described = {200: ""} | described
    media = wording.content_type(path).partition(";")[0].strip()
    found: Json = {}
    for code, text in described.items():
        found[str(code)] = {"description": text or wording.reason(code)}
        if media and 200 <= code <= 299 and code not in (204, 205) and verb != "HEAD":
            found[str(code)]["content"] = {media: {}}
    return found


# -- extensions ----------------------------------------------------------------


def _extensions(path: Path) -> Json:
    """Ours, and the author's own: these keep their names, and ours get a number if need be."""
    entries = (one for one in path.section.entries if isinstance(one, Field))
    own = {one.key.text: _custom(one) for one in entries if is_custom(one.key.text)}
    taken = set(own)
    found: Json = {}
    if path.use is not None:
        found[wording.unique("x-use", taken)] = wording.value_text(path.use)
    rules = [plain(rule) for part in wording.parts(path) for rule in part.rules]
    if rules:
        found[wording.unique("x-rules", taken)] = rules
    return found | own


def _custom(entry: Field) -> Any:
    if not isinstance(entry.value, Section):
        return wording.value_text(entry.value)
    inner = (one for one in entry.value.entries if isinstance(one, Field))
    return {one.key.text: _custom(one) for one in inner}


def _socket(path: Path, url: Url) -> Json:
    verb = wording.socket_verb(path)
    found: Json = {"name": path.name.text, "protocol": verb, "url": wording.sent(url)}
    found |= _description(path.text("description"))
    if verb == "SOCKETIO":
        found["namespace"] = wording.namespace(path)
    events = [
        {"event": "*" if one.is_any else one.event, "x-use": wording.value_text(one.use)}
        for one in path.events()
    ]
    found |= {"events": events} if events else {}
    options = {option.name: option.value for option in wording.options(path)}
    return found | ({"options": options} if options else {}) | _extensions(path)
