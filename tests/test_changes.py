"""Looks at files: what counts as a change, and when it is complete."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from wire import run

from redbarrel_lite import changes
from redbarrel_lite.changes import Changes, Wanted, differing, look, stamp


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "PAUSE_S", 0.0)
    monkeypatch.setattr(changes, "QUIET_S", 0.001)
    monkeypatch.setattr(changes, "GONE_S", 0.005)


def files_of(folder: Path) -> Wanted:
    return Wanted([str(folder / name) for name in ("a.py", "b.py")], [str(folder / "pages")])


def twin(file: Path) -> Path:
    """Another one of the same time and size."""
    other = file.with_name("twin")
    other.write_text(file.read_text())
    os.utime(other, ns=(0, file.stat().st_mtime_ns))
    return other


def folder_of(folder: Path, text: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "x.css").write_text(text)
    return folder


ALTERATIONS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "written": (lambda folder: (folder / "a.py").write_text("a changed"), {"a.py"}),
    "replaced by one of its time and size": (
        lambda folder: twin(folder / "a.py").rename(folder / "a.py"),
        {"a.py"},
    ),
    "allowed to be read": (lambda folder: (folder / "a.py").chmod(0o400), {"a.py"}),
    "gone": (lambda folder: (folder / "a.py").unlink(), {"a.py"}),
    "come": (lambda folder: (folder / "b.py").write_text("b"), {"b.py"}),
    "written in a folder": (
        lambda folder: (folder / "pages/in/x.css").write_text("x changed"),
        {"pages/in/x.css"},
    ),
    "come in a folder": (lambda folder: (folder / "pages/y.js").write_text(""), {"pages/y.js"}),
    "gone from a folder": (
        lambda folder: (folder / "pages/in/x.css").unlink(),
        {"pages/in/x.css"},
    ),
    **{
        f"come with {suffix}": (
            lambda folder, suffix=suffix: (folder / f"pages/z{suffix}").write_text(""),  # type: ignore[misc]
            {f"pages/z{suffix}"},
        )
        for suffix in (".html", ".htm", ".mjs", ".svg")
    },
    "no page": (lambda folder: (folder / "pages/data.db").write_text("d"), set()),
    "hidden": (lambda folder: (folder / "pages/.x.css.swp.css").write_text("d"), set()),
    "installed": (lambda folder: folder_of(folder / "pages/node_modules"), set()),
    "behind a link": (
        lambda folder: (folder / "pages/in/again").symlink_to(folder / "pages"),
        set(),
    ),
    "another folder in its place": (
        lambda folder: (
            (folder / "pages").rename(folder / "old"),
            folder_of(folder / "pages/in", "x"),
        ),
        {"pages", "pages/in/x.css"},
    ),
    "nobody's": (lambda folder: (folder / "c.py").write_text("c"), set()),
    "folder gone": (
        lambda folder: (folder / "pages").rename(folder / "old"),
        {"pages", "pages/in/x.css"},
    ),
}


@pytest.mark.parametrize("what", ALTERATIONS)
def test_look_tells_what_is_not_as_it_was(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.py").write_text("a")
    folder_of(tmp_path / "pages/in", "x")
    before = look(files_of(tmp_path))
    assert not differing(before, look(files_of(tmp_path)))
    alter, expected = ALTERATIONS[what]
    alter(tmp_path)
    changed = differing(before, look(files_of(tmp_path)))
    assert changed == {str(tmp_path / name) for name in expected}


@pytest.mark.parametrize("name", ["a.py", "pages/in/x.css"])
def test_link_that_leads_elsewhere_and_back_has_changed(tmp_path: Path, name: str) -> None:
    """Who has read it meanwhile has read something else."""
    folder_of(tmp_path / "pages/in").joinpath("x.css").unlink()
    link = tmp_path / name
    link.symlink_to(tmp_path / "one")
    (tmp_path / "one").write_text("one")
    before = look(files_of(tmp_path))
    assert not differing(before, look(files_of(tmp_path)))
    aside = tmp_path / "aside"
    aside.symlink_to(tmp_path / "one")  # before the other has gone, whose number it could get
    aside.rename(link)
    assert differing(before, look(files_of(tmp_path))) == {str(link)}
    (tmp_path / "one").unlink()
    assert stamp(str(link)) is None


def test_path_that_no_system_has_is_not_there() -> None:
    assert look(Wanted(["a\0b"], [])) == {"a\0b": {"a\0b": None}}


def nothing(_file: Path) -> None:
    pass


def grow(file: Path) -> None:
    with file.open("a") as text:
        text.write("more")


class Saves:
    """Files that are altered just before a certain look at them."""

    def __init__(self, folder: Path, *saves: Callable[[Path], object]) -> None:
        self.file = folder / "a.py"
        self.file.write_text("a")
        self.looks = 0
        self._saves = dict(zip(itertools.count(2), saves, strict=False))

    def wanted(self) -> Wanted:
        self.looks += 1
        self._saves.get(self.looks, nothing)(self.file)
        return Wanted([str(self.file)], [])


def test_burst_is_one_change_that_ends_when_it_is_quiet(tmp_path: Path) -> None:
    saves = Saves(tmp_path, nothing, *[grow] * 20)

    async def test() -> None:
        seen = Changes(saves.wanted)
        assert await seen.next() == {str(saves.file)}
        assert saves.looks == 1 + 1 + 20 + 1
        assert not await seen.so_far()
        saves.file.write_text("another one")
        assert await seen.so_far()
        assert await seen.next() == {str(saves.file)}
        seen.end()

    run(test())


def test_what_was_altered_before_the_first_look_has_changed_if_that_is_asked(
    tmp_path: Path,
) -> None:
    wanted = files_of(tmp_path)
    (tmp_path / "a.py").write_text("a")
    now = (tmp_path / "a.py").stat().st_ctime_ns
    os.utime(tmp_path / "a.py", (0, 0))

    async def test() -> None:
        seen = Changes(lambda: wanted, now)
        assert await seen.next() == {str(tmp_path / "a.py")}
        assert not await seen.so_far()
        seen.end()
        seen = Changes(lambda: wanted, (tmp_path / "a.py").stat().st_ctime_ns + 1)
        assert not await seen.so_far()
        seen.end()

    run(test())


def test_file_that_is_always_written_is_a_change_all_the_same(tmp_path: Path) -> None:
    saves = Saves(tmp_path, *[grow] * 1000)

    async def test() -> None:
        seen = Changes(saves.wanted)
        assert await seen.next() == {str(saves.file)}
        assert saves.looks == 1 + 1 + changes.MOST_QUIET_LOOKS
        seen.end()

    run(test())


def test_file_that_is_away_for_a_moment_has_changed_and_not_gone(tmp_path: Path) -> None:
    saves = Saves(tmp_path, Path.unlink, nothing, nothing, lambda file: file.write_text("saved"))

    async def test() -> None:
        seen = Changes(saves.wanted)
        assert await seen.next() == {str(saves.file)}
        assert saves.file.read_text() == "saved"
        before = saves.looks
        saves.file.unlink()
        assert await seen.next() == {str(saves.file)}
        assert saves.looks == before + 1 + 5
        seen.end()

    run(test())


def test_what_is_put_back_as_it_was_has_not_changed(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    saves = Saves(tmp_path, lambda file: file.rename(aside), aside.rename)

    async def test() -> None:
        seen = Changes(saves.wanted)
        soon = asyncio.ensure_future(seen.next())
        while saves.looks < 10:
            assert not soon.done()
            await asyncio.sleep(0)
        saves.file.write_text("changed")
        assert await soon == {str(saves.file)}
        seen.end()

    run(test())


def test_what_is_wanted_later_has_not_changed_by_that(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.py", "b.py")]
    for file in files:
        file.write_text("")
    wanted = [str(files[0])]

    async def test() -> None:
        seen = Changes(lambda: Wanted(wanted, []))
        files[0].write_text("a")
        wanted.append(str(files[1]))
        assert await seen.next() == {str(files[0])}
        files[1].write_text("b")
        assert await seen.next() == {str(files[1])}
        wanted.pop()
        files[1].write_text("b, unseen")
        assert not await seen.so_far()
        wanted.append(str(files[1]))
        assert not await seen.so_far()
        files[1].write_text("b, seen again")
        assert await seen.so_far()
        seen.end()
        with pytest.raises(RuntimeError, match="shutdown"):
            await seen.next()

    run(test())
