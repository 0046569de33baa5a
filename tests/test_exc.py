"""Answers that are raised."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from redbarrel_lite import Response, exc


@pytest.mark.parametrize("code", exc.status_map)
def test_every_status_is_an_answer_and_an_exception(code: int) -> None:
    kind = exc.status_map[code]
    with pytest.raises(exc.HTTPException) as raised:
        raise kind
    assert isinstance(raised.value, Response)
    assert raised.value.status == code
    phrase = HTTPStatus(code).phrase
    assert raised.value.body in (b"", f"{code} {phrase}\n".encode())
    assert kind.__doc__ == f"{code} {phrase}."
    assert str(raised.value) == f"{code} {phrase}"


def test_table_has_every_status_but_those_of_other_protocols() -> None:
    ours = {100, 101, 102, 103, 207, 208, 226, 306, 418, 425, 506, 508, 510}
    assert set(exc.status_map) == {status.value for status in HTTPStatus} - ours


def test_names_are_those_of_webob() -> None:
    assert exc.HTTPOk.code == 200
    assert exc.HTTPRequestEntityTooLarge.code == 413
    assert exc.HTTPSeeOther.__name__ == "HTTPSeeOther"
    assert exc.HTTPSeeOther.__module__ == "redbarrel_lite.exc"
    with pytest.raises(AttributeError):
        _ = exc.HTTPNonsense


def test_families_are_caught_together() -> None:
    assert issubclass(exc.HTTPOk, exc.HTTPSuccessful)
    assert issubclass(exc.HTTPFound, exc.HTTPRedirection)
    assert issubclass(exc.HTTPGone, exc.HTTPClientError)
    assert issubclass(exc.HTTPBadGateway, exc.HTTPServerError)
    assert issubclass(exc.HTTPServerError, exc.HTTPError)
    assert not issubclass(exc.HTTPFound, exc.HTTPError)


def test_detail_is_plain_text_without_control_characters() -> None:
    error = exc.HTTPNotFound("<b>no</b> 'é'\r\n\x1b[31m", {"X-A": "b"})
    assert error.body == "404 Not Found: <b>no</b> 'é'\\r\\n\\x1b[31m\n".encode()
    assert error.headers == [
        ("x-a", "b"),
        ("content-type", "text/plain; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
    ]
    assert str(error) == "404 Not Found: <b>no</b> 'é'\r\n\x1b[31m"


def test_redirect_encodes_its_location_and_lets_nothing_be_injected() -> None:
    assert exc.HTTPFound(location="/é?a=b%20c#d e").location == "/%C3%A9?a=b%20c#d%20e"
    with pytest.raises(ValueError, match="CR, LF or NUL in header 'location'"):
        exc.HTTPFound(location="/\r\nset-cookie: a=b")


def test_body_may_be_given_and_some_have_none() -> None:
    assert exc.HTTPConflict(body="<p>").headers[0] == ("content-type", "text/html; charset=utf-8")
    assert exc.HTTPConflict(body=b"{}", content_type="application/json").body == b"{}"
    assert exc.HTTPConflict(body="").body == b""
    for empty in (exc.HTTPNoContent(), exc.HTTPNotModified("x"), exc.HTTPResetContent()):
        assert (empty.body, empty.headers) == (b"", [])


def test_class_of_ones_own_may_have_a_code_that_nobody_knows() -> None:
    class Teapot(exc.HTTPClientError):
        code = 499

    assert Teapot("short and stout").body == b"499 Error: short and stout\n"
