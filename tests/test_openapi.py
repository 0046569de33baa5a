"""The OpenAPI document: its structure, and that it says what the file says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from redbarrel_lite.loading import File
from redbarrel_lite.locations import Folder
from redbarrel_lite.openapi import document
from redbarrel_lite.rbr import parse

HERE = Folder(Path(__file__).parent)
GOOD = ROOT / "tests" / "rbr" / "good"


def made(*texts: str, root: str = "") -> dict[str, Any]:
    trees = [parse(text, f"some/{number}.rbr") for number, text in enumerate(texts)]
    return document([File(tree, HERE, tree.root) for tree in trees], root)


# --- structure (OpenAPI 3.1.0, section 4.8), for where no validator is installed ----------

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def check(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found)) == found
    only(found, "openapi info servers paths", "openapi info paths")
    assert re.fullmatch(r"3\.1\.\d+", found["openapi"])
    only(found["info"], "title version description", "title version")
    assert all(isinstance(value, str) for value in found["info"].values())
    shapes = [re.sub(r"\{[^}]*\}", "{}", path) for path in found["paths"]]
    assert len(shapes) == len(set(shapes)), "templates that differ in names alone"
    ids: list[str] = []
    for path, item in found["paths"].items():
        assert path.startswith("/")
        only(item, " ".join(METHODS))
        for method in METHODS & item.keys():
            check_operation(item[method], path)
            ids.append(item[method]["operationId"])
    assert len(ids) == len(set(ids))


def only(found: dict[str, Any], allowed: str, required: str = "") -> None:
    keys = {key for key in found if not key.startswith("x-")}
    assert keys <= set(allowed.split())
    assert keys >= set(required.split())


def check_operation(found: dict[str, Any], path: str) -> None:
    only(found, "operationId description parameters requestBody responses", "responses")
    names = [(one["in"], one["name"]) for one in found.get("parameters", [])]
    assert len(names) == len(set(names))
    assert {name for place, name in names if place == "path"} == set(re.findall(r"\{(\w+)\}", path))
    for parameter in found.get("parameters", []):
        only(parameter, "name in required schema", "name in schema")
        assert parameter["required"] is True
        assert parameter["in"] in ("path", "header")
    if "requestBody" in found:
        only(found["requestBody"], "content description", "content")
        check_content(found["requestBody"]["content"])
    assert found["responses"]
    for code, response in found["responses"].items():
        assert re.fullmatch("[1-5][0-9][0-9]", code)
        only(response, "description content", "description")
        check_content(response.get("content", {}))


def check_content(content: dict[str, Any]) -> None:
    for media, kind in content.items():
        assert re.fullmatch(r"[\w.+*-]+/[\w.+*-]+", media)
        only(kind, "schema")


@pytest.mark.parametrize("name", ["demos", "sockets", "sockets2011", "announcement", "corners"])
def test_structure_of_what_good_files_make(name: str) -> None:
    tree = parse((GOOD / f"{name}.rbr").read_bytes())
    check(document([File(tree, HERE, tree.root)], tree.root))


# --- content ------------------------------------------------------------------


def operation(entries: str, url: str = "/", method: str = "get") -> dict[str, Any]:
    found = made(f"path a ( url {url}, {entries} );")
    check(found)
    (item,) = found["paths"].values()
    one: dict[str, Any] = item[method]
    return one


def test_info_is_that_of_meta() -> None:
    found = made('meta ( title "A", version 1.10, description """\n  B\n\n  C\n""" );')
    assert found["info"] == {"title": "A", "version": "1.10", "description": "B\n\nC"}
    assert made("path a ( url / );")["info"] == {"title": "0.rbr", "version": "0"}


def test_urls_are_relative_to_the_server() -> None:
    found = made("root /api; path a ( url /x );", "root /api/two; path b ( url /y );", root="/api")
    assert found["servers"] == [{"url": "/api"}]
    assert list(found["paths"]) == ["/x", "/two/y"]
    assert made("path a ( url / );")["servers"] == [{"url": "/"}]


def test_path_without_a_url_is_left_out() -> None:
    assert made("path a ( use a.b );")["paths"] == {}


def test_placeholders_are_parameters() -> None:
    one = operation("use a.b", url="/{x}/{y:[0-9]+}")
    assert one["parameters"] == [
        {"name": "x", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": "y",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^(?:[0-9]+)$"},
        },
    ]


def test_blanks_are_shown_as_they_are_sent() -> None:
    found = made(
        """root "/r s"; path a ( url "/a b/{x}" ); path b ( url /100% );
        path s ( method SOCKETIO, url "/s p/{x:[a-c]}", namespace "/my room", use a.b );""",
        root="/r s",
    )
    check(found)
    assert found["servers"] == [{"url": "/r%20s"}]
    assert list(found["paths"]) == ["/a%20b/{x}", "/100%25"]
    (socket,) = found["x-sockets"]
    assert (socket["url"], socket["namespace"]) == ("/r%20s/s%20p/{x:[a-c]}", "/my room")


def test_literals_are_encoded() -> None:
    found = made("path a ( url /é/{}/{x}.html );")
    check(found)
    assert list(found["paths"]) == ["/%C3%A9/%7B%7D/{x}.html"]


def test_templates_that_differ_in_names_alone_are_one() -> None:
    found = made(
        """path a ( url /{x:[0-9]+} ); path b ( url /{y}, method GET|POST ); path c ( url /{z} );"""
    )
    check(found)
    assert list(found["paths"]) == ["/{x}"]
    item = found["paths"]["/{x}"]
    assert item["get"]["operationId"] == "a"
    assert [one["operationId"] for one in item["get"]["x-alternatives"]] == ["b-get", "c"]
    assert item["post"]["operationId"] == "b-post"
    assert item["post"]["parameters"][0]["name"] == "x"
    assert item["get"]["parameters"][0]["schema"]["pattern"] == "^(?:[0-9]+)$"


def test_operation_ids_are_unique_over_files() -> None:
    found = made("path a ( url /1 );", "path a ( url /2 );")
    check(found)
    assert [item["get"]["operationId"] for item in found["paths"].values()] == ["a", "a-2"]


def test_method_that_openapi_does_not_know_is_an_extension() -> None:
    found = made("path a ( url /, method CONNECT );")
    check(found)
    assert list(found["paths"]["/"]) == ["x-connect"]


def test_mounted_application_has_each_method() -> None:
    assert made("path a ( url /, use wsgi:a.b );")["paths"]["/"].keys() == METHODS


def test_headers_of_rules_are_parameters() -> None:
    one = operation(
        """request-headers ( unless X-N type is int return 400, unless X-F type is float return 400,
           unless X-T validates with a.b return 401, unless X-Not type is not int return 400,
           unless Authorization validates with a.b return 401 )"""
    )
    types = {one["name"]: one["schema"]["type"] for one in one["parameters"]}
    assert types == {"X-N": "integer", "X-F": "number", "X-T": "string"}
    assert "401 Unauthorized" in one["x-rules"][-1]


@pytest.mark.parametrize(
    ("rule", "content"),
    [
        ("unless type is json return 400", {"application/json": {"schema": {}}}),
        ("unless type is int return 400", {"*/*": {"schema": {"type": "integer"}}}),
        ("unless type is not json return 400", {"*/*": {"schema": {}}}),
        ("unless type is blob return 400", {"*/*": {"schema": {}}}),
    ],
)
def test_body_is_of_the_type_that_the_rule_asks_for(rule: str, content: dict[str, Any]) -> None:
    text = f'method POST, request-description "R", request-body ( description "D", {rule} )'
    body = operation(text, method="post")["requestBody"]
    assert body == {"content": content, "description": "R\n\nD"}


def test_body_without_a_word_has_no_description() -> None:
    assert operation("method PUT", method="put")["requestBody"] == {
        "content": {"*/*": {"schema": {}}}
    }
    assert "requestBody" not in operation("method DELETE", method="delete")


def test_responses_are_those_described_and_those_of_rules() -> None:
    one = operation(
        """method POST, on error return 503, request-body ( unless type is json return 400 ),
           response-status ( describe 201 "Made", describe 400 "No JSON" ),
           response-headers ( set content-type "text/css; charset=utf-8" )""",
        method="post",
    )
    assert one["responses"] == {
        "201": {"description": "Made", "content": {"text/css": {}}},
        "400": {"description": "No JSON"},
        "503": {"description": "Service Unavailable"},
    }


def test_success_is_assumed_where_none_is_described() -> None:
    assert operation("use a.b")["responses"] == {"200": {"description": "OK"}}
    one = operation('response-status ( describe 302 "There" )')
    assert list(one["responses"]) == ["302"]
    text = "response-body ( unless type is json return 503 )"
    assert operation(text)["responses"]["200"] == {
        "description": "OK",
        "content": {"application/json": {}},
    }
    assert "content" not in operation(f"method HEAD, {text}", method="head")["responses"]["200"]
    assert (
        "content"
        not in operation(
            f'{text}, response-headers ( set X-A b ), response-status ( describe 204 "Empty" )'
        )["responses"]["204"]
    )


def test_fields_of_the_author_are_extensions() -> None:
    one = operation('x-owner "me", x-more ( x-a 1.10, x-b ( x-c /u ), description "d" )')
    assert one["x-owner"] == "me"
    assert one["x-more"] == {"x-a": "1.10", "x-b": {"x-c": "/u"}, "description": "d"}
    assert operation("use file:a.html")["x-use"] == "file:a.html"


def test_field_of_the_author_keeps_its_name_where_we_have_one_like_it() -> None:
    text = """
        path a ( url /i/{id:[0-9]+}, use python:app.f, x-alternatives "q", x-use "mine",
                 x-rules "all", x-rules-2 "more", response-headers ( set X-A "b" ) );
        path b ( url /i/{o:[a-z]+}, use python:app.f );
        path c ( url /i/{p:[A-Z]+}, use python:app.f );
        path s ( method WEBSOCKET, use python:app.f, x-use "mine" );
    """
    found = made(text)
    check(found)
    one = found["paths"]["/i/{id}"]["get"]
    assert (one["x-use"], one["x-use-2"]) == ("mine", "python:app.f")
    assert (one["x-rules"], one["x-rules-2"], len(one["x-rules-3"])) == ("all", "more", 1)
    assert one["x-alternatives"] == "q"
    assert [other["operationId"] for other in one["x-alternatives-2"]] == ["b", "c"]
    (socket,) = found["x-sockets"]
    assert (socket["x-use"], socket["x-use-2"]) == ("mine", "python:app.f")


def test_sockets_are_an_extension() -> None:
    found = made((GOOD / "sockets.rbr").read_text(encoding="utf-8"))
    check(found)
    chat, short, _, raw, _ = found["x-sockets"]
    assert (chat["name"], chat["protocol"], chat["url"]) == ("chat", "SOCKETIO", "/chat/")
    assert (chat["description"], chat["namespace"]) == ("A room", "/rooms/{room}")
    assert chat["events"][0] == {"event": "connect", "x-use": "python:chat.connect"}
    assert chat["events"][-1]["event"] == "*"
    assert chat["options"]["max-rate"] == "10"
    assert "`Cookie` must satisfy" in chat["x-rules"][0]
    assert short == {
        "name": "socket",
        "protocol": "SOCKETIO",
        "url": "/socket.io/",
        "namespace": "/",
        "x-use": "python:chat.room",
    }
    assert "namespace" not in raw
    assert found["paths"] == {}
