"""What of an application is packed, and what is refused at the line that names it."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import sys
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
from test_bundle import alone, bundle, packed, refused, started

from redbarrel_lite import testing

pytestmark = pytest.mark.usefixtures("own_modules")


def test_third_party_package_is_named_at_the_line_that_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = alone(
        tmp_path,
        "path a ( url /, use python:shop_b.f );",
        shop_b="import shop_c\ndef f(request): ...\n",
        shop_c="\n\nimport pytest\n",
    )
    assert refused(app, capsys) == (
        f"{app}:1:28: error RBR048: shop_c.py:3 imports 'pytest', which is not beside the"
        " application\n"
        "  1 | path a ( url /, use python:shop_b.f );\n"
        "    |                            ^^^^^^^^\n"
        f"  help: put it there: python3 -m pip install --target {app.parent} pytest\n"
    )
    (tmp_path / "src/shop_c.py").write_text("HERE = __file__\n")
    assert bundle(app)[0] == 0
    told = capsys.readouterr().err.splitlines()
    assert any(line.startswith("shop_c.py:1: __file__ is no place on a disk") for line in told)


def test_application_of_others_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = alone(tmp_path, "path a ( url /, use wsgi:pytest.main );")
    assert "1:26: error RBR048: it needs 'pytest', which is not" in refused(app, capsys)


def test_module_of_a_function_is_told_and_what_is_not_installed_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (
        "import sys\nif sys.version_info < (3,):\n    import of_python_2\n"
        "try:\n    import pytest\n    import not_there\nexcept ImportError:\n    pass\n"
        "def f(request):\n    import pytest, not_installed\n"
    )
    app = alone(tmp_path, "path a ( url /, use python:shop_e.f );", shop_e=source)
    assert bundle(app)[0] == 0
    assert capsys.readouterr().err.splitlines()[2:-1] == [
        "shop_e.py:5 imports 'pytest' if it can: there it can't",
        "shop_e.py:10 imports 'pytest' when it is called: there that will fail",
    ]


def test_compiled_module_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in ("_json", "_heapq")}
    name, file = next((name, file) for name, file in files.items() if file)
    source = "def f(request): ...\ndef later():\n    import shop_g.slow\nimport shop_g\n"
    app = alone(tmp_path, "path a ( url /, use python:shop_f.f );", shop_f=source)
    package = app.parent / "shop_g"
    package.mkdir()
    (package / "slow.pyc").write_bytes(b"")
    copy = shutil.copy(file, package)
    (package / "__init__.py").write_text(f"from . import {name}\n")
    told = refused(app, capsys)
    what = f"shop_g/__init__.py:1 imports '{name}', which is compiled: {Path(copy).name}"
    assert f"app.rbr:1:28: error RBR048: {what}\n" in told
    (package / "__init__.py").write_text(f"try:\n    from . import {name}\nexcept ImportError: ...")
    status, archive = bundle(app)
    assert status == 0
    assert packed(archive) == ["app.rbr", "shop_f.py", "shop_g/__init__.py"]
    told = capsys.readouterr().err
    assert "shop_f.py:3 imports 'slow' when it is called: there that will fail" in told
    assert f"left out: shop_g/{Path(copy).name}, which is compiled" in told


def test_what_lies_outside_is_refused_at_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/page.html").write_text("")
    (tmp_path / "out/more.rbr").write_text("path m ( url /m, use file:page.html );")
    app = alone(
        tmp_path,
        "path a ( url /a, use file:../out/page.html );\n"
        "path b ( url /b/{n}, use directory:../out );\n"
        'include "../out/more.rbr";\n'
        'include "link.rbr" at /x;\n',
    )
    (app.parent / "inner.rbr").write_text("path i ( url /i, use file:app.rbr );")
    (app.parent / "link.rbr").symlink_to("inner.rbr")
    told = refused(app, capsys)
    assert "app.rbr:4:9: error RBR048: 'link.rbr' is a symbolic link" in told
    for line, name in (
        ("app.rbr:1:27", "../out/page.html"),
        ("app.rbr:2:36", "../out"),
        ("app.rbr:3:9", "../out/more.rbr"),
    ):
        assert f"{line}: error RBR048: '{name}' lies outside of {app.parent}" in told
    assert told.count("error") == 4


def test_links_stay_inside_or_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = alone(tmp_path, "path a ( url /{n:.*}, use directory:static );")
    static = tmp_path / "src/static"
    (static / "sub").mkdir(parents=True)
    (static / ".hidden").write_text("SECRET")
    (static / "sub/a.txt").write_text("a")
    (static / "b.txt").symlink_to("sub/a.txt")
    (static / "folder").symlink_to("sub")
    (static / "c.txt").symlink_to(".hidden")
    status, archive = bundle(app)
    assert status == 0
    files = ["static/b.txt", "static/folder/a.txt", "static/sub/a.txt"]
    assert packed(archive) == ["app.rbr", *files]
    archive.unlink()
    capsys.readouterr()
    (static / "out").symlink_to("../app.rbr")
    assert "'static/out' is a symbolic link that leads out, to" in refused(app, capsys)
    (static / "out").unlink()
    (static / "loop").symlink_to("loop")
    assert "'static/loop' is a symbolic link that leads nowhere" in refused(app, capsys)
    (static / "loop").unlink()
    (static / "sub/up").symlink_to("..")
    assert "'static/folder/up' leads round in a circle" in refused(app, capsys)
    static.rename(tmp_path / "static")
    static.symlink_to("../static")
    told = f"'static' is a symbolic link that leads out, to {tmp_path}/static"
    assert f"app.rbr:1:37: error RBR048: {told}" in refused(app, capsys)


ODD_NAMES = (
    "a b/c d.txt", "-rf", "x..y", 'q?u#o"t%41e.txt', "a;b&c'd", "日本.html", "two\u202fwords.png",
    *(unicodedata.normalize(form, "é.txt") for form in ("NFC", "NFD")), "README", "readme",
    "l" * 250,
)  # fmt: skip


def test_odd_names_are_served_as_from_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each its own: no system below an archive takes two names for one."""
    app = alone(
        tmp_path,
        'path b ( url /b, use file:"o {;}.txt" ); path a ( url /{n:.*}, use directory:static );',
    )
    for name in (*(f"static/{name}" for name in ODD_NAMES), "o {;}.txt"):
        (app.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (app.parent / name).write_text(name, encoding="utf-8")
    os.utime(app.parent / "static/README", (0, 0))  # before there were archives
    (app.parent / "static/empty").mkdir()
    (app.parent / "static/a\\b").touch()  # which no server serves
    status, archive = bundle(app)
    assert status == 0
    assert "left out: static/a\\b, which is never served" in capsys.readouterr().err
    server = started(archive)
    with testing.client(server.url) as packed, testing.client(app) as plain:
        for name in ODD_NAMES:
            assert packed.get(f"/{quote(name)}").text == f"static/{name}"
        assert packed.get("/b").text == "o {;}.txt"
        for url in ("/empty", "/empty/", "/a%20b", "/README/", "/a%5Cb", "/%2e%2e/app.rbr"):
            assert packed.get(url).status == plain.get(url).status, url
    server.stop()


def test_what_is_no_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = alone(tmp_path, "path a ( url /{n:.*}, use directory:static );")
    (tmp_path / "src/static").mkdir()
    pipe = tmp_path / "src/static/pipe"
    os.mkfifo(pipe)
    assert "1:37: error RBR048: 'static/pipe' is no regular file" in refused(app, capsys)
    pipe.unlink()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(pipe))
        assert "'static/pipe' is no regular file" in refused(app, capsys)
    pipe.unlink()
    (tmp_path / "src/static/a\nb").touch()  # which no server serves
    assert bundle(app)[0] == 0
    assert r"left out: 'static/a\nb', which is never served" in capsys.readouterr().err
    bundle(app)[1].unlink()
    (tmp_path / "src/static" / os.fsdecode(b"a\xff")).touch()
    assert "is a name that can't be packed" in refused(app, capsys)


def test_compressed_file_goes_if_it_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rbr = "path a ( url /{n:.*}, use directory:static ); path b ( url /, use file:b.html );"
    app = alone(tmp_path, rbr)
    (tmp_path / "src/static").mkdir()
    for name in ("static/same.css", "static/other.css", "static/broken.css", "b.html"):
        (app.parent / name).write_text("body {}")
        (app.parent / f"{name}.gz").write_bytes(gzip.compress(b"body {}"))
    (tmp_path / "src/static/other.css.gz").write_bytes(gzip.compress(b"body { }"))
    (tmp_path / "src/static/broken.css.gz").write_bytes(b"nothing of the kind")
    (tmp_path / "src/static/alone.gz").write_bytes(gzip.compress(b""))
    status, archive = bundle(app)
    assert status == 0
    assert [name for name in packed(archive) if name.endswith(".gz")] == [
        "b.html.gz",
        "static/alone.gz",
        "static/same.css.gz",
    ]
    told = capsys.readouterr().err
    assert "left out: static/other.css.gz, which is not other.css compressed" in told
    assert "left out: static/broken.css.gz" in told
