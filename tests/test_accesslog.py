"""Lines of the access log: readable by every tool, and not to be forged."""

from __future__ import annotations

import json

import pytest

from redbarrel_lite.accesslog import FORMATS, MAX_LOGGED_CHARACTERS, Entry, as_json, common

ENTRY = Entry(
    at=1_700_000_000.25,
    client="127.0.0.1",
    method="GET",
    target="/a?b=c",
    version="1.1",
    status=200,
    size=12,
    took=0.0123,
    agent="curl/8",
)


def test_common_format_is_the_common_one() -> None:
    assert common(ENTRY) == (
        '127.0.0.1 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 12'
    )
    later = common(ENTRY._replace(at=1_700_000_001.0, client=""))
    assert later.startswith("- - - [14/Nov/2023:22:13:21 +0000]")


def test_json_has_the_same_and_more() -> None:
    assert json.loads(as_json(ENTRY)) == {
        "time": 1700000000.25,
        "client": "127.0.0.1",
        "method": "GET",
        "target": "/a?b=c",
        "status": 200,
        "size": 12,
        "ms": 12.3,
        "agent": "curl/8",
    }


def test_answer_that_broke_off_has_no_size() -> None:
    broken = ENTRY._replace(size=None)
    assert common(broken).endswith('"GET /a?b=c HTTP/1.1" 200 -')
    assert json.loads(as_json(broken))["size"] is None


@pytest.mark.parametrize("form", [common, as_json])
def test_line_is_one_line_of_bounded_length(form: object) -> None:
    assert callable(form)
    nasty = ENTRY._replace(target='/"' * 5000, agent="\x1b[31m\r\nGET / HTTP/1.1" * 500)
    line = form(nasty)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 4 * MAX_LOGGED_CHARACTERS


def test_quote_does_not_end_the_field() -> None:
    assert '"GET /\\"\\\\ HTTP/1.1" 200' in common(ENTRY._replace(target='/"\\'))


@pytest.mark.parametrize("form", [common, as_json])
def test_session_is_not_given_away(form: object) -> None:
    assert callable(form)
    line = form(ENTRY._replace(target="/socket.io/?EIO=4&sid=abcdefgh&t=1"))
    assert "EIO=4&sid=abcd...&t=1" in line
    assert "abcde" not in form(ENTRY._replace(target="/socket.io/?sid=abcdefgh"))
    assert "?%73%69%64=abcd...&t" in form(ENTRY._replace(target="/a/?%73%69%64=abcdefgh&t"))


def test_log_may_be_off() -> None:
    assert FORMATS["off"] is None
    assert FORMATS["common"] is common
    assert FORMATS["json"] is as_json
