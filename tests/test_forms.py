"""Forms: fields and files, in memory and on disk, and what is refused."""

from __future__ import annotations

import gc
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from redbarrel_lite import forms
from redbarrel_lite.forms import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_PART_HEAD_BYTES,
    MAX_PREAMBLE_BYTES,
    BadContent,
    Body,
    MultiDict,
    Spool,
    Upload,
    file_of,
    parse_form,
    parse_urlencoded,
)

MULTIPART = "multipart/form-data; boundary=XX"
URLENCODED = "application/x-www-form-urlencoded"


def spooled(content: bytes) -> Spool:
    spool = Spool()
    spool.add(content)
    return spool


@pytest.fixture(params=[bytes, spooled], ids=["in memory", "on disk"])
def put(request: pytest.FixtureRequest) -> Callable[[bytes], Body]:
    """Each test of a body has it in memory, and on disk."""
    made: Callable[[bytes], Body] = request.param
    return made


def part(disposition: str, content: bytes = b"", *more: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}", *more, "", ""]
    return b"--XX\r\n" + "\r\n".join(lines).encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XX--\r\n"


# -- MultiDict ---------------------------------------------------------------------------


def test_multidict_has_all_values_and_shows_the_last() -> None:
    fields = MultiDict([("a", 1), ("b", 2), ("a", 3)])
    assert fields["a"] == fields.get("a") == 3
    assert fields.getall("a") == [1, 3]
    assert fields.getall("c") == []
    assert fields.getone("b") == 2
    assert fields.get("c") is None
    assert fields.get("c", "x") == "x"
    assert ("a" in fields, "c" in fields) == (True, False)
    assert (list(fields), fields.keys(), len(fields)) == (["a", "b"], ["a", "b"], 3)
    assert fields.items() == [("a", 1), ("b", 2), ("a", 3)]
    assert fields.values() == [1, 2, 3]
    assert fields.mixed() == {"a": [1, 3], "b": 2}
    assert fields.dict_of_lists() == {"a": [1, 3], "b": [2]}
    assert dict(fields) == {"a": 3, "b": 2}
    assert fields == MultiDict([("a", 1), ("b", 2), ("a", 3)])
    assert fields != MultiDict([("a", 1)])
    assert fields != {"a": 3, "b": 2}
    assert repr(fields) == "MultiDict([('a', 1), ('b', 2), ('a', 3)])"
    with pytest.raises(KeyError):
        _ = fields["c"]
    for name in "ac":
        with pytest.raises(KeyError, match="values, not one"):
            fields.getone(name)
    with pytest.raises(TypeError):
        hash(fields)


# -- urlencoded --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", []),
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("&&a=&b&=c&", [("a", ""), ("b", ""), ("", "c")]),
        ("a+b=c+d%2B&%26=%3D", [("a b", "c d+"), ("&", "=")]),
        ("%C3%A9=%e2%82%ac", [("é", "€")]),
        ("é=ü", [("é", "ü")]),
        ("a=%&b=%4&c=%zz", [("a", "%"), ("b", "%4"), ("c", "%zz")]),
        ("a=1;b=2", [("a", "1;b=2")]),
    ],
)
def test_fields_are_decoded(text: str, fields: list[tuple[str, str]]) -> None:
    assert parse_urlencoded(text.encode()) == fields
    assert parse_form(URLENCODED + " ; charset=utf-8", text.encode()).items() == fields
    assert parse_form(URLENCODED.upper(), spooled(text.encode())).items() == fields


def test_body_of_another_type_has_no_fields() -> None:
    for kind in ("", "application/json", "multipart/mixed; boundary=XX"):
        assert parse_form(kind, b"a=b") == MultiDict()


def test_fields_over_the_limit_are_refused() -> None:
    assert len(parse_urlencoded(b"a=&" * (MAX_FIELDS - 1) + b"a")) == MAX_FIELDS
    with pytest.raises(BadContent, match="over 1000 fields") as refused:
        parse_urlencoded(b"a=&" * 100_000)
    assert refused.value.code == 400
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("text", [b"a=%ff", b"%c0%80=b", b"a=\xff", b"a=%ed%a0%80"])
def test_field_that_is_no_text_is_refused(text: bytes) -> None:
    with pytest.raises(BadContent, match="not percent-encoded UTF-8"):
        parse_urlencoded(text)


def test_large_form_on_disk_is_not_read_into_memory() -> None:
    assert parse_form(URLENCODED, spooled(b"a" * MAX_FIELD_BYTES)).keys() == ["a" * MAX_FIELD_BYTES]
    with pytest.raises(BadContent) as refused:
        parse_form(URLENCODED, spooled(b"a" * (MAX_FIELD_BYTES + 1)))
    assert refused.value.code == 413


# -- multipart ---------------------------------------------------------------------------


def test_multipart_has_fields_and_files(put: Callable[[bytes], Body]) -> None:
    body = form(
        part('name="a"', "é".encode()),
        part("name=b", b"\r\n--XY\r\n-"),
        part('name="f"; filename="x.png"', b"\x00\r\n\xff", "Content-Type: image/png"),
        part('name="a"', b"2"),
    )
    fields = parse_form(MULTIPART, put(body + b"and an epilogue --XX"))
    assert fields.getall("a") == ["é", "2"]
    assert fields["b"] == "\r\n--XY\r\n-"
    upload = fields["f"]
    assert isinstance(upload, Upload)
    assert (upload.name, upload.filename, upload.type) == ("f", "x.png", "image/png")
    assert upload.size == 4
    assert upload.value == upload.value == b"\x00\r\n\xff"
    assert upload.file.read(1) == b"\x00"
    assert upload.file.read() == b"\r\n\xff"
    assert upload.file.read() == b""
    assert upload.file.seek(-1, io.SEEK_END) == 3
    assert upload.file.read() == b"\xff"
    assert repr(upload) == "Upload('f', 'x.png', 4 bytes)"
    assert [name for name, _ in fields.items()] == ["a", "b", "f", "a"]


@pytest.mark.parametrize("step", [1, 2, 3, 17, 100_000])
@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"ab\r\n", b"\r\n\r\nab --X\r\n--X\r\n"])
@pytest.mark.parametrize("padding", [b"", b" ", b"\t  \t"])
def test_what_means_nothing_around_boundaries_is_stepped_over(
    preamble: bytes, padding: bytes, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_READ_BYTES", step)
    body = form(part("name=a", b"1"), part("name=f; filename=x", b"--XX \r\n-- XX"))
    sent = preamble + body.replace(b"--XX\r\n", b"--XX" + padding + b"\r\n") + padding
    fields = parse_form(MULTIPART, sent)
    upload = fields["f"]
    assert isinstance(upload, Upload)
    assert (fields["a"], upload.value) == ("1", b"--XX \r\n-- XX")


def test_what_is_stepped_over_has_a_limit() -> None:
    most = MAX_PREAMBLE_BYTES - len("\r\n")  # there is one more of ours
    assert "a" in parse_form(MULTIPART, b"x" * most + b"\r\n" + form(GOOD))
    with pytest.raises(BadContent, match="over 8192 bytes are in front of the first boundary"):
        parse_form(MULTIPART, b"x" * (most + 1) + b"\r\n" + form(GOOD))
    with pytest.raises(BadContent, match="not all of its line"):
        parse_form(MULTIPART, b"--XX" + b" " * 1001 + b"\r\n" + GOOD[6:] + b"--XX--")


@pytest.mark.parametrize("kind", ["; boundary=XX;", ";boundary=XX ; ;", ";; boundary=XX; "])
def test_empty_parameters_are_none(kind: str) -> None:
    disposition = "; name=a;;  ;"
    body = form(part("name=a", b"1").replace(b"; name=a", disposition.encode()))
    assert parse_form(f"multipart/form-data{kind}", body)["a"] == "1"


def test_empty_form_and_empty_parts(put: Callable[[bytes], Body]) -> None:
    assert parse_form(MULTIPART, put(b"--XX--")).items() == []
    assert parse_form(MULTIPART, put(b"\r\n--XX--\r\n")).items() == []
    fields = parse_form(MULTIPART, put(form(part('name=""'), part('name="f"; filename=""'))))
    upload = fields["f"]
    assert fields[""] == ""
    assert isinstance(upload, Upload)
    assert (upload.filename, upload.type, upload.value) == ("", "text/plain", b"")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('name="a b"', "a b"),
        (r'name="a\"b\\c\d"', r'a"b\c\d'),
        ('name="a%22b"', "a%22b"),
        ('name="é;=x"', "é;=x"),
        ('NAME=a ; x="y"', "a"),
    ],
)
def test_name_is_read_as_browsers_and_curl_write_it(written: str, name: str) -> None:
    assert parse_form(MULTIPART, form(part(written))).keys() == [name]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("x.txt", "x.txt"),
        ("../../app.py", "app.py"),
        ("/etc/passwd", "passwd"),
        (r"C:\\fake\\x.txt", "x.txt"),
        ("..", ".."),
        ("a/", ""),
    ],
)
def test_filename_has_no_path(sent: str, kept: str) -> None:
    upload = parse_form(MULTIPART, form(part(f'name=f; filename="{sent}"')))["f"]
    assert isinstance(upload, Upload)
    assert upload.filename == kept


@pytest.mark.parametrize(
    "boundary", ["x", '"a b"', "----WebKitFormBoundary7MA4YWxkTrZu0gW", "'()+_,-./:=?"]
)
def test_boundary_is_what_the_header_says(boundary: str) -> None:
    bare = boundary.strip('"')
    written = boundary if bare.replace("-", "").isalnum() else f'"{bare}"'
    body = form(part("name=a", b"1")).replace(b"XX", bare.encode())
    assert parse_form(f"multipart/form-data; boundary={written}", body)["a"] == "1"


@pytest.mark.parametrize("step", [1, 2, 7, 40, 41, 42, 43, 44, 45, 46, 100])
def test_blocks_may_end_anywhere(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_READ_BYTES", step)
    content = b"\r\n--X\r\n--XY--XX\r\r\n-\r\n" * 5
    fields = parse_form(
        MULTIPART, form(part("name=a", content), part("name=f; filename=x", content))
    )
    upload = fields["f"]
    assert isinstance(upload, Upload)
    assert fields["a"] == content.decode()
    assert upload.value == content


GOOD = part("name=a", b"1")


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("multipart/form-data", form(GOOD), "bad boundary ''"),
        ("multipart/form-data; boundary=", form(GOOD), "bad parameters"),
        ('multipart/form-data; boundary=""', form(GOOD), "bad boundary ''"),
        ('multipart/form-data; boundary="a "', form(GOOD), "bad boundary 'a '"),
        ('multipart/form-data; boundary="a\u00e9"', form(GOOD), "bad boundary"),
        (f"multipart/form-data; boundary={'x' * 71}", form(GOOD), "bad boundary"),
        ("multipart/form-data; boundary=XX; boundary=YY", form(GOOD), "bad parameters"),
        ("multipart/form-data; boundary=XX; ;=", form(GOOD), "bad parameters"),
        (MULTIPART, b"", "last boundary is missing"),
        (MULTIPART, b"--XX", "last boundary is missing"),
        (MULTIPART, b"--XX\r\n", "last boundary is missing"),
        (MULTIPART, GOOD, "last boundary|not all of its line"),
        (MULTIPART, GOOD + b"--XX", "last boundary is missing"),
        (MULTIPART, GOOD + b"--XX-\r\n", "not all of its line"),
        (MULTIPART, GOOD + b"--XXY--\r\n", "not all of its line"),
        (MULTIPART, GOOD + b"--XX \r\n", "last boundary is missing"),
        (MULTIPART, GOOD + b"--XX --\r\n", "not all of its line"),
        (MULTIPART, b"--XX\n" + GOOD[6:], "not all of its line"),
        (MULTIPART, b"-\n" + b"--XX--", "boundary is missing"),
        (MULTIPART, b"ab" + b"--XX--", "boundary is missing"),
        (MULTIPART, form(GOOD).replace(b"form-data", b"attachment"), "without 'Content-Disp"),
        (MULTIPART, form(part("filename=x")), "without 'Content-Disp"),
        (MULTIPART, form(b"--XX\r\nContent-Type: a/b\r\n\r\n\r\n"), "without 'Content-Disp"),
        (MULTIPART, form(b"--XX\r\n\r\nx\r\n"), "bad header line|boundary is missing"),
        (MULTIPART, form(part("name=a; name=b")), "bad parameters"),
        (MULTIPART, form(part('name="a')), "bad parameters"),
        (MULTIPART, form(part("name=a b")), "bad parameters"),
        (MULTIPART, form(part("name=a", b"", "no colon")), "bad header line 'no colon'"),
        (MULTIPART, form(part("name=a", b"", " folded: x")), "bad header line"),
        (MULTIPART, form(part("name=a", b"", "x: a\0b")), "bad header line"),
        (MULTIPART, form(part("name=a", b"", "x: a\nb")), "bad header line"),
        (MULTIPART, form(part("name=a", b"", "X: 1", "x: 1")), "bad header line"),
        (MULTIPART, form(part("name=a", b"", "Content-Length: +5")), "bad Content-Length"),
        (MULTIPART, form(part("name=a", b"", "Content-Length: \u0665")), "bad Content-Length"),
        (
            MULTIPART,
            form(part("name=a", b"", "Content-Transfer-Encoding: base64")),
            "transfer encoding 'base64'",
        ),
        (MULTIPART, form(part("name=a", b"\xff")), "not UTF-8"),
        (MULTIPART, form(part("name=a")).replace(b"name=a", b'name="\xff"'), "not UTF-8"),
    ],
)
def test_multipart_that_is_not_as_it_should_be_is_refused(
    content_type: str, body: bytes, reason: str, put: Callable[[bytes], Body]
) -> None:
    with pytest.raises(BadContent, match=reason) as refused:
        parse_form(content_type, put(body))
    assert refused.value.code == 400


def test_length_and_plain_encoding_of_a_part_do_not_matter() -> None:
    more = ("Content-Length: 99", "Content-Transfer-Encoding: Binary")
    assert parse_form(MULTIPART, form(part("name=a", b"1", *more)))["a"] == "1"


def test_limits_of_multipart_are_met_to_the_very_one() -> None:
    assert len(parse_form(MULTIPART, form(*[GOOD] * MAX_FIELDS))) == MAX_FIELDS
    with pytest.raises(BadContent, match="over 1000 fields"):
        parse_form(MULTIPART, form(*[GOOD] * (MAX_FIELDS + 1)))
    head = len(b"Content-Disposition: form-data; name=a\r\nx: ")
    long = "x: " + "y" * (MAX_PART_HEAD_BYTES - head)
    assert "a" in parse_form(MULTIPART, form(part("name=a", b"", long)))
    with pytest.raises(BadContent, match="head of a part is over 8192"):
        parse_form(MULTIPART, form(part("name=a", b"", long + "y")))


def test_fields_that_are_no_files_have_a_limit_together(put: Callable[[bytes], Body]) -> None:
    half = b"x" * (MAX_FIELD_BYTES // 2)
    file = part("name=f; filename=x", half * 4)
    fields = parse_form(MULTIPART, put(form(part("name=a", half), file, part("name=b", half))))
    assert len(fields) == 3
    with pytest.raises(BadContent) as refused:
        parse_form(MULTIPART, put(form(part("name=a", half), part("name=b", half + b"x"))))
    assert refused.value.code == 413


@pytest.mark.parametrize(
    "body",
    [
        form(*[GOOD] * 100_000),
        b"--XX\r\n" + b"x: y\r\n" * 1_000_000,
        b"--XX\r\n" + b"x" * 5_000_000,
        b"--XX\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n"
        + b"\r\n--X" * 1_000_000,
        b"--XX\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n" + b"\r" * 5_000_000,
        b"--XX\r\nContent-Disposition: form-data; " + b'name="\\' * 1000 + b"\r\n\r\n",
        b"--XX\r\nContent-Disposition: form-data" + b"; " * 4000 + b"\r\n\r\n",
    ],
    ids=["parts", "header lines", "header", "near boundaries", "CRs", "quotes", "semicolons"],
)
def test_hostile_multipart_takes_no_time(body: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(BadContent):
        parse_form(MULTIPART, body)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("text", [b"%" * 1_000_000, b"+" * 1_000_000, b"%41" * 300_000])
def test_hostile_urlencoded_takes_no_time(text: bytes) -> None:
    begun = time.process_time()
    assert len(parse_urlencoded(text)) == 1
    assert time.process_time() - begun < 2


# -- files -------------------------------------------------------------------------------


def test_part_of_a_body_is_a_file(put: Callable[[bytes], Body]) -> None:
    file = file_of(put(b"0123456789"), 2, 6)
    assert file.readable()
    assert file.seekable()
    assert (file.read(3), file.read(), file.read()) == (b"234", b"5", b"")
    assert file.seek(1) == 1
    assert file.tell() == 1
    assert file.read(2) == b"34"
    file.seek(0, io.SEEK_CUR)
    assert file.tell() == 3
    file.seek(99)
    assert file.read() == b""
    assert file_of(put(b"ab\ncd")).readlines() == [b"ab\n", b"cd"]


def test_file_on_disk_has_nothing_before_its_start() -> None:
    file = file_of(spooled(b"0123456789"), 2, 6)
    with pytest.raises((ValueError, OSError)):
        file.seek(-3)
    file.seek(0)
    assert file.read() == b"2345"


def test_spool_is_closed_with_the_last_who_holds_it() -> None:
    gc.collect()  # what other tests left is no concern of this one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fields = parse_form(MULTIPART, spooled(form(part("name=f; filename=x", b"abc"))))
        upload = fields["f"]
        del fields
        gc.collect()
        assert isinstance(upload, Upload)
        assert upload.value == b"abc"
        del upload
        gc.collect()


def test_spool_that_gets_no_file_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(forms, "TemporaryFile", no_file)
    with pytest.raises(OSError, match="No space"):
        Spool()
    gc.collect()


def test_spool_that_is_garbage_is_closed_whatever_is_collected_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = [TemporaryFile() for _ in range(5)]  # noqa: SIM115  # older: collected first
    monkeypatch.setattr(forms, "TemporaryFile", older.pop)
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while older:
            disk = spooled(b"x").disk
            assert disk is not None
            vars(disk.file)["disk"] = disk  # a file of Python's own
            del disk
        gc.collect()
