"""The sense of an RBR file: what its words mean, and whether they agree.

Implements what the grammar leaves open: which keys, verbs, types and codes
there are, what may stand twice, which urls clash. Opens no file and imports
nothing: whether a location leads somewhere is asked of a ``resolve`` that the
caller hands in; without one only the text is judged, and a field that nobody
knows is a warning, as a newer version may know it. Used as
``check(parse(text), resolve)``.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import rbr_patterns
from .errors import Diagnostic, Span
from .rbr import read
from .rbr_check_entries import EntryChecker, Resolve
from .rbr_diagnostics import MAX_ERRORS, clip, closest, listed
from .rbr_keys import (
    LIKE_OUR_EVENTS,
    OF_THE_SOCKET,
    OWN_OPTIONS,
    RESERVED,
    SOCKET_VERBS,
    VERBS,
    is_custom,
    keys_of,
)
from .rbr_nodes import (
    Arbiter,
    Definition,
    Field,
    Global,
    Include,
    Location,
    Meta,
    Name,
    OnError,
    OnEvent,
    Path,
    Rbr,
    Root,
    Section,
    Set,
    Socket,
    Text,
    Type,
    Url,
    Value,
    Words,
    Worker,
)

# Comparing every url with every regex before it is worth a moment, not a minute.
_MAX_COMPARISONS = 200_000


class Checker(EntryChecker):
    """One look at one tree; `check` below is the way in."""

    # --- definitions

    def check_file(self) -> None:
        self._check_names()
        for definition in self.rbr.definitions:
            self._check_definition(definition)
        self._check_urls()
        self._check_shared_options()
        self._check_reach()
        if not any(isinstance(d, Path | Socket | Include) for d in self.rbr.definitions):
            self.warn(
                "RBR053",
                Span(0, 0),
                "this file serves nothing",
                "write for instance: path NAME ( url /, use file:index.html );",
            )

    def _check_names(self) -> None:
        """Two definitions of a kind must not have one name; nor may there be two roots."""
        seen: dict[tuple[str, str], Span] = {}
        for definition in self.rbr.definitions:
            kind, name = _identity(definition)
            if not kind:
                continue
            title = f"{kind} '{clip(name.text)}'" if name.text else kind
            first = seen.setdefault((kind, name.text), name.span)
            if first != name.span:
                hint = "rename one of them" if name.text else "keep one of them"
                if isinstance(definition, Socket) and definition.name is None:
                    hint = "name them: socket NAME python:module.function;"
                note = f"the first one is at {self.place(first)}"
                self.error("RBR030", name.span, f"{title} is given twice", hint, [note])

    def _check_definition(self, definition: Definition) -> None:
        match definition:
            case Path():
                self._check_path(definition)
            case Meta(section):
                self.check_section(section, "meta", "meta", definition.span)
            case Socket(_, use):
                self.check_callable(use, "a socket")
            case Type(_, use):
                self.check_callable(use, "a type")
            case Global(_, Location() as use):
                self._check_global(use)
            case Root(url):
                self._check_prefix(url)
            case Include(file, at):
                self._check_include(file, at)
            case Worker() | Arbiter():
                keyword = type(definition).__name__.lower()
                hint = "remove it; the server has processes of its own, see --workers"
                self.warn("RBR051", definition.span, f"'{keyword}' is ignored", hint)

    def _check_global(self, use: Location) -> None:
        if use.kind in ("python", "file"):
            self.check_location(use)
        else:
            hint = "write a value, python:module.callable or file:PATH"
            self.error("RBR042", use.span, f"a global takes no '{use.kind}:'", hint)

    def _check_prefix(self, url: Url) -> None:
        if "{" in url.text:
            self.error(
                "RBR042", url.span, "a prefix holds no placeholder", "put it into the paths' urls"
            )
        elif "%" in url.text:
            self._check_url(url)

    def _check_include(self, file: Text, at: Url | None) -> None:
        if at is not None:
            self._check_prefix(at)
        self.check_location(Location("file", file.text, target_span=file.span))

    # --- paths

    def _check_path(self, path: Path) -> None:
        title = f"path '{clip(path.name.text)}'"
        self.check_section(path.section, "path", title, path.span)
        self._check_url(path.get("url"))
        self._check_namespace(path.get("namespace"))
        self._check_verbs(path)
        if path.is_socket:
            self._check_socket(path)
        else:
            self._check_service(path, title)
        if path.section.is_whole:
            self._check_presence(path, title)

    def _check_url(self, url: Value | None, *, as_sent: bool = False) -> None:
        if not isinstance(url, Url):
            return
        written = url.span.end - url.span.start
        before = max(0, written - len(url.text)) // 2  # a quote, if it is written with quotes
        for fault in rbr_patterns.faults(url.text):
            start, end = fault.span
            if as_sent and url.text[start:end].startswith("%"):
                continue
            at = url.span.start + before
            span = Span(at + start, at + end)
            say = self.warn if fault.code in ("RBR037", "RBR056") else self.error
            say(fault.code, span, fault.message, fault.hint)

    def _check_namespace(self, url: Value | None) -> None:
        """A namespace stands in packets as it is, and not in a url: it ends at a ','."""
        self._check_url(url, as_sent=True)
        if isinstance(url, Url) and any("," in p for p in url.parts() if isinstance(p, str)):
            self.error("RBR042", url.span, "a namespace holds no ','", "remove it")

    def _check_verbs(self, path: Path) -> None:
        method = path.get("method")
        if not isinstance(method, Words):
            return
        for name in method.names:
            if name.text not in VERBS:
                hint = _verb_hint(name.text, path.use.kind if path.use is not None else "")
                self.error("RBR034", name.span, f"unknown verb '{clip(name.text)}'", hint)
        if path.is_socket and len(set(path.verbs)) > 1:
            verb = next(verb for verb in path.verbs if verb in SOCKET_VERBS)
            self.error(
                "RBR044",
                method.span,
                f"{verb} goes with no other verb",
                f"write 'method {verb}' here, and a second path for the rest",
            )

    def _check_socket(self, path: Path) -> None:
        use = path.use
        if use is not None and use.kind != "python":
            hint = "write: use python:module.function"
            self.error("RBR042", use.span, f"a socket is not answered by '{use.kind}:'", hint)
        needs = {
            "namespace": ("SOCKETIO",),
            "recovery": ("SOCKETIO",),
            "transports": ("SOCKETIO", "ENGINEIO"),
            "subprotocol": ("WEBSOCKET",),
        }
        for key, verbs in needs.items():
            for found in path.section.fields(key):
                if path.verbs[0] not in verbs:
                    message = f"'{key}' means nothing for {path.verbs[0]}"
                    hint = f"remove it, or write: method {listed(verbs)}"
                    self.error("RBR043", found.key.span, message, hint)
        self._check_events(path)
        self._check_socket_rules(path)

    def _check_events(self, path: Path) -> None:
        """Lines that would wait for ever for their event."""
        for line in path.events():
            if line.is_any or line.event in OF_THE_SOCKET:
                continue
            if path.verbs[0] == "SOCKETIO":
                if line.event in RESERVED:
                    message = f"no client can send the event '{line.event}'"
                    hint = "write: on disconnect use ...; or give your event another name"
                    self.error("RBR043", line.event_span, message, hint)
                elif line.event in LIKE_OUR_EVENTS:
                    message = f"'on {line.event}' waits for an event that a client has to send"
                    hint = f"did you mean 'on {LIKE_OUR_EVENTS[line.event]}'?"
                    self.warn("RBR058", line.event_span, message, hint)
            elif line.event != "message":
                message = f"messages of {path.verbs[0]} have no names, and none is '{line.event}'"
                hint = "write: on message use ..., which takes them all"
                self.error("RBR043", line.event_span, message, hint)

    def _check_socket_rules(self, path: Path) -> None:
        """What a socket answers is its protocol's, and its handshake has no body."""
        for section in ("request-body", "response-headers", "response-body"):
            found = path.section.section(section)
            for entry in found.operations() if found is not None else ():
                if isinstance(entry, Set) and section == "response-headers":
                    continue
                message = "the handshake of a socket has no body"
                hint = "check what the client sends in the handler, where messages come"
                if section != "request-body":
                    message = "what a socket answers is its protocol's: no rule can change it"
                    hint = (
                        "check what you send in the handler; for the handshake's answer there is:"
                        ' response-headers ( set Header "value" )'
                    )
                self.error("RBR045", entry.span, message, hint)
        for place in (path.section, path.section.section("request-headers") or Section(())):
            for entry in place.operations():
                if isinstance(entry, OnError):
                    message = "a socket's handler that fails ends its socket: no code is answered"
                    hint = (
                        "remove it; what refuses a handshake with a code is:"
                        " request-headers ( unless ... return CODE )"
                    )
                    self.error("RBR045", entry.span, message, hint)

    def _check_service(self, path: Path, title: str) -> None:
        keys = keys_of("path")
        socket_hint = f"remove it, or write: method {listed(SOCKET_VERBS)}"
        for entry in path.section.entries:
            if isinstance(entry, Field) and entry.key.text in keys:
                if keys[entry.key.text].only_sockets:
                    message = f"'{entry.key.text}' means nothing for {'|'.join(path.verbs)}"
                    self.error("RBR043", entry.key.span, message, socket_hint)
            elif isinstance(entry, OnEvent):
                message = f"{title} gets no events: its method is {'|'.join(path.verbs)}"
                self.error("RBR043", entry.event_span, message, socket_hint)

    def _check_presence(self, path: Path, title: str) -> None:
        name = path.name.span
        if any(isinstance(entry, Field) and _is_unknown(entry) for entry in path.section.entries):
            return  # what is missing may be what was misspelt
        if path.url is None and not path.section.fields("url"):
            hint = "write: url /something"
            self.warn("RBR050", name, f"{title} has no url, so nothing reaches it", hint)
        if not path.section.fields("use") and not path.events():
            what = "is deaf: it has" if path.is_socket else "echoes the request: it has"
            hint = "write for instance: use python:module.function"
            neither = "neither 'use' nor 'on'" if path.is_socket else "no 'use'"
            self.warn("RBR052", name, f"{title} {what} {neither}", hint)
        use, url = path.use, path.url
        if use and use.kind == "directory" and url and "{" not in url.text:
            self.warn(
                "RBR055",
                url.span,
                "this url names no file of the folder",
                f"write: url {clip(url.text.rstrip('/*'))}/{{name:.*}}",
            )

    # --- paths among each other

    def _check_urls(self) -> None:
        """Clashes: one template, one verb (and one namespace) twice."""
        seen: dict[tuple[str, str, str], Path] = {}
        for path in self.rbr.paths:
            if path.url is None:
                continue
            namespace = path.get("namespace")
            room = namespace.text if isinstance(namespace, Url) else "/"
            clashes: dict[str, list[str]] = {}
            for verb in dict.fromkeys(path.verbs):
                other = seen.setdefault((path.url.text, verb, room), path)
                if other is not path:
                    clashes.setdefault(self.place(other.span), []).append(verb)
            for place, verbs in clashes.items():
                self._report_clash(path, place, verbs)
        self._check_socket_urls()
        self._check_polled_urls()

    def _check_socket_urls(self) -> None:
        """Sockets of two kinds at one url: a request for a WebSocket means either."""
        seen: dict[str, Path] = {}
        for path in self.rbr.paths:
            if path.is_socket and path.url is not None:
                other = seen.setdefault(path.url.text, path)
                if other.verbs != path.verbs:
                    hint = f"give one of them another url: this one has {listed(other.verbs)}"
                    self._report_clash(path, self.place(other.span), [*path.verbs], hint)

    def _check_polled_urls(self) -> None:
        """A page at the url of sockets that poll: what stands first has every GET."""
        sockets = {
            path.url.text: path
            for path in reversed(self.rbr.paths)
            if path.url is not None and path.is_socket and path.verbs != ("WEBSOCKET",)
        }
        for path in self.rbr.paths:
            other = sockets.get(path.url.text) if path.url is not None else None
            if other is None or path.is_socket or "GET" not in path.verbs:
                continue
            first, later = sorted((path, other), key=lambda one: one.span)
            offered = later.get("transports")
            if later is other and isinstance(offered, Words) and "polling" not in offered.texts:
                continue
            self.warn(
                "RBR054",
                later.name.span,
                f"no GET reaches this path: path '{clip(first.name.text)}' has the same url",
                "give one of them another url; only WEBSOCKET may share that of a page",
                [f"that path is at {self.place(first.span)}"],
            )

    def _report_clash(self, path: Path, place: str, verbs: list[str], hint: str = "") -> None:
        url = path.url
        assert url is not None  # only paths with one are compared
        own = path.get("url")
        usual = "give one of them another url or method; the first would always answer"
        if "SOCKETIO" in verbs:
            usual = "give one of them a namespace of its own: namespace /news"
        self.error(
            "RBR032",
            own.span if own else path.name.span,
            f"{listed(verbs, 'and')} {clip(url.text)} is answered already",
            hint or usual,
            [f"the path that answers it is at {place}"],
        )

    def _check_shared_options(self) -> None:
        """Paths of one url share its transport, so they cannot each have their own options."""
        seen: dict[tuple[str, str], Field] = {}
        keys = keys_of("path")
        for path in self.rbr.paths:
            if not path.is_socket or path.url is None:
                continue
            for entry in path.section.entries:
                if isinstance(entry, Field) and entry.key.text in keys:
                    key = keys[entry.key.text]
                    first = seen.setdefault((path.url.text, key.name), entry)
                    if key.only_sockets and key.name not in OWN_OPTIONS:
                        self._compare_options(entry, first, path.url.text)

    def _compare_options(self, entry: Field, first: Field, url: str) -> None:
        if entry.value != first.value:
            self.error(
                "RBR044",
                entry.span,
                f"'{entry.key.text}' has another value already for {clip(url)}",
                "say it once: paths that share a url share its transport",
                [f"the first one is at {self.place(first.span)}"],
            )

    def _check_reach(self) -> None:
        """Warn of a url that an earlier one takes first: the order of the file decides."""
        earlier: list[_Template] = []
        comparisons = 0
        for path in self.rbr.paths:
            url = path.get("url")
            if not isinstance(url, Url) or path.is_socket:
                continue
            template = _Template(path, url.text)
            comparisons += len(earlier)
            if comparisons > _MAX_COMPARISONS:
                return
            taker = next((one for one in earlier if one.takes(template)), None)
            if taker is not None:
                self._report_unreached(url, taker.path)
            if "{" in url.text and not any(rbr_patterns.faults(url.text)):
                earlier.append(template)

    def _report_unreached(self, url: Url, taker: Path) -> None:
        self.warn(
            "RBR054",
            url.span,
            f"this url is never reached: path '{clip(taker.name.text)}' fits it",
            "move it before that path",
            [f"that path is at {self.place(taker.span)}"],
        )


class _Template:
    """A url that is compared with others, and what is worked out once for that."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self.verbs = set(path.verbs)
        self.shape = rbr_patterns.shape(url)
        self.pattern = rbr_patterns.as_regex(url) if "{" in url else None

    def takes(self, later: _Template) -> bool:
        """True if no request is left for a later path."""
        if not later.verbs <= self.verbs or later.url == self.url:
            return False  # the same url is a clash, and reported as such
        if "{" in later.url:
            return later.shape == self.shape
        return self.pattern is not None and self.pattern.fullmatch(later.url) is not None


def _verb_hint(word: str, kind: str) -> str:
    """What to write for a verb that can't be named, where ``kind`` of thing answers."""
    near = closest(word, VERBS)
    if near and not word.endswith(near):  # PROPPATCH is no PATCH
        return f"did you mean '{near}'?"
    if kind in ("proxy", "wsgi"):
        return f"leave 'method' out: {kind}: gets every method then. Verbs are {listed(VERBS)}"
    return f"verbs are {listed(VERBS)}; any other goes to proxy: and wsgi:, without 'method'"


def _is_unknown(field: Field) -> bool:
    return field.key.text not in keys_of("path") and not is_custom(field.key.text)


def _identity(definition: Definition) -> tuple[str, Name]:
    """Of what there must be one with this name; an empty kind if that does not matter."""
    match definition:
        case Path(name) | Global(name) | Type(name):
            return type(definition).__name__.lower(), name
        case Socket():
            return "path", definition.as_path().name
        case Meta() | Root():
            keyword = type(definition).__name__.lower()
            start = definition.span.start
            return keyword, Name("", start=start, end=start + len(keyword))
        case _:
            return "", Name("")


def check(rbr: Rbr, resolve: Resolve | None = None) -> tuple[Diagnostic, ...]:
    """Errors and warnings, up to 20 of each, in the order of the text.

    With ``resolve`` every file, folder and callable is asked for; without it
    (``--syntax-only``) the text alone is judged.
    """
    checker = Checker(rbr, resolve)
    checker.check_file()
    return tuple(sorted(checker.found, key=lambda diagnostic: diagnostic.span))


def examine(
    text: str | bytes, filename: str = "<text>", resolve: Resolve | None = None
) -> tuple[Rbr, tuple[Diagnostic, ...]]:
    """Read and check in one run: the tree, and all there is to say of the text.

    What the checks say of a place that could not be read is left out, and so is
    what they say of a section that was never closed, for nobody knows what
    belongs to it: both would be echoes.
    """
    rbr, errors = read(text, filename)
    guilty = {error.span.start for error in errors}
    unclosed = {error.span.start for error in errors if error.code == "RBR014"}
    blurred = [
        entry.span
        for section in _sections(rbr)
        for entry in section.entries
        if section.start in unclosed
    ]
    sense = tuple(
        one
        for one in check(rbr, resolve)
        if not (errors and one.code == "RBR053")  # what was not read may well serve something
        and not any(one.span.start <= offset <= one.span.end for offset in guilty)
        and not any(span.start <= one.span.start < span.end for span in blurred)
    )
    found = sorted(errors + sense, key=lambda diagnostic: diagnostic.span)
    wrong = [one for one in found if one.severity == "error"][:MAX_ERRORS]
    return rbr, tuple(one for one in found if one.severity == "warning" or one in wrong)


def _sections(rbr: Rbr) -> Iterator[Section]:
    for definition in rbr.definitions:
        if isinstance(definition, Path | Meta):
            yield from _inner_sections(definition.section)


def _inner_sections(section: Section) -> Iterator[Section]:
    yield section
    for entry in section.entries:
        if isinstance(entry, Field) and isinstance(entry.value, Section):
            yield from _inner_sections(entry.value)
