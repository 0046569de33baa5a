"""The canonical text: its two laws, and what it does to a text that is not canonical."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from rbr_corpus import BAD, FOLDER, GOOD

from redbarrel_lite.rbr import parse, read
from redbarrel_lite.rbr_diagnostics import Source
from redbarrel_lite.rbr_format import format as format_rbr
from redbarrel_lite.rbr_format import operation_text, quoted, value_text
from redbarrel_lite.rbr_nodes import (
    Global,
    Location,
    Name,
    Number,
    OnEvent,
    Rbr,
    Set,
    Text,
    UnlessValidates,
)

EXAMPLES = sorted((FOLDER.parent.parent / "examples").rglob("*.rbr"))


@pytest.mark.parametrize("path", GOOD + EXAMPLES, ids=lambda path: path.stem)
def test_our_files_are_canonical(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_rbr(parse(text)) == text


def comments_of(text: str) -> list[str]:
    """The comments of a text that holds no '#' elsewhere."""
    return sorted(line.partition("#")[2].strip() for line in text.splitlines() if "#" in line)


UNTIDY = """


# top

# of the file
meta(title "t",version 1.10,);# behind meta
define path a ( # behind the bracket
  method GET # before the comma
  , url / , # behind the comma


  # above use


  use a.b
  # own line before the comma
  ,
  x-a ("a" , 1,b|c), x-b ( # not on one line
   "a"),
  x-c (d 1),
  # last
);
# before the semicolon of root
root /r # behind the url
# between
; global g "x"; type t a.T
;


socket s   a.b ;
include  "i.rbr"   at   /i
; worker w a.b;arbiter w a.b;
path b(url /b)
# own line before the semicolon
;
# end
"""

TIDY = """\
# top

# of the file
meta (
    title "t",
    version 1.10
); # behind meta

path a (
    # behind the bracket
    method GET, # before the comma
    url /, # behind the comma

    # above use

    # own line before the comma
    use a.b,
    x-a ("a", 1, b|c),
    x-b (
        # not on one line
        "a"
    ),
    x-c (
        d 1
    )
    # last
);

# before the semicolon of root
# between
root /r; # behind the url
global g "x";
type t a.T;

socket s a.b;
include "i.rbr" at /i;
worker w a.b;
arbiter w a.b;

# own line before the semicolon
path b (
    url /b
);
# end
"""


def test_untidy_text_becomes_canonical() -> None:
    assert format_rbr(parse(UNTIDY)) == TIDY
    assert format_rbr(parse(TIDY)) == TIDY


def test_long_list_is_broken_into_lines() -> None:
    short = "path a (\n    x-tags (" + ", ".join(['"abcdefgh"'] * 6) + ")\n);\n"
    assert format_rbr(parse(short)) == short
    longer = format_rbr(parse(short.replace('"abcdefgh")', '"abcdefgh", "ij")')))
    assert longer.count('        "abcdefgh",\n') == 6
    assert format_rbr(parse('path a (x ("""a\nb"""));')).count("\n") == 6


def test_blank_lines_at_the_ends_of_a_list_are_no_reason_to_break_it() -> None:
    assert format_rbr(parse("path a (\n\n1,\n2\n\n);")) == "path a (1, 2);\n"
    for kept in ("1,\n\n    2", "# b\n    1", "1\n    # b"):
        tidy = f"path a (\n    {kept}\n);\n"
        assert format_rbr(parse(tidy)) == tidy


def test_empty_file_stays_empty() -> None:
    assert format_rbr(parse("")) == format_rbr(parse("\n \n")) == ""
    assert format_rbr(parse("# only this\n\n\n")) == "# only this\n"


def test_line_ends_become_line_feeds() -> None:
    text = 'root /a;\r\nglobal b """c\r\nd""";\r\n# e\r\n'
    assert format_rbr(parse(text)) == text.replace("\r\n", "\n")


@pytest.mark.parametrize("path", GOOD + BAD, ids=lambda path: path.stem)
def test_laws_hold_for_whatever_can_be_read(path: Path) -> None:
    rbr = read(path.read_bytes())[0]
    text = format_rbr(rbr)
    again, errors = read(text)
    if not read(path.read_bytes())[1]:
        assert not errors
        assert again == rbr
        assert format_rbr(again) == text


def test_laws_hold_however_the_blanks_and_comments_fall() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(300):
        words = [w for path in GOOD[:1] for w in path.read_text().split()] + ["socket a.b;"]
        text = "".join(
            word + chance.choice([" ", "\n", "\n\n", f" # c{i}\n", f"\n# d{i}\n\n\n"])
            for i, word in enumerate(words)
        )
        rbr = parse(text)
        tidy = format_rbr(rbr)
        assert parse(tidy) == rbr
        assert format_rbr(parse(tidy)) == tidy
        assert comments_of(tidy) == comments_of(text)


def test_nodes_made_by_programs_can_be_written() -> None:
    text = 'say "hi"\\\n\t\x07'
    written = Global(Name("a"), Text(text))
    assert (
        format_rbr(Rbr((written,), Source("", ""))) == 'global a "say \\"hi\\"\\\\\\n\\t\\u0007";\n'
    )
    assert parse(format_rbr(Rbr((written,), Source("", "")))).definitions == (written,)
    assert quoted("plain é") == '"plain é"'
    assert value_text(Location("file", "a b")) == 'file:"a b"'
    assert value_text(Location("python", "a.b")) == "python:a.b"
    use = Location("python", "a.b")
    assert operation_text(OnEvent("a b", False, use)) == 'on "a b" use python:a.b'
    assert operation_text(Set("X Y", Number("1"))) == 'set "X Y" 1'
    rule = UnlessValidates("X", use, Number("401"))
    assert operation_text(rule) == "unless X validates with python:a.b return 401"
