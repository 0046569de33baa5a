"""The parser: the grammar, the lexical rules, and that no text makes it fall over."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import pytest
from rbr_corpus import BAD, GOOD, resolve

from redbarrel_lite.errors import RbrError, Span
from redbarrel_lite.rbr import parse, read
from redbarrel_lite.rbr_check import examine
from redbarrel_lite.rbr_format import format as format_rbr
from redbarrel_lite.rbr_format import value_text
from redbarrel_lite.rbr_keys import DEFAULT_URLS, PATH_KEYS
from redbarrel_lite.rbr_nodes import (
    Alter,
    Arbiter,
    Describe,
    Field,
    Global,
    Include,
    Location,
    Meta,
    Name,
    Node,
    Number,
    OnError,
    OnEvent,
    Placeholder,
    Root,
    Section,
    Set,
    Socket,
    Text,
    Type,
    UnlessType,
    UnlessValidates,
    Url,
    Value,
    Words,
    Worker,
)
from redbarrel_lite.rbr_nodes import (
    Path as PathNode,
)


def value_of(text: str) -> Value:
    """The value of a global, where every value may stand."""
    (definition,) = parse(f"global x {text};").definitions
    assert isinstance(definition, Global)
    return definition.value


def entries_of(text: str) -> tuple[object, ...]:
    return parse(f"path a ({text});").paths[0].section.entries


def errors_of(text: str | bytes) -> list[tuple[str, int, int]]:
    return [(one.code, one.line, one.column) for one in read(text)[1]]


# --- definitions


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file_parses(path: Path) -> None:
    assert parse(path.read_bytes(), path.name).definitions


# As the manual, the announcement and the demonstrations of 2011 wrote them; the first five
# are refused by the grammar of their own time.
FORMS_OF_2011 = [
    "path somepath (\n    method   GET,\n    url /,\n    use python:somecode,\n);",
    "socket python:redbarrel.demos.broadcast.broadcast.broadcast;",
    "path a (request-headers (unless X-Back-Off is int return 400));",
    "path a (use proxy:http://example.org:5000/base/path);",
    "path Foo (variable1 (field1 value1, operation, field2 value2));",
    'global name "value";\ntype binary python:Binary;',
    'meta (\n    title "this",\n    version 1.0,\n    description "That"\n);',
    'meta (description """An URL Shortener""", version 1.0);',
    'define path capitalize (\n    description "A web service",\n    method POST\n);',
    "path a (request-headers (\n  unless Authorization validates with demos.auth return 401\n));",
    'path a (response-headers (set content-type "application/json",));',
    "path a (use location:/var/www/index.html);",
    'path a (x-author "me", x-request-max-size 1024);',
    "path here (\n    use proxy:http://localhost:5000,\n    url /proxy\n);",
    "path socketio (method GET|POST, url /socket.io/{transport:.*?}, use python:a.main);",
    "path put_channel (use keyexchange.put_channel, url /{channel_id}, method PUT);",
    "worker http python:a.B; arbiter socketio python:redbarrel.server.workers.Worker;",
    "path a (request-body (unless type is not json return 400), on error return 503);",
    "path index (use file:shortme/index.html\n\n);",
    "global config file:config.ini;\nglobal app python:demos.app;\nroot /demos;",
]


@pytest.mark.parametrize("text", FORMS_OF_2011)
def test_forms_of_2011_parse(text: str) -> None:
    assert parse(text).definitions


def test_every_definition_has_its_node() -> None:
    text = """
        meta (title "t"); path p (url /); define path q (url /); global g 1;
        type t python:m.T; root /r; socket m.f; socket s python:m.f;
        include "i.rbr"; include "i.rbr" at /i; worker w a.b; arbiter w a.b;
    """
    section = Section((Field(Name("url"), Url("/")),))
    assert parse(text).definitions == (
        Meta(Section((Field(Name("title"), Text("t")),))),
        PathNode(Name("p"), section),
        PathNode(Name("q"), section),
        Global(Name("g"), Number("1")),
        Type(Name("t"), Location("python", "m.T")),
        Root(Url("/r")),
        Socket(None, Location("python", "m.f")),
        Socket(Name("s"), Location("python", "m.f")),
        Include(Text("i.rbr"), None),
        Include(Text("i.rbr"), Url("/i")),
        Worker(Name("w"), Location("python", "a.b")),
        Arbiter(Name("w"), Location("python", "a.b")),
    )


def test_every_operation_has_its_node() -> None:
    code = Number("400")
    use = Location("python", "m.f")
    assert entries_of("""
        unless type is json return 400, unless is json return 400,
        unless X type is not int return 400, unless "X Y" is int return 400,
        unless X validates with n return 400, unless X validates with m.f return 400,
        on error return 400, on join use m.f, on "a b" use m.f, on * use m.f, on "*" use m.f,
        on error use m.f, set X "v", set "X Y" 1, describe 400 "d", alter with m.f,
    """) == (
        UnlessType(None, False, Name("json"), code),
        UnlessType(None, False, Name("json"), code),
        UnlessType("X", True, Name("int"), code),
        UnlessType("X Y", False, Name("int"), code),
        UnlessValidates("X", Name("n"), code),
        UnlessValidates("X", use, code),
        OnError(code),
        OnEvent("join", False, use),
        OnEvent("a b", False, use),
        OnEvent("*", True, use),
        OnEvent("*", False, use),
        OnEvent("error", False, use),
        Set("X", Text("v")),
        Set("X Y", Number("1")),
        Describe(code, Text("d")),
        Alter(use),
    )


def test_keywords_are_names_where_the_grammar_asks_for_names() -> None:
    text = "path path (url /, x-a path); path socket (url /); socket socket m.f; global global 1;"
    assert [path.name.text for path in parse(text).paths] == ["path", "socket", "socket"]


@pytest.mark.parametrize("header", ["type", "is", "validates"])
def test_headers_may_be_called_like_keywords(header: str) -> None:
    (checked,) = entries_of(f"unless {header} type is int return 400")
    assert checked == UnlessType(header, False, Name("int"), Number("400"))
    (short,) = entries_of("unless is is int return 400")
    assert short == UnlessType("is", False, Name("int"), Number("400"))
    (validated,) = entries_of(f"unless {header} validates with n return 400")
    assert validated == UnlessValidates(header, Name("n"), Number("400"))


def test_trailing_commas_and_lists_of_values_are_read() -> None:
    (tags,) = entries_of('x-tags ("a", 1, /u, w|v, m.f, n,),')
    assert isinstance(tags, Field)
    assert isinstance(tags.value, Section)
    assert tags.value.entries == (
        Text("a"),
        Number("1"),
        Url("/u"),
        Words((Name("w"), Name("v"))),
        Location("python", "m.f"),
        Words((Name("n"),)),
    )


# --- values


@pytest.mark.parametrize("text", ["1", "1.0", "1.10", "1.0.3", "007", "12."])
def test_numbers_are_kept_as_written(text: str) -> None:
    assert value_of(text) == Number(text)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('""', ""),
        ('"a # b"', "a # b"),
        (r'"\" \\ \n \t"', '" \\ \n \t'),
        (r'"\u00e9\u00E9"', "éé"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\d \u12 \x41 \é"', r"\d \u12 \x41 \é"),
        (r'"\\n"', r"\n"),
        ('"' + "\\\\" * 3 + '"', "\\\\\\"),
        ('""""""', ""),
        (r'"""a "quoted" \n"""', r'a "quoted" \n'),
        ('"""two\nlines # here"""', "two\nlines # here"),
        ('"""two\r\nlines"""', "two\nlines"),
    ],
)
def test_texts_say_what_they_mean(written: str, text: str) -> None:
    value = value_of(written)
    assert value == Text(text)


@pytest.mark.parametrize(
    "url",
    [
        "/", "/a.b~c%20?d&e=f:g@h", "/a(b)c", "/((a)(b))", "/{n}", "/{n:.*?}", "/{n:[a-z]{1,2}}",
        "/{n:[(),; #]+}/b", r"/{n:\{a\}}", "//a",
    ],
)  # fmt: skip
def test_urls_run_to_their_end_and_no_further(url: str) -> None:
    assert value_of(url) == Url(url)
    assert entries_of(f"url {url}") == (Field(Name("url"), Url(url)),)
    assert entries_of(f"url {url}# a comment\n,") == (Field(Name("url"), Url(url)),)


def test_urls_may_have_8192_bytes_and_no_more() -> None:
    for tail, codes in (("x" * 8191, []), ("é" * 4096, ["RBR022"]), ("x" * 8192, ["RBR022"])):
        assert [code for code, _, _ in errors_of(f"root /{tail};")] == codes
    assert value_of("/" + "é" * 4095) == Url("/" + "é" * 4095)


def test_url_is_split_at_its_placeholders() -> None:
    url = Url("/a/{b}/{c:[0-9]{2}}-{ d : x}")
    assert url.parts() == (
        "/a/",
        Placeholder("b", None, 3, 6),
        "/",
        Placeholder("c", "[0-9]{2}", 7, 19),
        "-",
        Placeholder("d", " x", 20, 28),
    )
    assert Url("/{1}/{}/{a").parts() == ("/{1}/{}/{a",)
    assert Url("").parts() == ()
    assert Url("/{a}{b}").parts() == (
        "/",
        Placeholder("a", None, 1, 4),
        Placeholder("b", None, 4, 7),
    )


@pytest.mark.parametrize(
    ("written", "kind", "target"),
    [
        ("python:chat", "python", "chat"),
        ("python:a.b.c", "python", "a.b.c"),
        ("python:é.ü", "python", "é.ü"),
        ("a.b", "python", "a.b"),
        ("wsgi:site.app", "wsgi", "site.app"),
        ("file:a/b-c.html", "file", "a/b-c.html"),
        ("file:../a(1).html", "file", "../a(1).html"),
        ('file:"my page.html"', "file", "my page.html"),
        ("location:/var/www/x", "file", "/var/www/x"),
        ("directory:.", "directory", "."),
        ("proxy:http://a.b:1/c", "proxy", "http://a.b:1/c"),
        ('proxy:"https://a"', "proxy", "https://a"),
    ],
)
def test_locations(written: str, kind: str, target: str) -> None:
    value = value_of(written)
    assert value == Location(kind, target)
    assert isinstance(value, Location)
    assert value.written == written
    assert parse(f"path a (use {written})  ;").paths[0].use == value


# --- the tree


def test_path_answers_what_an_application_asks() -> None:
    rbr = parse(
        """
        root /api/; meta (title "T", version 1.10); global a 1; type b m.T; include "c";
        path p (method GET|POST, url /p, use file:x, description "D", allow-origin "a",
            allow-origin "b", on error return 503, max-body 10, request-body (x 1));
    """
    )
    (path,) = rbr.paths
    assert (rbr.root, rbr.meta.text("title"), rbr.meta.text("version")) == ("/api", "T", "1.10")
    assert rbr.meta.text("description") == ""
    assert [len(found) for found in (rbr.globals, rbr.types, rbr.includes)] == [1, 1, 1]
    assert path.verbs == ("GET", "POST")
    assert not path.is_socket
    assert path.url == Url("/p")
    assert path.use == Location("file", "x")
    assert path.text("description") == "D"
    assert path.get("nothing") is None
    assert path.all("allow-origin") == (Text("a"), Text("b"))
    assert path.on_error() == OnError(Number("503"))
    assert path.events() == ()
    assert path.number("max-body") == 10
    body = path.section.section("request-body")
    assert body is not None
    assert body.fields("x")
    assert body.operations() == ()
    assert path.get("request-body") is None
    assert path.section.section("url") is None


def test_defaults_come_from_the_table_of_keys() -> None:
    (path,) = parse("path p (x-a 1);").paths
    assert path.verbs == ("GET",)
    assert path.url is None
    assert path.use is None
    assert path.on_error() is None
    assert path.number("ping-interval") == float(PATH_KEYS["ping-interval"].default) == 25
    assert path.switch("compression") is False
    assert parse("path p (compression on);").paths[0].switch("compression") is True
    assert parse("socket a.b; root /r;").root == "/r"
    assert parse("#").root == ""
    assert parse("").meta == Section(())


def test_urls_of_the_transports_are_those_of_their_protocols() -> None:
    assert DEFAULT_URLS == {
        "SOCKETIO": "/socket.io/",
        "ENGINEIO": "/engine.io/",
        "WEBSOCKET": "/ws",
    }


@pytest.mark.parametrize("verb", list(DEFAULT_URLS))
def test_socket_without_a_url_has_that_of_its_transport(verb: str) -> None:
    (path,) = parse(f"path p (method {verb}, use m.f);").paths
    assert path.is_socket
    assert path.url == Url(DEFAULT_URLS[verb])


def test_socket_line_is_short_for_a_path() -> None:
    one, two = parse("socket m.f; socket room m.g;").paths
    assert (one.name.text, two.name.text) == ("socket", "room")
    for path, target in ((one, "m.f"), (two, "m.g")):
        assert path.verbs == ("SOCKETIO",)
        assert path.url == Url("/socket.io/")
        assert path.use == Location("python", target)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_spans_hold_the_text_of_their_node(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for node in nodes_of(parse(text)):
        part = text[node.start : node.end]
        assert part == part.strip() != ""
        if isinstance(node, Name | Number):
            assert part == node.text
        if isinstance(node, Url):
            assert part == value_text(node)
        if isinstance(node, Location):
            assert text[node.target_span.start : node.target_span.end].strip('"') == node.target
        if isinstance(node, Text):
            assert part == node.written
        if isinstance(node, Field | PathNode):
            assert part.endswith(")" if isinstance(node, PathNode) else part[-1])


def nodes_of(node: object) -> list[Node]:
    """A tree's nodes, all of them."""
    found = [node] if isinstance(node, Node) else []
    for name in getattr(node, "__dataclass_fields__", ()):
        inner = getattr(node, name)
        for child in inner if isinstance(inner, tuple) and not isinstance(inner, Span) else [inner]:
            found += nodes_of(child)
    return found


def test_trees_are_equal_if_they_say_the_same() -> None:
    assert parse("root /a;") == parse("# c\nroot   /a # d\n ;")
    assert parse("root /a;") != parse("root /b;")
    assert Section((), is_whole=False) == Section((), ("# c",), start=1, end=2)
    assert value_of("_a") == Words((Name("_a"),))
    with pytest.raises(AttributeError):
        parse("root /a;").definitions[0].start = 1  # type: ignore[misc]


# --- positions


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("root api;", 1, 6),
        ("\n\nroot api;", 3, 6),
        ("\r\nroot api;", 2, 6),
        ("\troot\tapi;", 1, 7),
        ("\ufeffroot api;", 1, 6),
        ('global a "é"; root api;', 1, 20),
        ('global a "e\u0301"; root api;', 1, 21),
        ('global a "你😀"; root api;', 1, 21),
        ('global a """\n\n"""; root api;', 3, 11),
    ],
)
def test_columns_count_characters(text: str, line: int, column: int) -> None:
    for one in (text, text.encode()):
        assert errors_of(one) == [("RBR018", line, column)]


@pytest.mark.parametrize(
    ("before", "blanks"),
    [
        ("\t", "\t"),
        ('"é" ', "    "),
        ('"e\u0301" ', "    "),
        ('"你" ', "     "),
        ('"\u202e" ', "    "),
        ('"a\u20dd" ', "    "),
        ('"\u200b" ', "    "),
        ('"\u200d" ', "   "),
    ],
)
def test_carets_stand_under_the_guilty_text(before: str, blanks: str) -> None:
    (error,) = read(f"global a {before}你;")[1]
    shown, carets = error.picture.split("\n")[1:3]
    assert shown.startswith("  1 | global a ")
    assert carets == f"    |          {blanks}^^"


def test_long_line_is_shown_around_the_fault() -> None:
    text = 'global a "' + "x" * 5000 + '" b; ' + "#" * 5000
    (error,) = read(text)[1]
    shown, carets = error.picture.split("\n")[1:3]
    assert len(shown) < 140
    assert shown[6] == "…"
    assert shown[-1] == "…"
    assert shown[carets.index("^")] == "b"


def test_text_of_two_lines_is_read_as_one() -> None:
    rbr, errors = read('global a "one\n two"; root /b;')
    assert [one.code for one in errors] == ["RBR003"]
    assert rbr.definitions == (Global(Name("a"), Text("one\n two")), Root(Url("/b")))
    assert format_rbr(rbr) == 'global a """one\n two""";\nroot /b;\n'
    (one,) = read("global a 'x\\y\"z';")[0].definitions
    assert one == Global(Name("a"), Text('x\\y"z'))
    assert format_rbr(read("global a 'x\\y\"z';")[0]) == 'global a "x\\\\y\\"z";\n'


def test_nodes_show_what_they_say_and_no_more() -> None:
    assert repr(parse("# c\nroot /a; # d").definitions[0]) == "Root(url=Url(text='/a'))"
    assert Location("file", "x").target_span == Span(0, 0)
    assert Name("x").span == Span(0, 0)


def test_controls_are_never_printed() -> None:
    (error,) = read('global a "\x1b[2J\u202e" b;')[1]
    assert "\x1b" not in error.picture
    assert "\u202e" not in error.picture


def test_filename_and_counts_are_carried_by_the_error() -> None:
    with pytest.raises(RbrError) as caught:
        parse("root a;\nroot b;\n", "x.rbr")
    assert [one.filename for one in caught.value.diagnostics] == ["x.rbr", "x.rbr"]
    assert str(caught.value) == "\n".join(str(one) for one in caught.value.diagnostics)
    first = caught.value.diagnostics[0]
    assert (first.end_line, first.end_column, first.severity) == (1, 7, "error")
    assert first.help == "write: root /a"
    assert first.notes == ()
    assert first.span == Span(5, 6)


def test_no_more_than_twenty_errors_are_reported() -> None:
    assert len(read("root a;" * 100)[1]) == 20
    assert len(read(b"\xff" + b"root a;" * 100)[1]) == 20


def test_lone_surrogate_in_a_str_is_reported() -> None:
    (error,) = read('global a "\ud800";')[1]
    assert (error.code, error.line, error.column, error.end_column) == ("RBR001", 1, 11, 12)
    assert error.message == "U+D800 is half a character, and no text"
    assert error.help == "remove it"
    assert error.filename == "<text>"
    with pytest.raises(RbrError, match=r"^<text>:1:6: error RBR018"):
        parse("root api;")


def test_byte_that_is_not_utf8_has_its_offset_and_the_rest_is_read() -> None:
    (error,) = read('global a "é'.encode() + b'\xe9";')[1]
    assert error.message == "byte 0xE9 at offset 12 is not UTF-8"
    rbr, errors = read(b"\xef\xbb\xbf# \xe9\nroot a;")
    assert [one.code for one in errors] == ["RBR001", "RBR018"]
    assert rbr.definitions
    assert "at offset 5 " in errors[0].message


def test_tree_of_a_faulty_file_holds_what_could_be_read() -> None:
    rbr, errors = read("path a (url /, use, method GET); path b (url /b);")
    assert len(errors) == 1
    assert [path.url for path in rbr.paths] == [Url("/"), Url("/b")]
    assert [path.section.is_whole for path in rbr.paths] == [False, True]


# --- texts that nobody should write

HOSTILE = {
    "nested brackets": "path a " + "(" * 10_000,
    "nested sections": "path a (" + "b (" * 10_000,
    "brackets only": "(" * 10_000,
    "one line of 5 MB": "path a (url /" + "x" * 5_000_000 + ");",
    "text of 5 MB": 'global a "' + "x" * 5_000_000,
    "NUL bytes": "path a (\0url /\0);\0",
    "only NUL": "\0" * 1000,
    "only quotes": '"' * 10_001,
    "only commas": "path a (" + "," * 10_000,
    "only slashes": "/" * 10_000,
    "open comment": "/*" * 10_000,
    "braces": "path a (url /" + "{" * 10_000 + ");",
    "placeholders": "path a (url /" + "{a}" * 30_000 + ");",
    "pairs of braces": "path a (url /" + "{" * 10_000 + "}" * 10_000 + ");",
    "a name of 1 MB": "path " + "x" * 1_000_000,
    "an unknown word of 1 MB": "x" * 1_000_000 + " y;",
    "an empty file": "",
    "a byte order mark": "\ufeff",
    "two of them": "\ufeff\ufeff",
    "carriage returns": "\r" * 100 + "root\r/a\r;",
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_text_is_read_or_reported(name: str) -> None:
    for text in (HOSTILE[name], HOSTILE[name].encode()):
        errors = examine(text, "x.rbr", resolve)[1]
        assert len(errors) <= 40
        assert sum(len(error.picture) for error in errors) < 100_000


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_truncated_file_raises_nothing_but_rbr_error(path: Path) -> None:
    data = path.read_bytes()
    whole = parse(data).definitions
    for end in range(len(data)):
        rbr, errors = read(data[:end])
        assert errors or whole[: len(rbr.definitions)] == rbr.definitions


# How beginners and cats change a text; the characters are those that mean something.
MUTANTS = 20_000
STUFF = "(){}[],;:=\"'`|/*#.-_\\ \n\t\rabz09é\u00a0\x00%<>" + "你\u202e"


def mutated(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(text) + 1)
        length = chance.choice([0, 0, 1, 1, 5, 30])
        put = chance.choice(["", chance.choice(STUFF), text[at : at + length] * 2])
        text = text[:at] + put + text[at + length :]
    return text


def test_mutated_files_raise_nothing_but_rbr_error() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    texts = [part + ";" for path in GOOD + BAD for part in parts_of(path)]
    for _ in range(MUTANTS):
        rbr, found = examine(mutated(chance.choice(texts), chance), "x.rbr", resolve)
        assert sum(one.severity == "error" for one in found) <= 20
        assert isinstance(rbr.definitions, tuple)


def parts_of(path: Path) -> list[str]:
    """A file in pieces, as small texts are mutated faster, and none of them is huge."""
    text = path.read_bytes().decode("utf-8", "replace")
    return [part for part in text.split(";\n") if len(part) < 2000]


def test_parser_leaves_the_garbage_collector_as_it_was() -> None:
    assert gc.isenabled()
    parse("root /a;")
    assert gc.isenabled()
    gc.disable()
    try:
        parse("root /a;")
        assert not gc.isenabled()
    finally:
        gc.enable()
