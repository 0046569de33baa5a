"""The page `__doc__` in Chromium, and the OpenAPI document before a validator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Serve
from peers import missing, node

pytestmark = pytest.mark.interop

RBR = """
root /api;
path price ( url /price/{country:.*}, use python:shop_of_docpage.price );
path label (
    url /labels/{name}, method POST|PUT, use python:shop_of_docpage.label,
    request-headers ( unless X-N type is int return 400 ),
    request-body ( unless type is json return 422 )
);
path bytes ( url /bytes, use python:shop_of_docpage.octets );
path ticks ( url /ticks, use python:shop_of_docpage.ticks );
path board ( method SOCKETIO, use python:shop_of_docpage.board );
"""
PYTHON = """
import asyncio

def price(globs, request, country, grams):
    return {"country": country, "grams": grams}

def label(globs, request, name):
    return [request.method, name, request.headers["content-type"], request.json]

def octets(request):
    return b"\\0" * 10

async def ticks(request):
    while True:
        yield "tick\\n"
        await asyncio.sleep(0.01)

def board(globs, request):
    for message in request.socketio:
        request.socketio.emit("echo", *message)
        message.reply("thanks", *message)
"""


def test_services_and_sockets_are_tried_from_the_page(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "shop.rbr").write_text(RBR)
    (tmp_path / "shop_of_docpage.py").write_text(PYTHON)
    url = serve(tmp_path / "shop.rbr").url
    seen = node("docpage.cjs", f"{url}/api/__doc__")
    assert seen["got"]["line"] == "200 OK"
    assert "content-type: application/json" in seen["got"]["headers"]
    assert json.loads(seen["got"]["body"]) == {"country": "d/é", "grams": "300"}
    assert json.loads(seen["posted"]["body"]) == ["PUT", "a b", "application/json", {"a": 1}]
    assert seen["refused"]["line"].startswith("422 ")
    assert seen["binary"]["body"] == "(10 bytes of application/octet-stream)"
    assert seen["spoken"] == [
        "connected as SID",
        'message "hello", {"n": 1}',
        'echo "hello", {"n":1}',
        "message 2",
        "echo 2",
        'message acknowledged "thanks", 2',
        seen["spoken"][6],
        "disconnected: io client disconnect",
    ]
    assert seen["spoken"][6].startswith("not sent: ")
    assert seen["nowhere"] == "Invalid namespace"
    assert "JSON" in seen["garbage"]
    assert seen["engine"][:2] == ["connected", "message 0"]  # the event is not sent
    assert seen["engine"][2] == '0{"sid":"SID"}'
    assert seen["raw"][0] == "connected"
    assert seen["raw"][1].startswith("0{")
    assert seen["without"] == {"articles": 5, "tries": 0}
    assert seen["width"] == 390
    # The browser itself tells of the one request that was to be refused.
    assert [one for one in seen["faults"] if "422" not in one] == []
    assert all(one.startswith((url, url.replace("http", "ws"))) for one in seen["asked"])


@pytest.mark.parametrize("name", ["demos", "sockets", "sockets2011"])
def test_document_is_valid_openapi(name: str, tmp_path: Path) -> None:
    python = os.environ.get("RBL_PEERS_PYTHON", sys.executable)
    code = "import json, sys; from openapi_spec_validator import validate; "
    code += "validate(json.load(sys.stdin))"
    probe = subprocess.run([python, "-c", "import openapi_spec_validator"], capture_output=True)
    if probe.returncode:
        missing(f"{python} lacks openapi-spec-validator")
    made = subprocess.run(
        [sys.executable, "-c", _MAKE, str(ROOT / "tests" / "rbr" / "good" / f"{name}.rbr")],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    judged = subprocess.run([python, "-c", code], input=made.stdout, capture_output=True)
    assert judged.returncode == 0, judged.stderr.decode()


# The files name modules that are not there, which the command `doc` would not pass over.
_MAKE = """
import json, sys
from pathlib import Path
from redbarrel_lite.loading import File
from redbarrel_lite.locations import Folder
from redbarrel_lite.openapi import document
from redbarrel_lite.rbr import parse
path = Path(sys.argv[1])
tree = parse(path.read_bytes())
print(json.dumps(document([File(tree, Folder(path.parent), tree.root)], tree.root)))
"""
