"""The checks of `doctor`: what a client of Socket.IO needs of a server, one thing after the other.

What it implements: in which order a browser needs what, and what it means if that fails. What it
leaves out: how it is tried (`doctor_visit`), what to do about it (`doctor_advice`), and the
command (`doctor`).

In one line::

    findings = await Checkup("https://chat.example").run(print)

It does no more than a visitor who comes and goes: it joins the namespace "/", and what it sends
is an acknowledgement that nobody has asked for, which servers throw away. So it may be asked
about any server of Socket.IO, not ours alone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias

from . import doctor_advice as advice
from .dial import Port, Visitor, why
from .dial_inbox import time_limit
from .doctor_advice import Trouble, answered, code_of, field
from .doctor_visit import CLOSE, LARGEST_BYTES, Talk, Visit, told
from .engineio import BAD_REQUEST, POLLING, WEBSOCKET
from .engineio_query import UNKNOWN_SID, UNKNOWN_TRANSPORT
from .http1_client import Response

OK: Final = "ok"
FAIL: Final = "FAIL"
SKIPPED: Final = "skipped"

NO_PAGE_S: Final = 3.0  # for the answer to a page, which need not be there
SESSIONS: Final = 8  # that are begun, to see whether each stays with its server
# Packets of Engine.IO 4, with those of Socket.IO 5 that they carry.
_PROBE, _PROBED, _UPGRADED = "2probe", "3probe", "5"
_CONNECT, _CONNECTED, _REFUSED = "40", "40", "44"
_NOT_LET_IN: Final = 'the namespace "/" does not let us in'
_NOBODYS: Final = "/doctor-asks-whether-you-are-there"  # a namespace


class Finding(NamedTuple):
    """What has come of one check."""

    check: str
    verdict: str
    what: str
    advice: advice.Advice = ()


class Skipped(Exception):
    """There is nothing to check; the text says why."""


class Checkup(Visit):
    """All checks of one server."""

    async def run(self, tell: Callable[[Finding], object]) -> list[Finding]:
        """Do all checks; ``tell`` is called with each finding."""
        findings: dict[str, Finding] = {}
        for name, needed, check in _CHECKS:
            missing = [one for one in needed if findings[one].verdict == FAIL]
            if missing:
                found = Finding(name, SKIPPED, f"it needs what failed: {missing[0]}")
            else:
                found = await self._checked(name, check)
            findings[name] = found
            tell(found)
        return list(findings.values())

    async def _checked(self, name: str, check: Check) -> Finding:
        try:
            return Finding(name, OK, await check(self))
        except Skipped as reason:
            return Finding(name, SKIPPED, str(reason))
        except Trouble as trouble:
            return Finding(name, FAIL, str(trouble), trouble.advice)
        except TimeoutError as error:
            return Finding(name, FAIL, str(error), advice.SLOW)
        except OSError as error:
            return Finding(name, FAIL, told(error), advice.BROKEN)


Check: TypeAlias = Callable[[Checkup], Awaitable[str]]


# -- one after the other ---------------------------------------------------------------------


async def _connect(it: Checkup) -> str:
    """Is anybody there, and is it who it says that it is?"""
    try:
        said = await _opened(it, it.port)
    except OSError as error:
        is_clear = isinstance(error, (ssl.SSLCertVerificationError, socket.gaierror))
        if it.is_secure and not is_clear and await _hears_http(it, it.other_port()):
            raise Trouble("it speaks HTTP, and no TLS", advice.NO_TLS_HERE) from None
        raise _not_opened(error) from None
    if it.is_secure or await _hears_http(it, it.port) is not False:
        return said
    try:
        await _opened(it, it.other_port())
    except OSError:
        return said
    raise Trouble(f"{said} speaks TLS", advice.TLS_HERE)


async def _opened(it: Checkup, port: Port) -> str:
    """Open a connection, and close it; return what can be said of it."""
    async with time_limit(it.timeout, "no connection"):
        return (await port.open(_Seen())).said


async def _hears_http(it: Checkup, port: Port) -> bool | None:
    """Whether HTTP is what is spoken there; None if it says nothing.

    A port for TLS hangs up, or has a 400 to say so, which is none of Engine.IO's.
    """
    try:
        limit = min(it.timeout, NO_PAGE_S)
        head, body = await it.ask(Visitor(port), "GET", it.target, limit=limit)
    except TimeoutError:
        return None
    except OSError as error:
        if "bad status line" in str(error) and not it.is_secure:
            raise Trouble(str(error), advice.NO_HTTP) from None
        return False
    return head.status != 400 or code_of(body) >= 0


def _not_opened(error: OSError) -> Trouble:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Trouble(f"the certificate: {error.verify_message}", _of_certificate(error))
    if isinstance(error, ssl.SSLError):
        return Trouble(f"TLS: {why(error)}", advice.BAD_TLS)
    if isinstance(error, socket.gaierror):
        return Trouble(why(error), advice.NO_SUCH_NAME)
    if isinstance(error, TimeoutError):
        return Trouble(str(error), advice.FILTERED)
    return Trouble(why(error) or str(error), advice.NOT_THERE)


class _Seen(asyncio.Protocol):
    """A connection that is looked at, and ended."""

    said = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        tls = transport.get_extra_info("ssl_object")
        host, port = transport.get_extra_info("peername")[:2]
        self.said = f"{host} port {port}" + (f", {tls.version()}" if tls is not None else "")
        transport.abort()


def _of_certificate(error: ssl.SSLCertVerificationError) -> advice.Advice:
    return _BY_VERIFY_CODE.get(error.verify_code, advice.CHAIN)


# X509_V_ERR_...; what is not here may be a chain without its middle.
_BY_VERIFY_CODE: Final = {
    9: advice.NOT_YET,  # CERT_NOT_YET_VALID
    10: advice.EXPIRED,  # CERT_HAS_EXPIRED
    18: advice.UNKNOWN_AUTHORITY,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: advice.UNKNOWN_AUTHORITY,  # SELF_SIGNED_CERT_IN_CHAIN
    62: advice.WRONG_NAME,  # HOSTNAME_MISMATCH
    64: advice.WRONG_NAME,  # IP_ADDRESS_MISMATCH
}


async def _http(it: Checkup) -> str:
    """Does something answer, and if it is a proxy, does it find a server?"""
    limit = min(it.timeout, NO_PAGE_S)
    health = f"{it.root}__health__"
    try:
        head, body = await it.ask(it.visitor(), "GET", health, limit=limit)
    except (TimeoutError, ConnectionError) as error:
        if not isinstance(error, TimeoutError):  # a proxy has lost its patience, or it is broken
            await it.ask(it.visitor(), "GET", it.target)
        raise Skipped(f"no answer to {health}: where there are sockets only, none comes") from None
    if head.status == 200 and body.strip() == b"ok":
        who = field(head, "server")
        return f"{health} says ok" + (f", by {who}" if who else "")
    head, body = await it.ask(it.visitor(), "GET", it.root)
    what = f"{it.root} is answered {head.status}" + advice.said(head, b"")
    if not _finds_nobody(it, head):
        return what
    # Pages may be elsewhere, or nowhere: it counts only if the sockets are not found either.
    at_sockets, _ = await it.ask(it.visitor(), "GET", it.target)
    if _finds_nobody(it, at_sockets):
        raise answered(it.root, head, body)
    return f"{what}, but {it.target} is answered {at_sockets.status}"


def _finds_nobody(it: Checkup, head: Response) -> bool:
    leads_to_https = field(head, "location").startswith("https:") and not it.is_secure
    return head.status in (421, 502, 503, 504) or leads_to_https


async def _polling(it: Checkup) -> str:
    """Can a session be begun as browsers begin it?"""
    visitor = it.visitor()
    try:
        head, body = await it.ask(visitor, "GET", it.at(POLLING))
    except TimeoutError as error:
        raise Trouble(str(error), advice.SILENT) from None
    if head.status == 400 and code_of(body) == UNKNOWN_TRANSPORT:
        trouble = answered("a handshake", head, body)
        # Who knows the other transport misses the Upgrade; without its query it is the same.
        head, body = await it.ask(visitor, "GET", it.at(WEBSOCKET))
        if head.status != 426 and code_of(body) != BAD_REQUEST:
            raise trouble
        it.polls = False
        raise Skipped("the server takes no polling, but WebSockets only")
    it.handshake = handshake = it.opened(head, body)
    await it.end(visitor, handshake.sid)
    offers = ", ".join(handshake.upgrades) or "nothing"
    return f"a ping every {handshake.ping_interval:g} s; offers an upgrade to {offers}"


async def _sessions(it: Checkup) -> str:
    """Does each session stay with the server that has begun it?"""
    _needs_polling(it)
    sids, lost = set(), 0
    for _ in range(SESSIONS):
        visitor = it.visitor()
        handshake = await it.begin(visitor)
        sids.add(handshake.sid)
        try:
            head, body = await it.ask(visitor, "POST", it.at(POLLING, handshake.sid), [], CLOSE)
        except TimeoutError as error:  # which still waits for the body: a GET was answered
            raise Trouble(str(error), advice.BODY) from None
        lost += head.status == 400 and code_of(body) == UNKNOWN_SID
    if len(sids) < SESSIONS:
        raise Trouble(f"{SESSIONS} sessions have {len(sids)} ids", advice.CACHED)
    if lost:
        what = f"{lost} of {SESSIONS} sessions are unknown at their second request"
        raise Trouble(f"{what}: there are several servers, and it went to another", advice.STICKY)
    return f"{SESSIONS} of {SESSIONS} were known at their second request, from this address"


async def _joined(it: Checkup, visitor: Visitor) -> tuple[str, str]:
    """A session that has joined the namespace, by polling: its sid, and what it was told."""
    sid = (await it.begin(visitor)).sid
    await it.post(visitor, sid, _CONNECT)
    try:
        return sid, (await it.poll(visitor, sid))[0]
    except Trouble as trouble:
        if trouble.advice == advice.STICKY:  # the POST was known: an empty one has ended it
            trouble.advice = advice.BODY
        raise
    except TimeoutError as error:
        if await _takes_anything(it):
            raise Trouble(str(error), advice.BODY) from None
        raise


async def _takes_anything(it: Checkup) -> bool:
    """Whether even a body that is too large is taken: to some servers, none is fine."""
    visitor = it.visitor()
    handshake = await it.begin(visitor)
    try:
        await it.post(visitor, handshake.sid, "x" * ((handshake.max_payload or LARGEST_BYTES) + 1))
    except (Trouble, OSError):
        return False
    return True


async def _poll(it: Checkup) -> str:
    """Does what is posted come in, and what is answered come out?"""
    _needs_polling(it)
    visitor = it.visitor()
    sid, answer = await _joined(it, visitor)
    await it.end(visitor, sid)
    return f"a POST was taken, and a poll brought {_in_words(answer)}"


def _in_words(packet: str) -> str:
    if packet.startswith(_CONNECTED):
        return 'the namespace "/"'
    if packet.startswith(_REFUSED):
        return f"a refusal of the namespace: {packet[2:80]}"
    raise Trouble(f"no answer to CONNECT, but {packet[:40]!r}", advice.BROKEN)


async def _large_post(it: Checkup) -> str:
    """Does a body as large as the server takes come through?"""
    _needs_polling(it)
    visitor = it.visitor()
    sid, answer = await _joined(it, visitor)
    if answer.startswith(_REFUSED):
        await it.end(visitor, sid)
        raise Skipped(_NOT_LET_IN)
    packet = it.large_packet()
    try:
        await it.post(visitor, sid, packet)
    except ConnectionError as error:  # not a word, while small ones are answered
        raise Trouble(f"a POST of {len(packet)} bytes: {told(error)}", advice.BODY_LIMIT) from None
    except Trouble as trouble:
        if trouble.advice in (advice.BODY, advice.BROKEN):
            trouble.advice = advice.BODY_LIMIT
        raise
    await it.end(visitor, sid)
    return f"{len(packet)} bytes were taken"


async def _upgrade(it: Checkup) -> str:
    """Can a session move from polling to a WebSocket?"""
    _needs_polling(it)
    visitor = it.visitor()
    handshake = await it.begin(visitor)
    if WEBSOCKET not in handshake.upgrades:
        await it.end(visitor, handshake.sid)
        raise Skipped("the server offers none")
    talk = await it.talk(visitor, handshake.sid)
    try:
        talk.websocket.send(_PROBE)
        await talk.expect(_PROBED, "answer to the probe")
        talk.websocket.send(_UPGRADED)
        talk.websocket.send(_CONNECT)
        await talk.read("answer behind the upgrade")
    finally:
        talk.close()
    return "the session went on as a WebSocket"


async def _websocket(it: Checkup) -> str:
    """Can a session begin as a WebSocket?"""
    try:
        talk = await it.talk(it.visitor())
    except Trouble as trouble:
        # Whose query has come through when it was for polling, that has no other transport.
        if trouble.advice != advice.QUERY or it.handshake is None:
            raise
        it.has_websockets = False
        raise Skipped("the server takes no WebSockets, but polling only") from None
    try:
        opened = await talk.expect("0", "handshake behind the 101")
        it.handshake = it.handshake or it.read_handshake(opened.encode())
        talk.websocket.send(_CONNECT)
        answer = await talk.read("answer to CONNECT")
    finally:
        talk.close()
    return f"it brought {_in_words(str(answer))}"


async def _large_message(it: Checkup) -> str:
    """Does a message as large as the server takes come through a WebSocket?"""
    if not it.has_websockets:
        raise Skipped("the server takes no WebSockets")
    talk = await it.talk(it.visitor())
    packet = it.large_packet()
    try:
        await talk.expect("0", "handshake behind the 101")
        talk.websocket.send(_CONNECT)
        if not str(await talk.read("answer to CONNECT")).startswith(_CONNECTED):
            raise Skipped(_NOT_LET_IN)
        talk.websocket.send(packet)
        # Whatever the server says of a namespace that it has not: it has read so far.
        talk.websocket.send(f"{_CONNECT}{_NOBODYS},")
        await _answer_behind(talk, packet)
    finally:
        talk.close()
    return f"{len(packet)} bytes were taken"


async def _answer_behind(talk: Talk, packet: str) -> None:
    what = f"answer behind a message of {len(packet)} bytes"
    try:
        while _NOBODYS not in str(await talk.read(what)):
            pass  # what the application says of itself
    except Trouble as trouble:
        raise Trouble(str(trouble), advice.MESSAGE_LIMIT) from None


async def _origin(it: Checkup) -> str:
    """May the scripts of a page connect, and read what they are answered?"""
    fields = [("origin", it.origin)]
    visitor = it.visitor()
    is_own = it.origin == it.own_origin
    cure = advice.ORIGIN if is_own else advice.OTHER_ORIGIN
    if not it.polls:
        await _as_page(it, it.talk(visitor, more=fields), cure)
        return f"a WebSocket from a page of {it.origin} may"
    head, body = await it.ask(visitor, "GET", it.at(POLLING), fields)
    if head.status in (400, 403):
        raise Trouble(str(answered(f"a page of {it.origin}", head, body)), cure)
    sid = it.opened(head, body).sid
    allowed = field(head, "access-control-allow-origin")
    await it.end(visitor, sid)
    if not is_own and allowed not in ("*", it.origin):
        what = f"a page of {it.origin} may not read the answers"
        raise Trouble(f"{what}: Access-Control-Allow-Origin is {allowed or 'missing'}", cure)
    return f"pages of {it.origin} may connect"


async def _as_page(it: Checkup, opening: Awaitable[Talk], cure: advice.Advice) -> None:
    try:
        (await opening).close()
    except Trouble as trouble:
        cure = advice.QUERY if trouble.advice == advice.QUERY else cure  # nobody's page may
        raise Trouble(f"a page of {it.origin}: {trouble}", cure) from None


async def _idle(it: Checkup) -> str:
    """Does a connection live on which nothing but pings is said?"""
    if not it.idle:
        raise Skipped("--idle 70 tries it, and takes so many seconds")
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_idle_websocket(it))
            if it.polls:
                both.create_task(_idle_polling(it))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return f"all is there after {it.idle:g} s"


def _cut(it: Checkup, what: str, after: float) -> Trouble:
    interval = it.handshake.ping_interval if it.handshake else 0
    text = f"{what} after {after:.0f} s; the server's ping comes every {interval:g} s"
    return Trouble(text, advice.QUIET if after < interval else advice.DURATION)


async def _idle_websocket(it: Checkup) -> None:
    loop = asyncio.get_running_loop()
    try:
        talk = await it.talk(it.visitor())
    except Trouble:  # another check says why
        return
    began = loop.time()
    try:
        while (left := began + it.idle - loop.time()) > 0:
            await talk.read("packet", left)
    except TimeoutError:
        pass
    except Trouble as trouble:
        raise _cut(it, f"the WebSocket has ended ({trouble})", loop.time() - began) from None
    finally:
        talk.close()


async def _idle_polling(it: Checkup) -> None:
    loop = asyncio.get_running_loop()
    visitor = it.visitor()
    sid = (await it.begin(visitor)).sid
    until = loop.time() + it.idle
    while (left := until - loop.time()) > 0:
        began = loop.time()
        try:
            await it.poll(visitor, sid, left)
        except TimeoutError:  # and with it the session: who hangs up is gone
            break
        except (Trouble, OSError) as error:
            raise _cut(it, f"a poll has ended ({error})", loop.time() - began) from None
    else:
        await it.end(visitor, sid)


def _needs_polling(it: Checkup) -> None:
    if not it.polls:
        raise Skipped("the server takes no polling")


# Each with those without which it would say the same once more.
_CHECKS: Final[tuple[tuple[str, tuple[str, ...], Check], ...]] = (
    ("connect", (), _connect),
    ("http", ("connect",), _http),
    ("polling", ("connect",), _polling),
    ("sessions", ("connect", "polling"), _sessions),
    ("poll", ("connect", "polling", "sessions"), _poll),
    ("large post", ("connect", "polling", "sessions", "poll"), _large_post),
    ("upgrade", ("connect", "polling", "sessions"), _upgrade),
    ("websocket", ("connect",), _websocket),
    ("large message", ("connect", "websocket"), _large_message),
    ("origin", ("connect", "polling"), _origin),
    ("idle", ("connect", "polling", "sessions"), _idle),
)
