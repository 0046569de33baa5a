"""Flask and Bottle applications behind `wsgi:`, which gain sockets from one .rbr file.

The server runs with the Python that has them (RBL_PEERS_PYTHON, or this one).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Serve, Server

from redbarrel_lite import testing

pytestmark = pytest.mark.interop

RBR = """
path socket ( method SOCKETIO, use python:site_.listen );
path shop ( url /shop, use wsgi:site_.app );
"""
LISTEN = """
def listen(request):
    for message in request.socketio:
        pass
"""
FLASK = """
import flask
app = flask.Flask(__name__)

@app.route("/")
def index():
    return flask.redirect(flask.url_for("show", name="é"))

@app.route("/show/<name>")
def show(name):
    return f"<p>{name} {flask.request.args.get('q', '')}</p>"

@app.route("/buy", methods=["POST"])
def buy():
    flask.request.environ["redbarrel.server"].broadcast(flask.request.form["what"])
    file = flask.request.files["file"]
    return flask.jsonify(name=file.filename, size=len(file.read()))

@app.route("/count")
def count():
    @flask.stream_with_context
    def parts():
        for number in range(int(flask.request.args["to"])):
            yield f"{number}\\n"
    return flask.Response(parts(), mimetype="text/plain")

@app.route("/fail")
def fail():
    flask.abort(418)
"""
BOTTLE = """
import bottle
app = bottle.Bottle()

@app.route("/")
def index():
    bottle.redirect(bottle.request.script_name + "show/%C3%A9")

@app.route("/show/<name>")
def show(name):
    return f"<p>{name} {bottle.request.query.getunicode('q', '')}</p>"

@app.post("/buy")
def buy():
    bottle.request.environ["redbarrel.server"].broadcast(bottle.request.forms["what"])
    file = bottle.request.files["file"]
    return {"name": file.raw_filename, "size": len(file.file.read())}

@app.route("/count")
def count():
    bottle.response.content_type = "text/plain"
    for number in range(int(bottle.request.query["to"])):
        yield f"{number}\\n"

@app.route("/fail")
def fail():
    bottle.abort(418)
"""


@cache
def python_with(framework: str) -> str:
    python = os.environ.get("RBL_PEERS_PYTHON", sys.executable)
    probe = [python, "-c", f"import {framework}"]
    if subprocess.run(probe, capture_output=True).returncode:
        message = f"{python} has no {framework}: pip install -e '.[dev]'"
        if os.environ.get("RBL_INTEROP") == "required":
            pytest.fail(message)
        pytest.skip(message)
    return python


def ask(url: str, data: bytes | None = None, kind: str = "text/plain") -> bytes:
    request = urllib.request.Request(url, data, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=20) as answer:
        body: bytes = answer.read()
        return body


@pytest.mark.parametrize(("framework", "source"), [("flask", FLASK), ("bottle", BOTTLE)])
def test_framework_runs_as_it_is_and_has_sockets(
    serve: Serve, tmp_path: Path, framework: str, source: str
) -> None:
    python = python_with(framework)
    (tmp_path / "app.rbr").write_text(RBR)
    (tmp_path / "site_.py").write_text(textwrap.dedent(source + LISTEN), encoding="utf-8")
    server = serve(tmp_path / "app.rbr", python=python)
    shop = server.url + "/shop"

    # A redirect, whose target the framework makes from SCRIPT_NAME and Host.
    assert ask(shop + "/").decode() == "<p>é </p>"
    assert ask(shop + "/show/b?q=%C3%A9").decode() == "<p>b é</p>"
    assert ask(shop + "/count?to=10000").splitlines()[-1] == b"9999"
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(shop + "/fail")
    assert refused.value.code == 418
    refused.value.close()

    content = bytes(range(256)) * 2000  # on disk, by then
    form = (
        b'--b\r\nContent-Disposition: form-data; name="what"\r\n\r\ntea\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="t.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--b--\r\n"
    )
    with testing.connect(server.url) as listener:
        answer: dict[str, Any] = json.loads(
            ask(shop + "/buy", form, "multipart/form-data; boundary=b")
        )
        assert answer == {"name": "t.bin", "size": len(content)}
        assert listener.recv() == ["tea"]


# What `pip install --target FOLDER flask` puts there.
OF_FLASK = ("flask", "werkzeug", "jinja2", "markupsafe", "click", "itsdangerous", "blinker")
PACKED = """
import flask, jinja2
app = flask.Flask(__name__)
app.jinja_loader = jinja2.PackageLoader(__name__)

@app.route("/<name>")
def show(name):
    return flask.render_template("show.html", name=name)
"""


def test_framework_runs_from_an_archive(tmp_path: Path) -> None:
    python = python_with("flask")
    where = f"import {','.join(OF_FLASK)}; print(*(m.__path__[0] for m in ({','.join(OF_FLASK)})))"
    folders = subprocess.check_output([python, "-c", where], text=True).split()
    source = tmp_path / "source"
    for folder in folders:
        shutil.copytree(folder, source / Path(folder).name)
    (source / "site_/templates").mkdir(parents=True)
    (source / "site_/templates/show.html").write_text("<p>{{ name }}</p>")
    (source / "site_/__init__.py").write_text(PACKED)
    (source / "app.rbr").write_text("path site ( url /, use wsgi:site_.app );")
    archive = tmp_path / "app.pyz"
    bundle = [python, "-m", "redbarrel_lite", "bundle", f"{source}/app.rbr", "-o", f"{archive}"]
    assert subprocess.run(bundle, cwd=ROOT, capture_output=True).returncode == 0
    shutil.rmtree(source)
    server = Server([python, "-S", "-I", str(archive), "--port", "0"], dict(os.environ))
    assert ask(server.url + "/a&b") == b"<p>a&amp;b</p>"
    server.stop()
