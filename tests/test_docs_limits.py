"""docs/limits.md has each limit that there is, with the default that it has."""

from __future__ import annotations

import importlib
import re
from asyncio.sslproto import SSLProtocol
from pathlib import Path

import pytest

from redbarrel_lite import cli, workers
from redbarrel_lite.rbr_keys import PATH_KEYS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
# The limit, its default, where it is set, what is beyond it.
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (`[^|]+`) \| ([^|]+) \|$", PAGE, re.M)
# These bound what we do to others, or what a file of ours may be: no client comes near them.
OUR_OWN = {
    "anatomy.MAX_SEARCHED",
    "anatomy.MAX_SHOWN",
    "anatomy_http.MAX_CONTENT_BYTES",
    "anatomy_socketio.MAX_PARTS",
    "accesslog.MAX_LOGGED_CHARACTERS",
    "batch.MAX_ANSWERS",
    "batch.MAX_ANSWER_BYTES",
    "batch.MAX_WAIT_S",
    "brake.MAX_PAUSES",
    "brake.MAX_PAUSE_S",
    "conversations.MAX_HEARD",
    "conversations.MAX_SHOWN_BYTES",
    "conversations.MAX_SHOWN_CHARACTERS",
    "cors.MAX_AGE_S",
    "deflate.MAX_STREAMS",
    "emitting.MAX_TOKEN_BYTES",
    "dial_websocket.MAX_MESSAGE_BYTES",
    "http1.MAX_REMEMBERED_BYTES",
    "http1_client.MAX_INTERIM",
    "rbr_diagnostics.MAX_ERRORS",
    "rbr_format.MAX_WIDTH",
    "rbr_recovery.MAX_DEPTH",
    "rbr_tokens.MAX_TARGET_BYTES",
    "runners.MAX_CALLS_AFTER_CLOSE",
    "serving.MAX_OPEN_FILES",
    "socketio.MAX_DEPTH",
    "statuspage.MAX_ROWS",
    "tap.MAX_HELD_BYTES",
    "testing.MAX_REDIRECTS",
    "wirepage.MAX_ENDED",
    "wirepage.MAX_ITEMS",
    "wirepage.MAX_ITEM_BYTES",
    "workers.MAX_TEMPORARY_BYTES",
    "wsproto.MAX_CONTROL_BYTES",
    "wsproto.MAX_FRAGMENTS",
    "wsproto.MAX_LENGTH_IN_16_BITS",
    "wsproto.MAX_MESSAGE_BYTES",
    "wsproto.MAX_SHORT_LENGTH",
}


def names() -> list[str]:
    return re.findall(r"`([^`]+)`", " ".join(place for _, _, place, _ in ROWS))


def default_of(name: str) -> float:
    if name.startswith("--"):
        found: float = cli._parser([]).get_default(name[2:].replace("-", "_"))
        return found
    room, dot, constant = name.partition(".")
    if dot:
        value: float = getattr(importlib.import_module(f"redbarrel_lite.{room}"), constant)
        return value
    return float(PATH_KEYS[name].default)


def test_page_has_rows() -> None:
    assert len(ROWS) == len(re.findall(r"^\| (?!limit|---)", PAGE, re.M)) > 40


@pytest.mark.parametrize(("default", "place"), [row[1:3] for row in ROWS], ids=lambda text: text)
def test_default_is_that_of_the_source(default: str, place: str) -> None:
    told = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", default)]
    assert told == [default_of(name) for name in re.findall(r"`([^`]+)`", place)]


def test_each_limit_of_the_command_line_is_on_the_page() -> None:
    options = re.findall(r"--[a-z-]+", cli._parser([]).format_help())
    limit = re.compile(r"--max-|--.*-timeout|--grace|--watchdog")
    limits = set(filter(limit.match, options))
    assert limits == {name for name in names() if name.startswith("--")}


def test_each_limit_of_a_path_is_on_the_page() -> None:
    limits = {key for key in PATH_KEYS if key.startswith("max-") or key.endswith("-timeout")}
    assert limits <= set(names())


def test_each_limit_in_the_source_is_on_the_page_or_is_our_own() -> None:
    found = set()
    for file in (ROOT / "redbarrel_lite").glob("*.py"):
        for constant in re.findall(r"^(MAX_\w+)(?:: Final)? =", file.read_text("utf-8"), re.M):
            found.add(f"{file.stem}.{constant}")
    assert found - set(names()) == OUR_OWN


def test_connection_over_tls_costs_what_the_page_says() -> None:
    (kib,) = re.findall(r"costs (\d+) KiB from its first", PAGE)
    assert SSLProtocol.max_size == int(kib) * 1024


def test_place_of_a_sick_worker_is_empty_for_longest_when_the_page_says() -> None:
    deaths, empty = 1, workers.BACK_OFF_S
    while empty < workers.MAX_BACK_OFF_S:
        deaths, empty = deaths + 1, empty * 2
    words = "first second third fourth fifth sixth seventh eighth ninth".split()
    (limit,) = (row[0] for row in ROWS if "workers.MAX_BACK_OFF_S" in row[2])
    assert f"died at once, the {words[deaths - 1]} time and so on," in limit


@pytest.mark.parametrize(
    ("constant", "column", "words"),
    [
        # test_handlers.py has the client refused, and ruled.py the file.
        ("outgoing.MAX_HELD_BYTES", 3, "CONNECT_ERROR"),
        ("conditions.MAX_COLLECTED_BYTES", 0, "a file or a stream"),
    ],
)
def test_row_says_what_other_tests_see(constant: str, column: int, words: str) -> None:
    (cell,) = (row[column] for row in ROWS if constant in row[2])
    assert words in cell
