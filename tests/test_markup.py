"""Prose as HTML: what is markup, what stays text, and that nothing gets through."""

from __future__ import annotations

import html.parser
import random
import time

import pytest

from redbarrel_lite.markup import Html, inline, join, link, render, tag


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("", ""),
        ("   \n\n  ", ""),
        ("one\ntwo", "<p>one\ntwo</p>"),
        ("one\n\n\ntwo", "<p>one</p><p>two</p>"),
        # Indented as it stands in an .rbr file.
        ("\n    one\n\n    two\n    ", "<p>one</p><p>two</p>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("* a\n* b", "<ul><li>a</li><li>b</li></ul>"),
        ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
        ("3) a\n4) b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("text:\n- a", "<p>text:</p><ul><li>a</li></ul>"),
        ("since\n2011. Then", "<p>since\n2011. Then</p>"),
        ("a\n-\nb", "<p>a\n-\nb</p>"),
        ("text\n\n - a\n - b\n", "<p>text</p><ul><li>a</li><li>b</li></ul>"),
        ("- a\n  goes on\n- b", "<ul><li>a\ngoes on</li><li>b</li></ul>"),
        ("- a\nlazily", "<ul><li>a\nlazily</li></ul>"),
        ("- a\n\nnot of it", "<ul><li>a</li></ul><p>not of it</p>"),
        ("- a\n\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("- a\n\n  more\n- b", "<ul><li>a <p>more</p></li><li>b</li></ul>"),
        ("- a\n1. b", "<ul><li>a</li></ul><ol><li>b</li></ol>"),
        ("- a\n  - b\n- c", "<ul><li>a <ul><li>b</li></ul></li><li>c</li></ul>"),
        ("-\n- b", "<ul><li></li><li>b</li></ul>"),
        ("-     code", "<ul><li>code</li></ul>"),
        ("so::\n\n  a\n\n    b\n\nend", "<p>so:</p><pre><code>a\n\n  b</code></pre><p>end</p>"),
        ("\nso ::\n\n  a", "<p>so</p><pre><code>a</code></pre>"),
        ("\n::\n\n  a", "<pre><code>a</code></pre>"),
        ("nothing follows::", "<p>nothing follows:</p>"),
        ("\na\n\n    b\n    c", "<p>a</p><pre><code>b\nc</code></pre>"),
        ("\na\n\n\tb", "<p>a</p><pre><code>b</code></pre>"),
        ("```\n*a*\n```\nb", "<pre><code>*a*</code></pre><p>b</p>"),
        ("a\n~~~ python\nb", "<p>a</p><pre><code>b</code></pre>"),
        ("# a heading", "<p># a heading</p>"),
    ],
)
def test_blocks(text: str, html: str) -> None:
    assert render(text) == html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*a* **b** _c_", "<em>a</em> <strong>b</strong> <em>c</em>"),
        ("**a `b` c**", "<strong>a <code>b</code> c</strong>"),
        ("*a **b*", "*a *<em>b</em>"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        ("__init__", "__init__"),
        (r"\*a\* \_b\_ \`c\`", "*a* _b_ `c`"),
        ("`*a*` ``b`c``", "<code>*a*</code> <code>b`c</code>"),
        ("`a", "`a"),
        ("[a *b*](/c)", '<a href="/c" rel="noopener">a <em>b</em></a>'),
        ("`a b <https://c.d>`_", '<a href="https://c.d" rel="noopener">a b</a>'),
        ("<mailto:a@b.c>", '<a href="mailto:a@b.c" rel="noopener">a@b.c</a>'),
        ("see http://a.b/c?d=1&e.", 'see <a href="http://a.b/c?d=1&amp;e" rel="noopener">'
         "http://a.b/c?d=1&amp;e</a>."),
        ("(https://a.b)", '(<a href="https://a.b" rel="noopener">https://a.b</a>)'),
        ("**https://a.b**", '<strong><a href="https://a.b" rel="noopener">https://a.b</a></strong>'),
        # A link inside of a link is no HTML.
        ("[https://a.b](/c)", '<a href="/c" rel="noopener">https://a.b</a>'),
        ("[a] (b) [](c)", "[a] (b) [](c)"),
        ("<b>&amp;</b>", "&lt;b&gt;&amp;amp;&lt;/b&gt;"),
        ("`<b>`", "<code>&lt;b&gt;</code>"),
    ],
)  # fmt: skip
def test_inside_of_a_line(text: str, html: str) -> None:
    assert inline(text) == html


@pytest.mark.parametrize(
    "target",
    ["https://a.b", "HTTP://a.b", "mailto:a@b", "/a", "a/b:c", "../a", "#a", "?a:b", "//a.b/c", ""],
)
def test_link_may_lead_there(target: str) -> None:
    assert link("x", target) == f'<a href="{target}" rel="noopener">x</a>'


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)", "JavaScript:alert", "data:text/html,x", "vbscript:x", "file:///etc",
        "\x01javascript:x", "java\tscript:x", "java\nscript:x", ":x", "\u00a0javascript:x",
        "\\\\a.b", "/\\a.b", "x\x7f",
    ],
)  # fmt: skip
def test_link_may_not_lead_there(target: str) -> None:
    assert link("a<b", target) == "a&lt;b"


def test_attributes_are_escaped_or_left_out() -> None:
    made = tag("a", "<", class_='"x', data_url="'&", hidden=True, open=False)
    assert made == '<a class="&quot;x" data-url="&#x27;&amp;" hidden>&lt;</a>'
    assert tag("input", name="n") == '<input name="n">'
    assert join([Html("<i>"), "<i>"], "\n") == "<i>\n&lt;i&gt;"


class Judge(html.parser.HTMLParser):
    """Fails for elements that `render` may not make, and for wrong nesting."""

    ALLOWED = frozenset("p ul ol li pre code strong em a".split())

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        assert name in self.ALLOWED
        blocks = ("p", "pre", "ul", "ol", "li")
        outer = {"a": ("a",)} | dict.fromkeys(blocks, ("a", "p", "pre"))
        assert not set(outer.get(name, ())) & set(self.open), self.open
        assert {key for key, _ in attributes} <= {"href", "rel", "start"}
        self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def judge(text: str) -> None:
    parser = Judge()
    parser.feed(render(text))
    parser.close()
    assert parser.open == []


def test_garbage_makes_only_what_is_allowed() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    pieces = ["*", "**", "_", "`", "``", "[", "](", ")", "<", ">", "\\", "\n", "\n\n", "    ",
              " ", "- ", "1. ", "```\n", "::", "a", "b c", "https://x.y", "javascript:z",
              "<script>", "\"'", "&lt;", " <http://q>`_", "\t", "\x00", "é"]  # fmt: skip
    for _ in range(3000):
        judge("".join(chance.choices(pieces, k=chance.randrange(30))))


@pytest.mark.parametrize(
    "text",
    ["- " * 40_000, "*" * 60_000, "[" * 60_000, "`" * 60_001, "_a " * 30_000, "**a" * 30_000,
     "http://" * 10_000, "<http://a" * 9_000, "\n".join(" " * n + "- a" for n in range(300)),
     "`a <b" * 15_000, "[a](" * 20_000, "- a\n" * 20_000, "``a`" * 20_000, "a::\n b\n\n" * 9000],
    ids=lambda text: ascii(text[:9]),
)  # fmt: skip
def test_long_text_takes_no_longer_than_its_length(text: str) -> None:
    started = time.process_time()
    judge(text)
    assert time.process_time() - started < 5
