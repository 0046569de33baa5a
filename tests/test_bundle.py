"""The command `bundle`: what it packs and refuses; what it wrote is the application."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Server

from redbarrel_lite import cli, testing

pytestmark = pytest.mark.usefixtures("own_modules")

BIG = " ".join(map(str, range(50_000)))  # so that it is sent from where it lies in the archive
APP = {
    "shop.rbr": """
        global motto file:texts/motto.txt;
        type small python:rules.small;
        path motto ( url /motto, use python:shop.motto );
        path note ( url /note, use python:shop.note );
        path line ( url /line, use python:shop.line );
        path page ( url /, use file:page.html );
        path files ( url /files/{name:.*}, use directory:static );
        path mounted ( url /wsgi, use wsgi:web.app );
        worker gone python:no.such;
        include "more/more.rbr" at /more;
    """,
    "shop.py": (
        "import helper, pkgutil\nfrom bare.deep import inner\n"
        "def motto(globs, request):\n    return helper.loud(globs)\n"
        "def line(globs, request):\n    return pkgutil.get_data(inner.__name__, 'line.txt')\n"
        "def note(globs, request):\n    return pkgutil.get_data(__name__, 'notes/one.txt')\n"
    ),
    "bare/deep/inner.py": "",
    "bare/deep/line.txt": "a line",
    "bare/beside.txt": "nobody's",
    "helper.py": "def loud(globs):\n    return globs['motto'].upper()\n",
    "rules.py": "def small(value):\n    return len(value) < 9\n",
    "texts/motto.txt": "fine goods",
    "notes/one.txt": "a note",
    "page.html": "<p>page</p>",
    "static/a.css": "body {}",
    "static/big.txt": BIG,
    "static/sub/index.html": "sub",
    "static/.env": "SECRET",
    "web/__init__.py": "from .inner import app\n",
    "web/inner.py": (
        "def app(environ, start):\n    start('200 OK', [])\n    return [b'from wsgi']\n"
    ),
    "web/template.html": "<p></p>",
    "web/.secret": "SECRET",
    "more/more.rbr": "path m ( url /, use python:helper.say );",
    "more/helper.py": "import rules\ndef say(globs, request):\n    return str(rules.small(''))\n",
    "unused.py": "",
    ".env": "SECRET",
    "key.pem": "SECRET",
}


def written(folder: Path, **more: str) -> Path:
    for name, text in (APP | more).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "shop.rbr"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    return written(tmp_path / "src")


def bundle(app: Path | str, *args: str | Path, output: Path | None = None) -> tuple[int, Path]:
    output = output or Path(app).parent.parent / "out.pyz"
    return cli.main(["bundle", str(app), "-o", str(output), *map(str, args)]), output


def packed(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as one:
        names = [name.removeprefix("app/") for name in one.namelist() if name.startswith("app/")]
    return sorted(name for name in names if name and not name.endswith("/"))


def started(archive: Path, *args: str) -> Server:
    """By a bare Python, from another folder; warnings are errors."""
    python = [sys.executable, "-S", "-I", "-X", "dev", "-W", "error"]
    return Server(["env", "-C", "/", *python, str(archive), "--port", "0", *args], {**os.environ})


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All examples in one file, in a folder that can't be written into."""
    folder = tmp_path_factory.mktemp("gallery")
    status, archive = bundle(ROOT / "examples/index.rbr", output=folder / "gallery.pyz")
    assert status == 0
    archive.chmod(0o444)
    folder.chmod(0o555)
    server = started(archive, "--debug", "--workers", "2")
    yield server
    server.stop()
    folder.chmod(0o755)
    assert "Traceback" not in server.said()


# -- what it wrote ---------------------------------------------------------------------------


def test_packed_gallery_serves_its_pages_and_ours(gallery: Server) -> None:
    with testing.client(gallery.url) as client:
        for page in ("/", "/chat/", "/hello/", "/monitor/plot.js", "/shortener/", "/demos/"):
            assert client.get(page).status == 200, page
        for ours in ("/chat/socket.io/socket.io.js", "/__doc__", "/__wire__/", "/__api__"):
            assert client.get(ours).status == 200, ours
        assert client.get("/pictures/none.png").status == 404


def test_packed_chat_talks(gallery: Server) -> None:
    with testing.client(gallery.url) as client:
        one, other = (
            client.socket(path="/chat/socket.io/", transport=transport)
            for transport in ("upgrade", "polling")
        )
        one.send("hello")
        while "hello" not in str(other.recv()):
            pass


def test_packed_application_is_the_application(
    app: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, archive = bundle(app, "--with", app.parent / "notes")
    assert status == 0
    assert packed(archive) == [
        "bare/deep/inner.py", "bare/deep/line.txt",
        "helper.py", "more/helper.py", "more/more.rbr", "notes/one.txt", "page.html", "rules.py",
        "shop.py", "shop.rbr", "static/a.css", "static/big.txt", "static/sub/index.html",
        "texts/motto.txt", "web/__init__.py", "web/inner.py", "web/template.html",
    ]  # fmt: skip
    told = capsys.readouterr().err.splitlines()
    assert "static/: 3 files, 288.9 kB" in told
    assert "left out: static/.env, which is never served" in told
    assert "left out: web/.secret, which is hidden" in told
    assert told[-1].startswith(f"Wrote {archive}, ")
    server = started(archive)
    with testing.client(server.url) as client:
        for url, text in {
            "/": "<p>page</p>",
            "/motto": "FINE GOODS",
            "/note": "a note",
            "/line": "a line",
            "/files/a.css": "body {}",
            "/files/sub/": "sub",
            "/wsgi": "from wsgi",
            "/more/": "True",
        }.items():
            assert client.get(url).text == text, url
        big = client.get("/files/big.txt")
        assert (big.text, big.headers["accept-ranges"]) == (BIG, "bytes")
        same = {"If-None-Match": big.headers["etag"]}
        assert client.get("/files/big.txt", headers=same).status == 304
        part = client.get("/files/big.txt", headers={"Range": "bytes=1000-199999"})
        assert (part.status, part.text) == (206, BIG[1000:200_000])
    server.stop()
    assert "Traceback" not in server.said()


def test_module_may_have_any_name_and_the_archive_any_place(tmp_path: Path) -> None:
    """Names of Python's, of ours and of the archive's; reached by a link, and it goes elsewhere."""
    names = ("json", "redbarrel_lite", "__main__", "space.inner.deep")
    paths = (f"path p{at} ( url /{n}, use python:{n}.f );" for at, n in enumerate(names))
    app = alone(tmp_path, "".join(paths))
    source = "import os\n\ndef f(request):\n    os.chdir('/')\n    return [__name__, __file__]\n"
    for name in names:
        file = app.parent / f"{name.replace('.', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    status, archive = bundle(app)
    assert status == 0
    link = tmp_path / "a link"
    link.symlink_to(archive.name)
    command = ["env", "-C", str(tmp_path), sys.executable, "-O", "-S", "-I", "./a link"]
    server = Server([*command, "--port", "0"], {**os.environ})
    with testing.client(server.url) as client:
        for name in names:
            told, file = client.get(f"/{name}").json
            assert told.endswith(name)
            assert file == f"{archive}/app/{name.replace('.', '/')}.py"
    server.stop()


def test_same_application_is_the_same_file(app: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "src"
    other.mkdir(parents=True)
    written(other)
    for path in other.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (status, one), (_, two) = bundle(app), bundle(other / "shop.rbr")
    assert status == 0
    assert one != two
    assert one.read_bytes() == two.read_bytes()


def test_archive_serves_its_own_file_alone(
    app: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["other.rbr"], app=str(app))
    assert "other.rbr: this archive serves what is in it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--reload"], app=str(app))
    assert "--reload: what is in an archive does not change" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--help"], app=str(app))
    told = capsys.readouterr().out
    assert "APP.rbr" not in told
    assert "Other commands" not in told


def test_output_is_named_after_the_application(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app.with_name("shop.py").write_text("import os; os.chdir('/')\n" + APP["shop.py"])
    assert cli.main(["bundle", "src/shop.rbr"]) == 0
    assert "more/more.rbr" in packed(Path("shop.pyz"))
    assert (tmp_path / "shop.pyz").stat().st_mode & 0o100


def test_output_that_can_not_be_written_is_status_2(
    app: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    long = "x" * 256
    (tmp_path / "a b").mkdir()
    for output, why in (
        ("none/x.pyz", "none is no folder: make it, or name another"),
        ("src/shop.py/x.pyz", "src/shop.py is no folder: make it, or name another"),
        ("a b", "a b is a folder: write -o 'a b/shop.pyz'"),
        (".", ". is a folder: write -o shop.pyz"),
        ("", ". is a folder: write -o shop.pyz"),
        ("/", "/ is a folder: write -o /shop.pyz"),
        ("..", ".. is a folder: write -o ../shop.pyz"),
        (long, f"{long}: File name too long"),
    ):
        assert cli.main(["bundle", str(app), "-o", output]) == 2
        assert capsys.readouterr().err == f"error: {why}\n"
    assert cli.main(["bundle", "-o", "."]) == 2
    assert "write -o redbarrel_lite.pyz" in capsys.readouterr().err
    for folder in (".", "", "/"):
        assert cli.main(["bundle", folder]) == 2
        assert ": Is a directory\n" in capsys.readouterr().err


def test_output_takes_the_place_of_files_alone(
    app: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root would replace ``/dev/null`` by renaming, and a pipe's reader would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert bundle(app, output=pipe)[0] == 2
    assert f"{pipe} is no regular file" in capsys.readouterr().err
    assert pipe.is_fifo()
    link = tmp_path / "link"
    link.symlink_to(pipe)
    assert bundle(app, output=link)[0] == 2
    assert link.is_symlink()


def test_told_command_is_one_for_a_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = alone(tmp_path, "path a ( url /, use file:app.rbr );")
    monkeypatch.chdir(tmp_path)
    for output, word in (("my own.pyz", "'my own.pyz'"), ("-x.pyz", "./-x.pyz")):
        assert cli.main(["bundle", str(app), f"-o{output}"]) == 0
        assert capsys.readouterr().err.endswith(f": python3 {word} --port 8000\n")


# -- what it refuses -------------------------------------------------------------------------


def refused(app: Path, capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    status, archive = bundle(app, *args)
    assert status == 1
    assert not archive.exists()
    return capsys.readouterr().err


def alone(tmp_path: Path, rbr: str, **modules: str) -> Path:
    folder = tmp_path / "src"
    folder.mkdir(exist_ok=True)
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    (folder / "app.rbr").write_text(rbr)
    return folder / "app.rbr"


def test_faulty_application_is_told_as_by_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = alone(tmp_path, "path a ( url /, use python:shop_a.f );", shop_a="1 / 0")
    told = refused(app, capsys)
    assert "ZeroDivisionError" in told
    assert "app.rbr:1:28: error RBR040" in told
    assert cli.main(["bundle", str(tmp_path / "none.rbr")]) == 2


def test_archive_is_not_packed_into_itself(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = app.parent / "static/out.pyz"
    assert bundle(app, output=output)[0] == 1
    assert "would be packed into itself" in capsys.readouterr().err


def test_what_is_added_is_added_to_an_application(
    app: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--with`` takes all words that follow, the application's name among them."""
    output = tmp_path / "out.pyz"
    words = ["--with", str(app.parent / "notes"), str(app)]
    assert cli.main(["bundle", "-o", str(output), *words]) == 2
    assert "write bundle APP.rbr --with PATH" in capsys.readouterr().err
    assert not output.exists()


def test_what_is_added_must_be_inside_and_there(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (ROOT / "README.md", app.parent.parent):
        assert "lies outside of" in refused(app, capsys, "--with", path)
    assert "error: 'none' is not there" in refused(app, capsys, "--with", app.parent / "none")
    status, archive = bundle(app, "--with", app.parent / "unused.py", app.parent / "notes")
    assert status == 0
    assert {"unused.py", "notes/one.txt"} <= set(packed(archive))
