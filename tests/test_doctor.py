"""`doctor`, in front of servers that are well, and behind proxies that are not."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
from broken_proxy import answer, front
from conftest import ROOT
from wire import CERTIFICATE, live, run, serving_tls

from redbarrel_lite import cli, doctor_checks
from redbarrel_lite import doctor_advice as advice
from redbarrel_lite.doctor import Printed, as_json, compared, examine, lines_of
from redbarrel_lite.doctor_checks import FAIL, OK, SKIPPED, Checkup, Finding, _of_certificate
from redbarrel_lite.gate import Gate, host_names

RBR = "path s ( method SOCKETIO, max-payload 20000 );"
CHECKS = (
    "connect",
    "http",
    "polling",
    "sessions",
    "poll",
    "large post",
    "upgrade",
    "websocket",
    "large message",
    "origin",
    "idle",
)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sessions will do: what is learnt of more is learnt of two."""
    monkeypatch.setattr(doctor_checks, "SESSIONS", 2)


async def examined(url: str, **options: Any) -> dict[str, Finding]:
    findings = await Checkup(url, **options).run(lambda _: None)
    assert tuple(one.check for one in findings) == CHECKS
    return {one.check: one for one in findings}


def failed(findings: dict[str, Finding]) -> dict[str, advice.Advice]:
    return {name: one.advice for name, one in findings.items() if one.verdict == FAIL}


def test_server_that_is_well_has_no_faults(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server:
            found = await examined(server.url, idle=0.01)
            assert {one.verdict for one in found.values()} == {OK}, found
            assert found["large post"].what == "19800 bytes were taken"
            assert found["large message"].what == "19800 bytes were taken"
            assert (await examined(server.url))["idle"].verdict == SKIPPED
            await server.empties()

    run(test())


def test_proxy_that_is_well_has_none_either(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host) as proxy:
            assert not failed(await examined(proxy.url))

    run(test())


@pytest.mark.parametrize(
    ("rbr", "skipped"),
    [
        ("transports websocket", {"polling", "sessions", "poll", "large post", "upgrade", "idle"}),
        ("transports polling", {"upgrade", "websocket", "large message", "idle"}),
    ],
)
def test_what_a_server_does_not_offer_is_skipped(
    tmp_path: Path, rbr: str, skipped: set[str]
) -> None:
    async def test() -> None:
        async with live(tmp_path, f"path s ( method SOCKETIO, {rbr} );") as server:
            found = await examined(server.url)
            assert {name for name, one in found.items() if one.verdict == SKIPPED} >= skipped
            assert not failed(found)

    run(test())


def test_server_without_pages_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the reference is by itself: it never answers what is no socket's."""
    monkeypatch.setattr(doctor_checks, "NO_PAGE_S", 0.05)

    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, mute="/__") as proxy:
            found = await examined(proxy.url)
            assert (found["http"].verdict, failed(found)) == (SKIPPED, {})

    run(test())


def test_namespace_that_lets_nobody_in_is_no_fault(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = "path s ( method SOCKETIO, namespace /only );"
        async with live(tmp_path, rbr) as server:
            found = await examined(server.url)
            assert not failed(found)
            assert found["websocket"].what == (
                'it brought a refusal of the namespace: {"message":"Invalid namespace"}'
            )
            assert found["large message"].what == found["large post"].what
            assert found["large post"].what == 'the namespace "/" does not let us in'

    run(test())


# -- proxies that do wrong -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ways", "faults"),
    [
        ({"drops": {"upgrade", "connection"}}, {"upgrade", "websocket"}),
        ({"drops": {"upgrade"}}, {"upgrade", "websocket"}),
        ({"drops": {"connection"}}, {"upgrade", "websocket"}),
        ({"version": "HTTP/1.0"}, {"upgrade", "websocket"}),
    ],
)
def test_lost_upgrade_is_told(tmp_path: Path, ways: dict[str, Any], faults: set[str]) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, **ways) as proxy:
            found = await examined(proxy.url)
            assert failed(found) == dict.fromkeys(faults, advice.UPGRADE)
            assert found["upgrade"].what.endswith("; no Upgrade has reached the server")

    run(test())


@pytest.mark.parametrize(
    ("ways", "said", "told"),
    [
        ({"drops": {"sec-websocket-key"}}, "Sec-WebSocket-Key is not 16 bytes", advice.HANDSHAKE),
        ({"drops": {"sec-websocket-version"}}, "Sec-WebSocket-Version is not 13", advice.HANDSHAKE),
        ({"drops_back": {"sec-websocket-accept"}}, "is not of our key", advice.HANDSHAKE),
        ({"drops_back": {"connection"}}, "Connection is not Upgrade", advice.HANDSHAKE),
        ({"takes_upgrades": False}, "it hung up without an answer", advice.NO_WEBSOCKETS),
    ],
)
def test_handshake_that_does_not_come_through_whole_is_told(
    tmp_path: Path, ways: dict[str, Any], said: str, told: advice.Advice
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, **ways) as proxy:
            found = await examined(proxy.url)
            assert failed(found) == dict.fromkeys(("upgrade", "websocket"), told)
            assert said in found["websocket"].what
            assert "https" not in found["websocket"].what

    run(test())


def test_tunnel_that_brings_nothing_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, keeps=True) as proxy:
            found = await examined(proxy.url, timeout=1.0)
            assert failed(found) == dict.fromkeys(("upgrade", "websocket"), advice.SLOW)
            assert found["websocket"].what == "no handshake behind the 101 within 1 s"

    run(test())


def test_sessions_that_change_their_server_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        folders = [tmp_path / name for name in "ab"]
        for folder in folders:
            folder.mkdir()
        async with (
            live(folders[0], RBR) as a,
            live(folders[1], RBR) as b,
            front(a.host, b.host) as proxy,
        ):
            found = await examined(proxy.url)
            assert failed(found) == {"sessions": advice.STICKY}
            assert "sessions are unknown at their second request" in found["sessions"].what
            assert found["poll"] == Finding("poll", SKIPPED, "it needs what failed: sessions")

    run(test())


def test_answers_that_are_kept_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, caches=True) as proxy:
            assert failed(await examined(proxy.url)) == {"sessions": advice.CACHED}
        kept = f"0{json.dumps({'sid': 'a', 'upgrades': [], 'pingInterval': 1, 'pingTimeout': 1})}"
        async with front(canned=answer(200, "", kept)) as proxy:
            found = failed(await examined(proxy.url))
            assert found == dict.fromkeys(("sessions", "websocket"), advice.CACHED)

    run(test())


def test_limits_of_size_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server:
            async with front(server.host, most=10_000) as proxy:
                found = await examined(proxy.url)
                assert failed(found) == {"large post": advice.BODY_LIMIT}
                assert found["large post"].what == "a POST of 19800 bytes is answered 413 by front"
            async with front(server.host, most=10_000, is_rude=True) as proxy:
                assert failed(await examined(proxy.url)) == {"large post": advice.BODY_LIMIT}
            async with front(server.host, most_behind=10_000) as proxy:
                assert failed(await examined(proxy.url)) == {"large message": advice.MESSAGE_LIMIT}

    run(test())


def test_limit_below_what_a_server_takes_is_told_though_both_are_high(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = RBR.replace("20000", "3000000")
        async with live(tmp_path, rbr) as server, front(server.host, most=1_000_000) as proxy:
            assert failed(await examined(proxy.url)) == {"large post": advice.BODY_LIMIT}

    run(test())


@pytest.mark.parametrize(
    ("interval", "told"), [(25, advice.QUIET), (0.05, advice.DURATION)], ids=["quiet", "always"]
)
def test_connections_that_are_cut_are_told(
    tmp_path: Path, interval: float, told: advice.Advice
) -> None:
    async def test() -> None:
        rbr = f"path s ( method SOCKETIO, ping-interval {interval} );"
        async with live(tmp_path, rbr) as server, front(server.host) as proxy:

            def cut_what_comes_behind(finding: Finding) -> None:
                if finding.check == "origin":  # the last before: those take what time they need
                    proxy.cuts_after = 2.0

            checkup = Checkup(proxy.url, idle=300)
            found = {one.check: one for one in await checkup.run(cut_what_comes_behind)}
            assert failed(found) == {"idle": told}

    run(test())


def test_changed_url_and_page_instead_of_sockets_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, f"root /chat;\n{RBR}") as server:
            assert not failed(await examined(f"{server.url}/chat/socket.io/"))
            async with front(server.host, strips="/chat") as proxy:
                found = await examined(f"{proxy.url}/chat/socket.io/")
                assert failed(found) == dict.fromkeys(("polling", "websocket"), advice.PATH)
        page = answer(200, "", "<!doctype html><title>Welcome</title><p>Hello")
        async with front(canned=page) as proxy:
            found = await examined(proxy.url)
            assert failed(found)["polling"] == advice.A_PAGE
            assert found["polling"].what == "a handshake is answered 200: Welcome"

    run(test())


@pytest.mark.parametrize(
    ("status", "fields", "body", "check", "told"),
    [
        (301, "location: https://a.example/\r\n", "", "http", advice.REDIRECTED),
        (307, "location: /login\r\n", "", "polling", advice.REDIRECTED),
        (401, "", "who are you", "polling", advice.LOGIN),
        (403, "", "no", "polling", advice.FORBIDDEN),
        (405, "", "no", "polling", advice.A_PAGE),
        (429, "", "no", "polling", advice.TOO_MANY),
        (400, "", '{"code":5,"message":"Unsupported protocol version"}', "polling", advice.QUERY),
        (400, "", '"The client is using an unsupported version of"', "polling", advice.QUERY),
        (400, "", '"Invalid session a"', "polling", advice.STICKY),
        (400, "", "The plain HTTP request was sent to HTTPS port", "polling", advice.TLS_BEHIND),
        (400, "", '{"code":[]}', "polling", advice.BROKEN),
        (400, "", "5", "polling", advice.BROKEN),
        (200, "", '97:0{"sid":"a"}', "polling", advice.OLD),
        (200, "", '0{"sid":"a"}', "polling", advice.OLD),
        (200, "", "0[]", "polling", advice.OLD),
        (500, "", "oh", "polling", advice.BROKEN),
        (200, "", "<p>oh", "websocket", advice.A_PAGE),
        (200, "content-type: text/html\r\n", "oh", "websocket", advice.A_PAGE),
        (200, "", "", "websocket", advice.A_PAGE),
        (400, "", '{"code":3,"message":"Bad request"}', "websocket", advice.UPGRADE),
        (400, "", '"Invalid websocket upgrade"', "websocket", advice.UPGRADE),
        (400, "", "Handshake error: None", "websocket", advice.HANDSHAKE),
        (400, "", "Session ID unknown", "websocket", advice.STICKY),
        (400, "", "<title>400 Bad Request</title>", "websocket", advice.BROKEN),
        (426, "", "", "websocket", advice.UPGRADE),
        (501, "", "", "websocket", advice.BROKEN),
        (503, "", "", "http", advice.NO_SERVER),
        (504, "", "", "http", advice.SLOW),
        (421, "", "", "http", advice.OTHER_HOST),
    ],
)
def test_answer_of_something_else_says_what_to_do(
    status: int, fields: str, body: str, check: str, told: advice.Advice
) -> None:
    async def test() -> None:
        async with front(canned=answer(status, fields, body)) as proxy:
            assert failed(await examined(proxy.url))[check] == told

    run(test())


def test_query_that_is_lost_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, keeps_query=False) as proxy:
            found = await examined(proxy.url)
            assert failed(found) == dict.fromkeys(("polling", "websocket"), advice.QUERY)
            assert "the query of the url has not reached it" in found["websocket"].what

    run(test())


def test_answers_that_are_compressed_unasked_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, zips=True) as proxy:
            found = await examined(proxy.url)
            assert failed(found) == {"polling": advice.ENCODED}
            assert found["polling"].what == "a handshake is answered 200, in gzip"

    run(test())


def test_bodies_that_are_lost_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, keeps_bodies=False) as proxy:
            assert failed(await examined(proxy.url)) == {"poll": advice.BODY}

    run(test())


def test_proxy_that_takes_no_posts_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, takes_posts=False) as proxy:
            assert failed(await examined(proxy.url))["poll"] == advice.METHOD

    run(test())


def test_proxy_without_a_server_is_told() -> None:
    async def test() -> None:
        async with front("127.0.0.1:1") as proxy:
            found = await examined(proxy.url)
            assert failed(found)["http"] == advice.NO_SERVER
            assert found["http"].what == "/ is answered 502 by front"

    run(test())


@pytest.mark.parametrize("root", ["", "root /rooms/chat;\n"])
def test_site_below_a_prefix_is_asked_there(tmp_path: Path, root: str) -> None:
    """What a proxy answers beside it, as HAProxy does with 503, is no fault of it."""

    async def test() -> None:
        strips = "" if root else "/rooms/chat"
        async with (
            live(tmp_path, root + RBR) as server,
            front(server.host, only="/rooms/chat/", strips=strips) as proxy,
        ):
            found = await examined(f"{proxy.url}/rooms/chat/socket.io/")
            assert not failed(found)
            assert found["http"].what.startswith("/rooms/chat/")

    run(test())


def test_sockets_alone_behind_a_proxy_are_no_fault(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, only="/socket.io/") as proxy:
            found = await examined(proxy.url)
            assert not failed(found)
            assert found["http"].what == (
                "/ is answered 503 by front, but /socket.io/ is answered 400"
            )

    run(test())


def test_name_that_is_lost_is_told(tmp_path: Path) -> None:
    """Pages have the name that their visitor knows, and the server thinks that it has another."""

    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, names="backend") as proxy:
            assert failed(await examined(proxy.url)) == {"origin": advice.ORIGIN}
            server.server.gate = Gate(host_names(["chat.example"]))
            assert failed(await examined(proxy.url))["http"] == advice.OTHER_HOST

    run(test())


def test_page_of_another_origin_is_tried(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = 'path s ( method SOCKETIO, allow-origin "http://b.example" );'
        async with live(tmp_path, rbr) as server:
            assert not failed(await examined(server.url, origin="http://b.example"))
            found = await examined(server.url, origin="http://c.example")
            assert failed(found) == {"origin": advice.OTHER_ORIGIN}
        async with live(tmp_path, rbr.replace("method", "transports websocket, method")) as server:
            assert not failed(await examined(server.url, origin="http://b.example"))
            found = await examined(server.url, origin="http://c.example")
            assert failed(found) == {"origin": advice.OTHER_ORIGIN}
        async with live(tmp_path, RBR) as server, front(server.host, drops={"origin"}) as proxy:
            found = await examined(proxy.url, origin="http://c.example")
            assert found["origin"].what.endswith("Access-Control-Allow-Origin is missing")

    run(test())


# -- who is there ----------------------------------------------------------------------------


def test_certificate_is_looked_at(tmp_path: Path) -> None:
    async def test() -> None:
        trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        async with live(tmp_path, RBR, tls=serving_tls()) as server:
            found = await examined(server.url, tls=trusting)
            assert not failed(found)
            assert found["connect"].what.endswith(", TLSv1.3")
            assert failed(await examined(server.url)) == {"connect": advice.UNKNOWN_AUTHORITY}
            plain = await examined(server.url.replace("https", "http"))
            assert failed(plain) == {"connect": advice.TLS_HERE}
            other = server.url.replace("127.0.0.1", "[::1]")
            assert failed(await examined(other, tls=trusting)) == {"connect": advice.NOT_THERE}
        async with live(tmp_path, RBR) as server:
            https = server.url.replace("http", "https")
            assert failed(await examined(https)) == {"connect": advice.NO_TLS_HERE}
            async with front(server.host) as proxy:  # which waits for the end of a line
                https = proxy.url.replace("http", "https")
                found = await examined(https, timeout=0.5)
                assert failed(found) == {"connect": advice.NO_TLS_HERE}

    run(test())


def test_each_fault_of_a_certificate_has_its_advice() -> None:
    of_codes = {
        9: advice.NOT_YET,
        10: advice.EXPIRED,
        18: advice.UNKNOWN_AUTHORITY,
        19: advice.UNKNOWN_AUTHORITY,
        20: advice.CHAIN,
        21: advice.CHAIN,
        62: advice.WRONG_NAME,
        64: advice.WRONG_NAME,
    }
    for code, told in of_codes.items():
        error = ssl.SSLCertVerificationError()
        error.verify_code = code
        assert _of_certificate(error) == told


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"<html>Hello"])
def test_port_of_another_is_told(said: bytes) -> None:
    async def test() -> None:
        async with front(canned=said) as proxy:
            assert failed(await examined(proxy.url)) == {"connect": advice.NO_HTTP}

    run(test())


def test_nobody_and_no_such_name_are_told() -> None:
    async def test() -> None:
        found = await examined("http://127.0.0.1:1")
        assert failed(found) == {"connect": advice.NOT_THERE}
        assert {one.verdict for one in found.values()} == {FAIL, SKIPPED}
        assert failed(await examined("http://nobody.invalid")) == {"connect": advice.NO_SUCH_NAME}

    run(test())


# -- the report ------------------------------------------------------------------------------


def test_direct_way_tells_the_hop(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, drops={"upgrade"}) as proxy:
            told: list[Finding] = []
            found = await examine(Checkup(proxy.url), Checkup(server.url), told.append)
            assert told == found
            (upgrade,) = (one for one in found if one.check == "upgrade")
            assert upgrade.advice[0] == (
                "the server itself does it well: the fault is in what stands before it"
            )
            assert upgrade.advice[1:] == advice.UPGRADE

    run(test())


def test_comparison_says_whose_fault_it_is() -> None:
    good, bad = Finding("a", OK, "well"), Finding("a", FAIL, "ill")
    assert compared(good, good) == compared(Finding("a", SKIPPED, ""), bad) == ""
    assert compared(bad, bad) == "and the server itself fails: ill"
    assert compared(good, bad) == "though the server, asked directly, fails: ill"


def test_same_advice_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    printed = Printed()
    for name in ("upgrade", "websocket"):
        printed.add(Finding(name, FAIL, "it is lost", ("write this", "and that")))
    assert capsys.readouterr().out.splitlines() == [
        "upgrade       FAIL    it is lost",
        "                      write this",
        "                      and that",
        "websocket     FAIL    it is lost",
        "                      as for upgrade",
    ]


def test_report_for_machines_is_one_object() -> None:
    told = json.loads(as_json("http://a", [Finding("upgrade", FAIL, "x", ("y",))]))
    check = {"check": "upgrade", "verdict": "FAIL", "what": "x", "advice": ["y"]}
    assert told == {"url": "http://a", "ok": False, "checks": [check]}
    assert lines_of(Finding("idle", OK, "x")) == ["idle          ok      x"]


def test_words_of_a_server_do_nothing_to_the_terminal() -> None:
    finding = Finding("idle", FAIL, "it says \x1b[2J\x07 é", ("\x9b\u202e",))
    assert lines_of(finding) == [
        r"idle          FAIL    it says \x1b[2J\x07 é",
        r"                      \x9b\u202e",
    ]


def test_error_that_is_nested_without_end_has_no_code() -> None:
    assert advice.code_of(b"[" * 200_000) == -1


def doctor(*arguments: str) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            return cli.main(["doctor", *arguments]), said.getvalue()
        except SystemExit as end:
            return int(str(end.code)), said.getvalue()


def test_command_has_the_status_of_what_it_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server, front(server.host, drops={"upgrade"}) as proxy:
            status, said = await asyncio.to_thread(doctor, server.host, "--header", "X: y")
            assert (status, said.count(" ok ")) == (0, 10)
            options = ("--direct", server.url, "--json", "--timeout", "5")
            status, said = await asyncio.to_thread(doctor, proxy.url, *options)
            assert (status, json.loads(said)["ok"]) == (1, False)

    run(test())
    assert doctor("ftp://a")[0] == 1
    for wrong in ([], ["http://a", "--idle", "-1"], ["http://a", "--header", "x"]):
        assert doctor(*wrong)[0] == 2


@pytest.mark.parametrize("command", ["doctor", "connect", "emit"])
def test_file_that_vouches_for_nobody_is_named(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    target = ["--url", "https://a", "hello"] if command == "emit" else ["https://a"]
    for file, what in (("/none", "No such file or directory"), (__file__, "no certificate in PEM")):
        assert cli.main([command, *target, "--cafile", file]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: --cafile {file}: ")
        assert what in said


# -- its page --------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ python3 -m redbarrel_lite (doctor .*)\n((?:(?!```).*\n)*)", PAGE, re.M)


def test_each_command_of_the_page_says_what_it_says_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # with all sessions

    async def test() -> None:
        rbr = "path s ( method SOCKETIO );"
        async with live(tmp_path, rbr) as server, front(server.host, drops={"upgrade"}) as proxy:
            for command, output in COMMANDS:
                here = command.partition(" |")[0].replace("http://127.0.0.1:8080", proxy.url)
                here = here.replace("http://127.0.0.1:8000", server.url)
                status, said = await asyncio.to_thread(doctor, *here.split()[1:])
                said = said.replace(proxy.url.rpartition(":")[2], "8080")
                if "| grep -A 1 upgrade" in command:
                    lines = said.splitlines(keepends=True)
                    at = next(i for i, line in enumerate(lines) if line.startswith("upgrade"))
                    said = "".join(lines[at : at + 2])
                assert (status, said) == (1, output)

    assert len(COMMANDS) == 2
    run(test())


def test_tables_of_the_page_have_all_checks_and_options() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE, re.M)
    assert tuple(rows[: len(CHECKS)]) == CHECKS
    options = {row.split()[0] for row in rows[len(CHECKS) :]}
    known = set(re.findall(r"^  (--[a-z]+)", cli._parser(["doctor"]).format_help(), re.M))
    assert options == known
