"""A regex in a url does as it was written, or its author is told."""

from __future__ import annotations

import random
import re

import pytest

from redbarrel_lite.errors import Span
from redbarrel_lite.rbr_nodes import Url
from redbarrel_lite.rbr_patterns import faults, is_server_address, shape
from redbarrel_lite.routes import Route, Router, compile_template

# What a regex may be made of; alone or in pairs some of it is none.
PIECES = (
    *("a", "x", "(x)", "(?:a|x)", "(?P<a>x)", "(?P<b>.)", "(?P<q>a)", "(?P=q)", "(?P=a)", "[ax]"),
    *(r"\1", r"\2", r"\12", r"\141", r"[\1a]", r"\\1", r"(?#[)", r"[]\2]", r"\x61", "a|x", "."),
    *("(?i)", "(?x)", "(?is)", "(?i:A)", "(?#c)", "(?(1)a|x)", "(?(q)a|x)", "(?", ")", "(", "?"),
    *("(?=a)", "(?<=a)", "^", "$", r"\b", "+", "{2}", "*", "[", "(?-i:x)", r"\N{BULLET}"),
)
WORDS = ("", "a", "x", "ax", "xx", "aa", "xax", "aax", "A")


def is_sound(template: str) -> bool:
    return all(fault.code != "RBR036" for fault in faults(template))


def compiled(template: str) -> re.Pattern[str]:
    parts = Url(template, start=0, end=0).parts()
    return compile_template(p if isinstance(p, str) else (p.name, p.regex) for p in parts)


def test_what_no_fault_is_told_of_is_a_pattern() -> None:
    dice = random.Random(7)
    accepted = 0
    for _ in range(6000):
        regexes = ["".join(dice.choices(PIECES, k=dice.randint(1, 4))) for _ in "ab"]
        template = f"/{{a:{regexes[0]}}}/{{b:{regexes[1]}}}"
        if is_sound(template):
            accepted += 1
            compiled(template)
    assert accepted > 500


def test_accepted_regex_means_in_its_url_what_it_means_alone() -> None:
    dice = random.Random(11)
    pieces = [p for p in PIECES if p not in ("(?=a)", "(?<=a)", "^", "$", r"\b")]  # that look round
    accepted = 0
    for _ in range(6000):
        regex = "".join(dice.choices(pieces, k=dice.randint(1, 4)))
        template = f"/{{o:.}}/{{n:{regex}}}"
        if not is_sound(template):
            continue
        accepted += 1
        pattern, alone = compiled(template), re.compile(regex)
        for word in WORDS:
            found = pattern.fullmatch(f"/x/{word}")
            assert bool(found) is bool(alone.fullmatch(word)), (regex, word)
    assert accepted > 500


@pytest.mark.parametrize(
    ("regex", "hint"),
    [
        ("(?i)jpg|png", "write: (?i:jpg|png)"),
        ("(?#c)(?i)(?s)x", "write: (?is:x)"),
        ("x(?i)y", "write (?i:...) around what it is for"),
        (r"(.)x\1", "give the group a name: (?P<same>...), and then (?P=same) or (?(same)...)"),
        ("(a)?(?(1)b)", "give the group a name: (?P<same>...), and then (?P=same) or (?(same)...)"),
        ("(?P<o>x)", "give each placeholder of a url, and each group, its own name"),
        ("(?P<n>x)", "give each placeholder of a url, and each group, its own name"),
    ],
)
def test_what_works_alone_only_is_told_with_what_to_write(regex: str, hint: str) -> None:
    (fault,) = faults(f"/{{o}}/{{n:{regex}}}")
    assert (fault.code, fault.hint) == ("RBR036", hint)


def test_regexes_that_are_too_much_together_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(regex: str, _flags: int = 0) -> re.Pattern[str]:
        if len(regex) > 12:
            raise OverflowError
        return re.compile(regex)

    monkeypatch.setattr("redbarrel_lite.rbr_patterns.compiled", limited)
    (fault,) = faults("/{a:[0-9]}/{b:[0-9]}")
    assert (fault.span, fault.message) == (Span(0, 20), "the regexes of this url are too large")
    assert fault.hint == "write simpler ones"


def test_broken_regex_is_shown_where_it_breaks() -> None:
    (fault,) = faults("/{a:x)y}")
    assert fault.span == Span(5, 6)
    assert fault.message.endswith("unbalanced parenthesis")


DECODED = "urls are compared decoded: write what it stands for, or '{name}'"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("/%2Fb", DECODED),
        ("/a%00", DECODED),  # which can't be written
        ("/a%41", "write: A"),
        ("/a%20b", 'write what it stands for, in quotes: "/a b"'),
    ],
)
def test_escape_in_a_url_is_told_with_what_to_write(url: str, hint: str) -> None:
    (fault,) = faults(url)
    assert (fault.code, fault.hint) == ("RBR056", hint)


def test_port_of_a_server_has_16_bits() -> None:
    assert is_server_address("http://a:65535")
    assert not is_server_address("http://a:65536")


def test_shape_has_no_names() -> None:
    assert shape("/{a}/{b:x}") == shape("/{c}/{d:x}") == "/{:}/{:x}"


def test_named_groups_are_matched_too() -> None:
    template = "/{n:(?P<q>['x])?a(?(q)(?P=q))}"
    assert list(faults(template)) == []
    router = Router([Route("n", template, ("GET",), compiled(template), "n")])
    assert router.find("GET", "/xax")[1] == {"n": "xax", "q": "x"}
    assert router.find("GET", "/a")[1] == {"n": "a", "q": ""}
