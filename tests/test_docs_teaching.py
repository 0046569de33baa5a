"""docs/teaching.md: every command of the lessons runs, and leads to what the text says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Serve

PAGE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[3:]
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
TALK = re.findall(
    r"```(?:rbr|python)\n# (talk\.\w+)\n(.*?)```", (ROOT / "docs/connect.md").read_text(), re.DOTALL
)


def ran(*command: str, folder: Path = ROOT, typed: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "redbarrel_lite", *command],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        input=typed,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def of(name: str) -> list[list[str]]:
    found = [command for command in COMMANDS if command[0] == name]
    assert found
    return found


def test_commands_are_of_these_kinds() -> None:
    kinds = {"connect", "explain", "new"}
    others = [command for command in COMMANDS if command[0] not in kinds]
    assert [command[0] for command in others] == [
        "examples/chat/chat.rbr",
        "echo.rbr",
        "talk.rbr",
        "examples/board/board.rbr",
    ]


def test_what_is_explained_is_right_but_for_what_the_class_breaks() -> None:
    verdicts = []
    for command in of("explain"):
        status, said = ran(*command)
        verdict = said.splitlines()[-1]
        assert (status == 1) is verdict.startswith("Wrong: "), said
        verdicts.append(verdict.removeprefix("Wrong: ").split(" (RFC")[0])
    assert verdicts == [
        "Right.",
        "bad header line 'Host :...'",
        "no Host",
        "the content's length is given twice",
        "Right.",
        "text frame with a reserved bit set",
        *["Right."] * 2,
        "Right so far.",  # without its attachment
    ]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0].startswith("examples/")])
def test_applications_of_the_lessons_are_served(serve: Serve, command: list[str]) -> None:
    assert serve(*command).url


def letting_in(url: str, begin: str, enter: str, poll: str) -> str:
    """Begin a session, and enter; the handler's first words may take a poll of their own."""
    status, said = ran("connect", url, typed=begin + "\n")
    assert status == 0
    sid = said.split('0{"sid":"')[1].split('"')[0]
    status, said = ran("connect", url, typed=f"{enter}\n{poll}\n".replace("SID", sid))
    assert (status, said.count("\nok\n")) == (0, 1), said
    assert '40{"sid":"' in said
    if '\\x1e42["message"' not in said:
        status, said = ran("connect", url, typed=poll.replace("SID", sid) + "\n")
        assert '42["message"' in said
    return sid


def test_polling_of_the_first_lesson_is_typed_into_the_terminal(serve: Serve) -> None:
    server = serve("examples/chat/chat.rbr")
    begin, enter, poll, say = re.findall(r"^((?:GET|POST) /socket\.io/.*)$", PAGE, re.MULTILINE)
    sid = letting_in(server.url, begin, enter, poll)
    status, said = ran("connect", server.url, typed=say.replace("SID", sid) + "\n")
    assert status == 0, said
    assert said.endswith("\nok\n")


def test_what_one_of_a_pair_says_is_what_the_other_has_polled_for(serve: Serve) -> None:
    server = serve("examples/chat/chat.rbr")
    begin, enter, poll, say = re.findall(r"^((?:GET|POST) /socket\.io/.*)$", PAGE, re.MULTILINE)
    pair = [letting_in(server.url, begin, enter, poll) for _ in range(2)]
    ran("connect", server.url, typed=say.replace("SID", pair[0]) + "\n")
    _, said = ran("connect", server.url, typed=poll.replace("SID", pair[1]) + "\n")
    assert '\\"hello\\"' in said
    _, said = ran("connect", server.url, typed=poll.replace("SID", "x" * 22) + "\n")
    assert "Session ID unknown" in said


def test_terminal_of_the_first_lesson_shows_the_head_that_it_makes(serve: Serve) -> None:
    server = serve("examples/chat/chat.rbr")
    _, _, *options = of("connect")[0]
    status, said = ran("connect", server.url, *options, typed="HEAD /\n")
    assert status == 0, said
    assert "host: 127.0.0.1:" in said
    assert "request-target" in said


def test_terminal_of_the_second_lesson_talks_in_frames(serve: Serve, tmp_path: Path) -> None:
    for name, text in TALK:
        (tmp_path / name).write_text(text, encoding="utf-8")
    server = serve(tmp_path / "talk.rbr")
    host = server.url.removeprefix("http://")
    frames, events = of("connect")[1:]
    halves = re.findall(r"^/raw .*", PAGE, re.MULTILINE)
    command = [word.replace("127.0.0.1:8000", host) for word in frames]
    status, said = ran(
        *command,
        typed="\n".join((*halves, "/wait", "/ping", "/wait pong", "/close 4001 enough", "")),
    )
    assert "< Hello\n< pong\n" in said, said
    _, said = ran(*command, typed=f"{halves[0]}\n/ping hey\n/wait\n")
    assert "! closed with 1007 text is not UTF-8" in said, said
    command = [word.replace("127.0.0.1:8000", host) for word in events]
    status, said = ran(*command, typed="/call add 1 2\n")
    assert (status, "< acknowledgement 3" in said) == (0, True), said


def test_application_of_the_last_lesson_is_written(tmp_path: Path) -> None:
    (command,) = of("new")
    status, said = ran(*command, folder=tmp_path)
    assert status == 0, said
    assert (tmp_path / "board").is_dir()


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([\w./-]+)\)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target
