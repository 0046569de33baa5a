"""The sense of files, as far as the pictures of tests/rbr/bad do not show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rbr_corpus import BAD, GOOD, resolve

from redbarrel_lite.rbr import parse
from redbarrel_lite.rbr_check import check, examine
from redbarrel_lite.rbr_diagnostics import Source
from redbarrel_lite.rbr_keys import META_KEYS, PATH_KEYS, RULE_KEYS, SOCKET_VERBS, all_keys
from redbarrel_lite.rbr_nodes import Field, Location, Name, Rbr, Section, Text
from redbarrel_lite.rbr_nodes import Path as PathNode
from redbarrel_lite.rbr_patterns import as_regex, faults, has_nested_quantifier, shape

SAMPLES = ("announcement", "demos", "keyexchange", "sockets", "sockets2011")


def codes_of(text: str, severity: str = "error") -> list[str]:
    return [one.code for one in examine(text, "a.rbr", resolve)[1] if one.severity == severity]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_samples_have_no_errors_but_missing_things(path: Path) -> None:
    found = examine(path.read_bytes(), path.name)[1]
    if path.stem in SAMPLES:
        assert [one for one in found if one.severity == "error"] == []
    asked: list[Location] = []
    check(parse(path.read_bytes()), asked.append)
    assert all(location.kind != "proxy" for location in asked)


@pytest.mark.parametrize("ending", ["html", "htm", "css", "js", "txt", "json", "png", "svg", "ico"])
def test_name_that_looks_like_a_file_is_told_so(ending: str) -> None:
    (found,) = examine(f"path a (url /, use logo.{ending});", "a.rbr", resolve)[1]
    assert found.help == f"it looks like a file; write: file:logo.{ending}"
    (found,) = examine("path a (url /, use wsgi:logo.js);", "a.rbr", resolve)[1]
    assert found.help == "create it, or correct its name"


def test_every_location_is_asked_for_once() -> None:
    text = """
        include "i.rbr"; global g m.g; global f file:g.ini; type t m.T; socket m.s;
        path p (url /p, use m.p, request-headers (unless X validates with m.v return 400),
            response-body (alter with m.a));
        path q (method SOCKETIO, namespace /q, on a use m.e);
        path d (url /{d}/x, use directory:d); path w (url /w, use wsgi:m.w);
        path r (url /r, use proxy:http://r);
    """
    asked: list[str] = []
    found = check(parse(text), lambda location: asked.append(location.target))
    assert asked == ["i.rbr", "m.g", "g.ini", "m.T", "m.s", "m.p", "m.v", "m.a", "m.e", "d", "m.w"]
    assert found == ()


def test_without_resolve_nothing_is_looked_for_and_unknown_fields_are_warnings() -> None:
    rbr = parse("path a (url /, use nowhere.nothing, colour red);")
    assert [(one.code, one.severity) for one in check(rbr)] == [("RBR012", "warning")]
    found = check(rbr, resolve)
    assert [(one.code, one.severity) for one in found] == [
        ("RBR040", "error"),
        ("RBR012", "error"),
    ]


@pytest.mark.parametrize("key", list(PATH_KEYS))
def test_every_key_of_a_path_is_known_with_its_example(key: str) -> None:
    examples = {
        "section": '(description "d")',
        "text": '"t"',
        "url": "/u",
        "verbs": "SOCKETIO",
        "location": "app.hello",
        "origin": '"*"',
        "token": '"t"',
    }
    default = PATH_KEYS[key].default or examples[PATH_KEYS[key].kind]
    method = "GET" if not PATH_KEYS[key].only_sockets else "SOCKETIO"
    fields = {"method": method, "use": "app.hello", "url": "/", key: default}
    if key == "method":
        fields["method"] = default
    if key == "subprotocol":
        fields["method"] = "WEBSOCKET"
    text = f"path a ({', '.join(f'{name} {value}' for name, value in fields.items())});"
    assert codes_of(text) == []


def test_numbers_at_their_bounds_are_in_range() -> None:
    text = "path a (method SOCKETIO, use app.hello, {} {});"
    for key in PATH_KEYS.values():
        if key.kind in ("bytes", "count", "seconds", "number"):
            whole = key.kind in ("bytes", "count")
            for value in (key.low, key.high):
                written = str(int(value)) if whole or value == int(value) else str(value)
                assert codes_of(text.format(key.name, written)) == [], key.name
            above = int(key.high) + 1
            assert codes_of(text.format(key.name, above)) == ["RBR041"], key.name


def test_all_keys_are_those_of_the_tables() -> None:
    assert set(all_keys()) == {*META_KEYS, *PATH_KEYS, *RULE_KEYS}


def test_statuses_at_their_bounds_are_fine() -> None:
    text = 'path a (url /, use app.hello, response-status (describe {} "x"));'
    assert [codes_of(text.format(code)) for code in ("100", "599")] == [[], []]
    assert [codes_of(text.format(code)) for code in ("99", "600", "0100", "1.0")] == [
        ["RBR033"]
    ] * 4


def test_file_that_serves_nothing_is_marked_at_its_start() -> None:
    (found,) = examine("# nothing\n")[1]
    assert (found.code, found.span, found.filename) == ("RBR053", (0, 0), "<text>")
    assert [one.code for one in examine("global a")[1]] == ["RBR017"]


def test_without_resolve_there_are_no_more_than_twenty_warnings_either() -> None:
    found = check(parse("".join(f"path p{n} (url /{n}, use a.b, y 1);" for n in range(50))))
    assert [one.code for one in found] == ["RBR012"] * 20


@pytest.mark.parametrize("address", ["http://a", "https://a", "http://a:1/b"])
def test_proxies_have_addresses(address: str) -> None:
    assert codes_of(f"path a (url /, use proxy:{address});") == []
    assert codes_of(f"path a (url /, use proxy:x{address});") == ["RBR042"]


def test_trees_made_by_programs_are_checked_too() -> None:
    entry = Field(Name("request-body"), Text("x"))
    rbr = Rbr((PathNode(Name("a"), Section((entry,))),), Source("x.rbr", ""))
    assert [one.message for one in check(rbr)] == ["'request-body' takes a section"]


def test_one_url_may_have_several_verbs_and_namespaces() -> None:
    text = """
        path a (url /, use app.hello); path b (method POST, url /, use app.hello);
        path c (method SOCKETIO, use app.hello);
        path d (method SOCKETIO, namespace /d, use app.hello, max-rate 5);
        path e (method SOCKETIO, namespace /e, use app.hello, max-rate 6);
        path f (method WEBSOCKET, url /, use app.hello);
    """
    assert codes_of(text) == []


def test_order_of_the_file_is_looked_at_only_where_it_matters() -> None:
    text = "path a (url /{a}, use app.hello); path b (%s, use app.hello);"
    for fields in ("url /b/c", "method POST, url /b", "method SOCKETIO, url /b", "url /{b:x}"):
        assert codes_of(text % fields, "warning") == [], fields
    assert codes_of(text % "url /b", "warning") == ["RBR054"]
    same = "path a (url /{a}, use app.hello); path b (url /{a}, use app.hello);"
    assert (codes_of(same), codes_of(same, "warning")) == (["RBR032"], [])
    # A regex that could run away is not tried on anything.
    risky = "path a (url /{a:(x+)+}, use app.hello); path b (url /xxxx, use app.hello);"
    assert codes_of(risky, "warning") == ["RBR037"]


@pytest.mark.parametrize("verb", ["SOCKETIO", "ENGINEIO"])
def test_page_at_the_url_of_sockets_that_poll_is_told_of(verb: str) -> None:
    page = "path a (url /b/, method GET|POST, use app.hello);"
    socket = f"path b (method {verb}, url /b/, use app.hello);"
    assert codes_of(page + socket, "warning") == codes_of(socket + page, "warning") == ["RBR054"]
    silent = socket.replace("use", "transports websocket, use")
    assert codes_of(page + silent, "warning") == []
    assert codes_of(silent + page, "warning") == ["RBR054"]
    assert codes_of(page.replace("GET|", "") + socket, "warning") == []


def test_many_paths_are_compared_in_bounded_time() -> None:
    text = "".join(f"path p{n} (url /{{a}}/{n}, use app.hello);" for n in range(900))
    assert codes_of(text, "warning") == []


def test_no_more_than_twenty_errors_and_twenty_warnings() -> None:
    text = "".join(f"path p{n} (url /{n}, colour red); path q{n} (url /q{n});" for n in range(50))
    assert codes_of(text) == ["RBR012"] * 20
    assert codes_of(text, "warning") == ["RBR052"] * 20
    both = "path a (url x, use app.hello);" * 15 + "path b (url /, use app.hello, y 1);" * 15
    assert len(codes_of(both)) == 20


def test_a_fault_of_the_text_has_no_echo_in_the_sense() -> None:
    assert codes_of("path a (url x, use hello);", "warning") == []
    assert codes_of("path a (url /, use pyton:app.hello);") == ["RBR023"]
    unclosed = "path a (\n  request-body (\n    url /,\n    x 1\n\npath b (url /b, y 1);"
    assert codes_of(unclosed) == ["RBR014", "RBR012"]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_diagnostics_stand_in_the_order_of_the_text(path: Path) -> None:
    found = examine(path.read_bytes(), path.name, resolve)[1]
    assert [one.span for one in found] == sorted(one.span for one in found)
    assert len({one.span.start for one in found}) == len(found)


@pytest.mark.parametrize(
    "regex", ["(a+)+", "(a*)*", "(?:a+)*", "((a+)b)+", "(a+|b)+", "(a{1,})+", "([a]+)+", r"(\d+)+",
              "(?P<x>a+)+", "(?i:a+)+", "(?=a+)+"],
)  # fmt: skip
def test_nested_quantifiers_are_seen(regex: str) -> None:
    assert has_nested_quantifier(regex)


@pytest.mark.parametrize(
    "regex", ["a+", "(a)+", "(a+)", "(a+)b+", r"(\+)+", "([+*])+", "(a{2})+", "(a{2,3})*",
              "[(]a+[)]+",
              r"\(a+\)+", ".*?", "[]+]+", "[^]+]+", ")a+"],
)  # fmt: skip
def test_harmless_quantifiers_are_left_alone(regex: str) -> None:
    assert not has_nested_quantifier(regex)


def test_templates_are_compared_by_what_they_fit() -> None:
    assert shape("/a/{b}/{c:x}") == shape("/a/{d}/{e:x}") != shape("/a/{b}/{c:y}")
    pattern = as_regex("/a/{b}.{c:[0-9]+}")
    assert pattern is not None
    assert pattern.fullmatch("/a/x.1")
    assert not pattern.fullmatch("/a/x/y.1")
    assert not pattern.fullmatch("/a/xx1")
    assert as_regex("/{a:(b+)+}") is None
    assert as_regex("/{a:[}") is None
    assert list(faults("/a/{b}/{c:.*}")) == []


def test_socket_verbs_are_pinned() -> None:
    assert SOCKET_VERBS == ("SOCKETIO", "ENGINEIO", "WEBSOCKET")
