"""Globals: built in order, ended in reverse, and what happens when one of them fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from unserved import answers, write
from wire import ask, run

from redbarrel_lite.app import App
from redbarrel_lite.errors import RbrError
from redbarrel_lite.listener import Address
from redbarrel_lite.server import Server

pytestmark = pytest.mark.usefixtures("own_modules")


def test_globals_are_built_in_order_from_those_before(tmp_path: Path) -> None:
    app = App.load(
        write(
            tmp_path,
            app_rbr="""
            global text "a";
            global whole 3;
            global half 1.5;
            global version 1.0.3;
            global place /somewhere;
            global word on;
            global words on|off;
            global file file:text.txt;
            global made python:globs_a.make;
            global bare python:globs_a.bare;
            global object python:globs_a.thing;
            global later python:globs_a.later;
            global counter python:globs_a.Counter;
            path all ( url /, use python:globs_a.all );
            """,
            globs_a_py="""
            thing = [1]
            def make(globs): return sorted(globs)
            def bare(): return "bare"
            async def later(globs): return globs["made"][0]
            class Counter:
                def __init__(self, globs): self.start = globs["whole"]
                def __repr__(self): return f"Counter {self.start}"
            def all(globs, request): return repr(globs)
            """,
            text_txt="é",
        )
    )
    assert (
        answers(app, "/")[0].decode()
        == repr(
            {
                "text": "a",
                "whole": 3,
                "half": 1.5,
                "version": "1.0.3",
                "place": "/somewhere",
                "word": "on",
                "words": "on|off",
                "file": "é",
                "made": ["file", "half", "place", "text", "version", "whole", "word", "words"],
                "bare": "bare",
                "object": [1],
                "later": "file",
            }
        )[:-1]
        + ", 'counter': Counter 3}"
    )


GENERATORS = """
global one python:gens_{n}.one;
global two python:gens_{n}.two;
global three python:gens_{n}.three;
path show ( url /, use python:gens_{n}.show );
"""
GENERATORS_PY = """
import asyncio
told = []
def one(globs):
    told.append("one begins")
    yield 1
    told.append("one ends")
async def two(globs):
    task = asyncio.create_task(work())
    yield 2
    task.cancel()
    told.append("two ends")
    {two}
async def work():
    told.append("work begins")
    try:
        await asyncio.Event().wait()
    finally:
        told.append("work ends")
def three(globs):
    yield globs["one"] + globs["two"]
    told.append("three ends")
    {three}
async def show(globs, request): return str(globs["three"])
"""


@pytest.mark.parametrize(
    ("two", "three", "said"),
    [
        ("", "", ""),
        ("raise ValueError('two')", "1 / 0", "the end of global 'three' failed"),
        ("yield 'more'", "yield 'more'", "it yields a second time"),
        ("await asyncio.Event().wait()", "", "global 'two' did not end in time"),
        ("await task", "raise SystemExit(3)", "the end of global 'two' failed"),
        ("raise KeyboardInterrupt", "", "the end of global 'two' failed"),
    ],
)
def test_generators_end_in_reverse_order_whatever_happens(
    tmp_path: Path, two: str, three: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    number = abs(hash((two, three)))
    name = f"gens_{number}"
    file = write(tmp_path, app_rbr=GENERATORS.format(n=number))
    (tmp_path / f"{name}.py").write_text(GENERATORS_PY.format(two=two, three=three))
    app = App.load(file)

    async def test() -> None:
        server = Server(app)
        url = await server.start()
        assert (await ask(url, "GET", "/"))[2] == b"3"
        await server.close(0.2)

    run(test())
    told = sys.modules[name].told
    ends = [one for one in told if one.endswith("ends") and not one.startswith("work")]
    assert ends == ["three ends", "two ends", "one ends"]
    assert "work ends" in told
    assert said in caplog.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def make(globs): 1 / 0", "global 'bad' fails: ZeroDivisionError: division by zero"),
        ("def make(globs):\n if False: yield", "global 'bad' fails: AppError: it yields nothing"),
        ("async def make(globs):\n if False: yield", "it yields nothing"),
        ("async def make(globs): raise OSError('gone')", "global 'bad' fails: OSError: gone"),
    ],
)
def test_global_that_fails_ends_those_before_it(tmp_path: Path, source: str, message: str) -> None:
    name = f"failing_{abs(hash(source))}"
    file = write(
        tmp_path,
        app_rbr=f"""
        global good python:{name}.good;
        global bad python:{name}.make;
        path a ( url /, use python:{name}.good );
        """,
    )
    good = "told = []\ndef good(globs):\n yield 1\n told.append('ended')\n"
    (tmp_path / f"{name}.py").write_text(good + source)
    app = App.load(file)

    async def test() -> None:
        with pytest.raises(RbrError, match=r"app.rbr:3:\d+: error RBR047") as raised:
            await Server(app).start()
        assert message in str(raised.value)
        assert raised.value.__cause__ is not None

    run(test())
    assert sys.modules[name].told == ["ended"]


def test_address_in_use_ends_the_globals(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        app_rbr="global g python:ends.g; path a ( url /, use python:ends.g );",
        ends_py="told = []\ndef g(globs):\n yield 1\n told.append('ended')\n",
    )

    async def test() -> None:
        first = Server(App.load(file))
        url = await first.start()
        with pytest.raises(OSError, match="in use"):
            await Server(App.load(file)).start(Address(port=int(url.rpartition(":")[2])))
        assert sys.modules["ends"].told == ["ended"]
        await first.close(0.1)

    run(test())


def test_global_that_validates_must_be_callable(tmp_path: Path) -> None:
    rbr = """
    global g {value};
    type t python:validates.t;
    path a ( url /, use python:validates.t, request-headers (
        unless A validates with g return 400,
        unless A validates with int return 400,
        unless A validates with t return 400 ) );
    """
    file = write(tmp_path, app_rbr=rbr.format(value=3), validates_py="def t(value): pass")

    async def test() -> None:
        with pytest.raises(RbrError, match="global 'g' is not callable but of type int"):
            await App.load(file).start()
        write(tmp_path, app_rbr=rbr.format(value="python:validates.t"))
        with pytest.raises(RbrError, match="global 'g' is not callable but of type NoneType"):
            await App.load(file).start()

    run(test())
