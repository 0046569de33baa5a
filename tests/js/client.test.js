/* The client against a scripted server: what goes over the wire, and when. */

"use strict";

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const { once } = require("node:events");
const { readFileSync } = require("node:fs");
const path = require("node:path");
const { afterEach, test } = require("node:test");
const vm = require("node:vm");

const CLIENT = path.join(__dirname, "../../redbarrel_lite/static/socket.io.js");
const io = require(CLIENT);
const { Peer } = require("./peer.js");

const FAST = { reconnectionDelay: 5, reconnectionDelayMax: 10 };
const POLLING = { ...FAST, transports: ["polling"] };
// Node 20 has a WebSocket behind a flag; where there is none, these tests cannot run.
const NO_WEBSOCKET = globalThis.WebSocket ? false : "this node has no WebSocket";

const cleanups = [];
afterEach(() => { for (const cleanup of cleanups.splice(0).reverse()) cleanup(); });

async function startPeer(options, port) {
  const peer = await Peer.start(options, port);
  cleanups.push(() => {
    peer.stop();
    assert.deepEqual(peer.faults, []);
  });
  return peer;
}

function connect(peer, options = POLLING, nsp = "") {
  const socket = io(peer.url + nsp, { forceNew: true, ...options });
  cleanups.push(() => { socket.disconnect(); socket.io.close(); });
  return socket;
}

async function connected(options, peerOptions) {
  const peer = await startPeer(peerOptions);
  const socket = connect(peer, options);
  await next(socket, "connect");
  return { peer, socket };
}

const next = (emitter, event, milliseconds = 3000) => new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(`no "${event}" came`)), milliseconds);
  emitter.once(event, (...args) => { clearTimeout(timer); resolve(args); });
});

const turn = () => new Promise((resolve) => setImmediate(resolve));

/* ---- listeners ---- */

test("on, once and off", async () => {
  const { peer, socket } = await connected();
  const heard = [];
  const always = (value) => heard.push(`always ${value}`);
  const never = () => heard.push("never");
  socket.on("x", always).once("x", (value) => heard.push(`once ${value}`)).on("x", never).once("x", never);
  socket.off("x", never);
  socket.onAny((event, value) => heard.push(`any ${event} ${value}`));
  peer.session.send('42["x",1]', '42["x",2]', '42["end"]');
  await next(socket, "end");
  assert.deepEqual(heard, ["any x 1", "always 1", "once 1", "any x 2", "always 2", "any end undefined"]);
  const kept = () => heard.push("kept");
  const removed = () => heard.push("removed");
  socket.offAny().onAny(kept).onAny(removed).offAny(removed);
  peer.session.send('42["end"]');
  await next(socket, "end");
  assert.equal(heard.at(-1), "kept");
  socket.off("x", undefined);  // a slip, not "all of them"
  assert.equal(socket.hasListeners("x"), true);
  socket.removeAllListeners("x");
  assert.deepEqual(socket.listeners("x"), []);
  socket.on("y", kept).off();
  assert.equal(socket.hasListeners("y"), false);
});

test("an event whose name is a number is that of its digits", async () => {
  const { peer, socket } = await connected();
  peer.session.send('42[7,"a"]');
  assert.deepEqual(await next(socket, "7"), ["a"]);
});

test("onAny gets the function that replies, too", async () => {
  const { peer, socket } = await connected();
  socket.onAny((event, question, reply) => reply(`${event} ${question}`));
  peer.session.send('425["q","why"]');
  await peer.got('435["q why"]');
});

test("a listener that throws is reported, and loses no other packet", () => {
  const script = `
    const io = require(${JSON.stringify(CLIENT)});
    const { Peer } = require(${JSON.stringify(path.join(__dirname, "peer.js"))});
    process.on("uncaughtException", (error) => console.log("uncaught", error.message));
    Peer.start().then((peer) => {
      const socket = io(peer.url, { transports: ["polling"] });
      socket.on("connect", () => peer.session.send('42["x",1]', '42["x",2]', '42["end"]'));
      socket.on("x", (value) => { console.log(value); throw new Error("oops " + value); });
      socket.on("end", () => setTimeout(() => process.exit(), 20));
    });`;
  const printed = execFileSync(process.execPath, ["-e", script], { encoding: "utf8" });
  assert.deepEqual(printed.trim().split("\n"), ["1", "2", "uncaught oops 1", "uncaught oops 2"]);
});

/* ---- polling ---- */

test("the handshake asks for Engine.IO 4, later requests name the session", async () => {
  const { peer } = await connected({ ...POLLING, query: { colour: "red" } });
  const [first, ...rest] = peer.log;
  assert.equal(first.pathname, "/socket.io/");
  assert.deepEqual(first.query, { EIO: "4", transport: "polling", colour: "red" });
  for (const { query } of rest) assert.equal(query.sid, "engine-1");
});

test("what one turn sends leaves in one POST, at most 16 packets", async () => {
  const { peer, socket } = await connected();
  const before = peer.requests("POST").length;
  for (let number = 0; number < 40; number++) socket.send(number);
  await peer.got('42["message",39]');
  const bodies = peer.requests("POST").slice(before).map(({ body }) => body.split("\x1e").length);
  assert.deepEqual(bodies, [16, 16, 8]);
});

test("never two POSTs or two GETs at a time", async () => {  // the peer counts
  const { peer, socket } = await connected();
  for (let number = 0; number < 5; number++) {
    socket.send(number);
    await turn();
  }
  await peer.got('42["message",4]');
  assert.deepEqual(peer.faults, []);
});

test("a POST keeps below maxPayload, in bytes, unless one packet alone is more", async () => {
  const { peer, socket } = await connected(POLLING, { maxPayload: 60 });
  const before = peer.requests("POST").length;
  for (const text of ["é".repeat(8), "é".repeat(8), "x".repeat(80), "end"]) socket.send(text);
  await peer.got('42["message","end"]');
  const sizes = peer.requests("POST").slice(before).map(({ body }) => Buffer.byteLength(body));
  assert.deepEqual(sizes, [32, 32, 96, 19]);
});

test("bytes travel as base64, both ways", async () => {
  const { peer, socket } = await connected();
  socket.emit("b", Uint8Array.of(1, 2, 3, 4));
  await peer.got("bAQIDBA==");
  peer.session.send('451-["b",{"_placeholder":true,"num":0}]', "bAQIDBA==");
  const [buffer] = await next(socket, "b");
  assert.deepEqual([...new Uint8Array(buffer)], [1, 2, 3, 4]);
});

test("the server's words are in the error when it refuses the handshake", async () => {
  const peer = await startPeer();
  peer.refuse = '{"code":5,"message":"Unsupported protocol version"}';
  const socket = connect(peer, { ...POLLING, reconnection: false });
  const [error] = await next(socket, "connect_error");
  assert.equal(error.message, `polling error: 400 ${peer.refuse}`);
  assert.equal(error.description, 400);
});

test("a page at that address that is no Socket.IO server is an error", async () => {
  const peer = await startPeer();
  peer.page = "<!doctype html>";
  const socket = connect(peer, { ...POLLING, path: "/elsewhere", reconnection: false });
  const [error] = await next(socket, "connect_error");
  assert.equal(error.message, "polling error: no Engine.IO packet: <!doctype html>");
  assert.equal(peer.log[0].pathname, "/elsewhere/");
});

test("a close packet ends the session, and the client comes back", async () => {
  const { peer, socket } = await connected();
  peer.session.send("1");
  const [reason, error] = await next(socket, "disconnect");
  assert.deepEqual([reason, error.message], ["transport close", "polling closed"]);
  await next(socket, "connect");
  assert.equal(peer.sessions.length, 2);
  assert.ok(!peer.packets.includes("1"), "nothing is said to a session that is closed");
});

test("when a poll breaks, the server is told that the session is over", async () => {
  const { peer, socket } = await connected();
  const broken = next(socket, "disconnect");
  while (!peer.session.waiting) await once(peer, "request");
  peer.session.waiting.destroy();
  assert.equal((await broken)[0], "transport error");
  await peer.got("1");
});

test("a packet that is none ends the session", async () => {
  const { peer, socket } = await connected();
  peer.session.send("9");
  const [reason, error] = await next(socket, "disconnect");
  assert.equal(reason, "transport error");
  assert.match(error.message, /no Engine.IO packet: 9/);
});

test("a Socket.IO packet that is none is a parse error", async () => {
  const { peer, socket } = await connected();
  peer.session.send('42["a"');
  assert.equal((await next(socket, "disconnect"))[0], "parse error");
  await next(socket, "connect");
});

test("disconnect sends what was emitted, DISCONNECT and, by itself, close", async () => {
  const { peer, socket } = await connected();
  socket.emit("last words");
  socket.disconnect();
  await peer.got("1");
  assert.deepEqual(peer.requests("POST").slice(-2).map(({ body }) => body),
                   ['42["last words"]\x1e41', "1"]);
  assert.equal(socket.id, undefined);
  await once(peer.session.waiting, "close");  // and the GET is not left hanging
});

/* ---- time ---- */

test("answers a ping with what it carried", async () => {
  const { peer, socket } = await connected();
  const ping = next(socket.io, "ping");
  peer.session.send("2", "2abc");
  await peer.got("3abc");
  await ping;
  assert.ok(peer.packets.includes("3"));
});

test("a server that falls silent is left after pingInterval + pingTimeout", async () => {
  const start = performance.now(); // before the handshake, from whose answer on the client waits
  const { socket } = await connected(POLLING, { pingInterval: 60, pingTimeout: 40 });
  assert.equal((await next(socket, "disconnect"))[0], "ping timeout");
  const waited = performance.now() - start;
  assert.ok(waited > 99, `after ${waited} ms`);
});

test("each ping puts the moment off", async () => {
  const { peer, socket } = await connected(POLLING, { pingInterval: 300, pingTimeout: 300 });
  for (let times = 1; times <= 4; times++) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    peer.session.send("2");
    await peer.got("3", times);
  }
  assert.equal(socket.connected, true);
});

test("after a sleep, what is emitted waits for a new session", async (t) => {
  const { peer, socket } = await connected();
  const { now } = Date;
  t.after(() => { Date.now = now; });
  Date.now = () => now() + 46000;  // the laptop's lid was closed, and timers stood still
  const reasons = [];
  socket.on("disconnect", (reason) => reasons.push(reason));
  socket.emit("good morning");
  assert.deepEqual(reasons, ["ping timeout"]);
  await peer.got('42["good morning"]');
  assert.equal(peer.sessions.length, 2);
});

test("a server that does not answer is given up after the timeout", async () => {
  const peer = await startPeer();
  peer.silent = true;
  const socket = connect(peer, { ...POLLING, timeout: 40, reconnection: false });
  assert.equal((await next(socket, "connect_error"))[0].message, "timeout");
});

/* ---- reconnection ---- */

test("reconnects as often as told, and says so", async () => {
  const peer = await startPeer();
  peer.refuse = "no";
  const said = [];
  const socket = connect(peer, { ...POLLING, reconnectionAttempts: 3 });
  socket.on("connect_error", () => said.push("connect_error"));
  for (const event of ["error", "reconnect_error"]) socket.io.on(event, () => said.push(event));
  socket.io.on("reconnect_attempt", (attempt) => said.push(attempt));
  await next(socket.io, "reconnect_failed");
  const failure = ["connect_error", "error", "reconnect_error"];
  assert.deepEqual(said, ["connect_error", "error", 1, ...failure, 2, ...failure, 3, ...failure]);
  peer.refuse = undefined;
  socket.connect();
  await next(socket, "connect");
});

test("no attempts means that there is no end of them", async () => {
  const peer = await startPeer();
  peer.refuse = "no";
  const socket = connect(peer, { ...POLLING, reconnectionAttempts: 0 });
  for (let times = 0; times < 3; times++) await next(socket, "connect_error");
  peer.refuse = undefined;
  await next(socket, "connect");
});

test("an option that is undefined or null is not given", async () => {
  const peer = await startPeer();
  const unset = { path: undefined, transports: undefined, upgrade: undefined, timeout: null,
                  autoConnect: undefined, reconnectionDelay: undefined, auth: null };
  const socket = connect(peer, unset);
  await next(socket, "connect");
  assert.deepEqual(socket.io.opts.transports, ["polling", "websocket"]);
  assert.equal(socket.io.opts.timeout, 20000);
});

test("connect in the handler of disconnect does not wait", async () => {
  const { peer, socket } = await connected({ ...POLLING, reconnection: false });
  socket.on("disconnect", () => socket.connect());
  peer.session.send("41");
  await next(socket, "connect");
  peer.session.send("1");
  await next(socket, "connect");
  assert.equal(peer.sessions.length, 3);
});

test("what is emitted meanwhile is sent in order, what is volatile is not", async () => {
  const { peer, socket } = await connected();
  const port = peer.port;
  peer.stop();
  await next(socket, "disconnect");
  socket.emit("a").volatile.emit("lost");
  socket.emit("b");
  const reborn = await startPeer({}, port);
  const reconnected = next(socket.io, "reconnect");
  await reborn.got('42["b"]');
  assert.ok((await reconnected)[0] >= 1);
  assert.deepEqual(reborn.packets.filter((packet) => packet.startsWith("42")), ['42["a"]', '42["b"]']);
});

test("what is no JSON is told to whoever emits it, and takes nothing along", async () => {
  const peer = await startPeer();
  const socket = connect(peer);
  const circle = {};
  circle.circle = circle;
  socket.emit("before");
  assert.throws(() => socket.emit("circle", circle), TypeError);
  socket.emit("after");
  await peer.got('42["after"]');
  assert.deepEqual(peer.packets.filter((packet) => packet.startsWith("42")),
                   ['42["before"]', '42["after"]']);
});

test("volatile events are dropped while older ones wait", async () => {
  const { peer, socket } = await connected();
  while (socket.io.engine.transport.bufferedAmount) await turn();
  socket.volatile.emit("kept");
  socket.volatile.emit("dropped");
  socket.emit("end");
  await peer.got('42["end"]');
  assert.deepEqual(peer.packets.slice(-2), ['42["kept"]', '42["end"]']);
});

test("disconnect while waiting to reconnect ends the attempts", async () => {
  const { peer, socket } = await connected({ ...POLLING, reconnectionDelay: 30 });
  peer.refuse = "no";
  peer.session.send("1");
  await next(socket, "disconnect");
  socket.io.on("reconnect_attempt", () => assert.fail("it tried"));
  socket.disconnect();
  await new Promise((resolve) => setTimeout(resolve, 100));
});

test("the auth of the moment is sent with each connection", async () => {
  const peer = await startPeer();
  const socket = connect(peer, { ...POLLING, auth: { token: 1 } });
  await peer.got('40{"token":1}');
  await next(socket, "connect");
  socket.auth = (give) => give({ token: 2 });
  peer.session.send("1");
  await peer.got('40{"token":2}');
});

test("an auth function that is slow speaks for its own connection only", async () => {
  const peer = await startPeer();
  const asked = [];
  const socket = connect(peer, { ...POLLING, auth: (give) => { asked.push(give); peer.emit("asked"); } });
  while (asked.length < 1) await once(peer, "asked");
  socket.io.engine.close();
  while (asked.length < 2) await once(peer, "asked");
  asked[0]({ token: "late" });
  asked[1]({ token: "in time" });
  await next(socket, "connect");
  assert.deepEqual(peer.packets.filter((packet) => packet.startsWith("40")), ['40{"token":"in time"}']);
});

test("each reconnection counts its attempts anew; the first connection is none", async () => {
  const peer = await startPeer();
  const socket = connect(peer);
  const attempts = [];
  socket.io.on("reconnect", (attempt) => attempts.push(attempt));
  for (let times = 0; times < 3; times++) {
    await next(socket, "connect");
    peer.session.send("1");
    await next(socket, "disconnect");
  }
  await next(socket, "connect");
  assert.deepEqual(attempts, [1, 1, 1]);
});

test("a Manager that is opened by hand does not try again by itself", async () => {
  const { peer, socket } = await connected({ ...POLLING, reconnectionDelay: 30, reconnectionDelayMax: 60 });
  peer.session.send("1");
  await next(socket, "disconnect");
  socket.io.on("reconnect_attempt", () => assert.fail("it tried"));
  const opened = next(socket.io, "open");
  socket.io.open();
  await opened;
  assert.equal(socket.io.socket("/"), socket);
  await new Promise((resolve) => setTimeout(resolve, 100));  // the time in which it would
});

test("a session ends once", async () => {
  const { socket } = await connected({ ...POLLING, reconnection: false });
  const ends = [];
  socket.io.on("close", (reason) => ends.push(reason));
  const { engine } = socket.io;
  engine.close();
  engine.close();
  assert.deepEqual(ends, ["forced close"]);
});

test("connect again after reconnection was switched off", async () => {
  const { peer, socket } = await connected({ ...POLLING, reconnection: false });
  peer.session.send("1");
  await next(socket, "disconnect");
  socket.connect();
  await next(socket, "connect");
});

test("connect twice says CONNECT once", async () => {
  const { peer, socket } = await connected();
  const other = socket.io.socket("/other");
  other.connect().connect();
  await next(other, "connect");
  other.connect();
  socket.emit("end");
  await peer.got('42["end"]');
  assert.equal(peer.packets.filter((packet) => packet.startsWith("40/other")).length, 1);
});

test("a refused namespace says why, and is left alone", async () => {
  const { peer, socket } = await connected();
  peer.onpacket = (packet, session) => {
    if (packet !== "40/no,") return false;
    session.send('44/no,{"message":"members only","data":{"code":7}}');
    return true;
  };
  const refused = socket.io.socket("/no");
  const [error] = await next(refused, "connect_error");
  assert.deepEqual([error.message, error.data], ["members only", { code: 7 }]);
  assert.deepEqual([refused.active, refused.connected, socket.connected], [false, false, true]);
});

test("when the only namespace is refused, the connection is closed", async () => {
  const peer = await startPeer();
  peer.onpacket = (packet, session) => session.send('44{"message":"no"}') ?? true;
  const socket = connect(peer);
  await next(socket, "connect_error");
  await peer.got("1");
});

test("DISCONNECT from the server leaves one namespace, and the last one the connection", async () => {
  const { peer, socket } = await connected();
  const room = socket.io.socket("/room");
  await next(room, "connect");
  peer.session.send("41/room,");
  assert.equal((await next(room, "disconnect"))[0], "io server disconnect");
  assert.equal(socket.connected, true);
  peer.session.send("41");
  assert.equal((await next(socket, "disconnect"))[0], "io server disconnect");
  await peer.got("1");
});

test("recovery: says where it broke off, takes what it missed before connect", async () => {
  const peer = await startPeer();
  peer.onpacket = (packet, session) => {
    if (packet === "40") session.send('40{"sid":"s","pid":"p"}', '42["x",1,"first"]');
    else session.send('42["x",2,"second"]', `40{"sid":"s","pid":"${peer.pid}"}`);
    return true;
  };
  const socket = connect(peer);
  const heard = [];
  socket.on("connect", () => heard.push(`connect ${socket.recovered}`));
  socket.on("x", (number) => heard.push(number));
  await next(socket, "x");
  peer.pid = "p";
  peer.session.send("1");
  await peer.got('40{"pid":"p","offset":"first"}');
  await next(socket, "connect");
  peer.pid = "another";
  peer.session.send("1");
  await peer.got('40{"pid":"p","offset":"second"}');
  await next(socket, "connect");
  assert.deepEqual(heard, ["connect false", 1, 2, "connect true", 2, "connect false"]);
});

test("recovery: the words of a question are no offset", async () => {
  const peer = await startPeer();
  peer.onpacket = (packet, session) =>
    packet.startsWith("40") && session.send('40{"sid":"s","pid":"p"}', '42["x","first"]', '421["q","why"]') === undefined;
  const socket = connect(peer);
  await next(socket, "q");
  peer.session.send("1");
  await peer.got('40{"pid":"p","offset":"first"}');
});

/* ---- acknowledgements ---- */

test("an acknowledgement is taken once", async () => {
  const { peer, socket } = await connected();
  const answers = [];
  socket.emit("q", (...args) => answers.push(args));
  await peer.got('420["q"]');
  peer.session.send('430["a",1]', '430["again"]', '437["nobody asked"]', '42["end"]');
  await next(socket, "end");
  assert.deepEqual(answers, [["a", 1]]);
});

test("an acknowledgement is given once", async () => {
  const { peer, socket } = await connected();
  socket.on("q", (reply) => { reply("a", Uint8Array.of(1)); reply("again"); });
  peer.session.send('427["q"]', '42["end"]');
  await next(socket, "end");
  socket.emit("end");
  await peer.got('42["end"]');
  assert.deepEqual(peer.packets.slice(-3),
                   ['461-7["a",{"_placeholder":true,"num":0}]', "bAQ==", '42["end"]']);
});

test("a deadline passed before there was a connection takes the event back", async () => {
  const peer = await startPeer();
  peer.silent = true;
  const socket = connect(peer);
  const error = await new Promise((resolve) => socket.timeout(20).emit("late", resolve));
  assert.equal(error.message, "operation has timed out");
  assert.deepEqual(socket.sendBuffer, []);
});

test("a deadline may be for all acknowledgements, or for one", async () => {
  const { socket } = await connected({ ...POLLING, ackTimeout: 20 });
  const late = { message: "operation has timed out" };
  await assert.rejects(socket.emitWithAck("nobody answers"), late);
  assert.equal((await new Promise((resolve) => socket.emit("nobody answers", resolve))).message, late.message);
  await assert.rejects(socket.timeout(0).emitWithAck("at once"), late);
});

test("a broken connection fails the promises of what was sent, not of what waits", async () => {
  const { peer, socket } = await connected();
  const sent = socket.emitWithAck("sent");
  await peer.got('420["sent"]');
  peer.onpacket = (packet, session) => {
    const [, id] = /^42(\d+)\["waiting"\]$/.exec(packet) ?? [];
    if (id) session.send(`43${id}["yes"]`);
  };
  socket.on("disconnect", () => { waiting = socket.emitWithAck("waiting"); });
  let waiting;
  peer.session.send("1");
  await assert.rejects(sent, { message: "socket has been disconnected" });
  assert.equal(await waiting, "yes");
});

test("an answer that comes after a reconnection is not sent: it would answer another question",
     async () => {
  const { peer, socket } = await connected();
  const question = new Promise((resolve) => socket.once("q", resolve));
  peer.session.send('4212["q"]');
  const reply = await question;
  peer.session.send("1");
  await next(socket, "connect");
  reply("too late");
  socket.emit("end");
  await peer.got('42["end"]');
  assert.ok(!peer.packets.some((packet) => packet.startsWith("43")));
});

test("reserved events cannot be emitted", () => {
  const socket = io("http://localhost", { autoConnect: false, forceNew: true });
  for (const event of ["connect", "disconnect", "connect_error", "disconnecting", "newListener"])
    assert.throws(() => socket.emit(event), /reserved event name/);
});

/* ---- websocket and upgrade ---- */

test("websocket only", { skip: NO_WEBSOCKET }, async () => {
  const { peer, socket } = await connected({ ...FAST, transports: ["websocket"] });
  assert.deepEqual(peer.log[0].query, { EIO: "4", transport: "websocket" });
  socket.emit("b", Uint8Array.of(7));
  await peer.got('451-["b",{"_placeholder":true,"num":0}]');
  socket.emit("end");
  await peer.got('42["end"]');
  assert.ok(peer.packets.some((packet) => Buffer.isBuffer(packet) && packet.equals(Buffer.of(7))));
  peer.session.websocket.socket.destroy();
  assert.match((await next(socket, "disconnect"))[0], /^transport (close|error)$/);
});

test("a handshake that is none is an error over a WebSocket too", { skip: NO_WEBSOCKET }, async () => {
  const peer = await startPeer({ upgrades: undefined });
  const socket = connect(peer, { ...FAST, transports: ["websocket"], reconnection: false });
  const [error] = await next(socket, "connect_error");
  assert.match(error.message, /^websocket error: /);
});

test("5 leaves when POST and GET are done, and what was sent meanwhile after it",
     { skip: NO_WEBSOCKET }, async () => {
  const peer = await startPeer({ upgrades: ["websocket"] });
  let release;
  let websocket;
  peer.onprobe = (probe) => { websocket = probe; };
  const socket = connect(peer, FAST);
  await next(socket, "connect");
  await peer.got("2probe");
  peer.holdPosts = new Promise((resolve) => { release = resolve; });
  socket.emit("by POST");
  await once(peer, "request");
  websocket.send("3probe");
  await new Promise((resolve) => setTimeout(resolve, 20));
  socket.emit("meanwhile");
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(!peer.packets.includes("5"), "the POST has not arrived");
  release();
  await peer.got('42["by POST"]');
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(!peer.packets.includes("5"), "the GET has not been answered");
  const upgraded = next(socket.io.engine, "upgrade");
  const event = next(socket, "by GET");
  peer.session.send('42["by GET"]', "6");
  await event;
  await upgraded;
  socket.emit("end");
  await peer.got('42["end"]');
  assert.deepEqual(peer.packets.slice(-4),
                   ['42["by POST"]', "5", '42["meanwhile"]', '42["end"]']);
  assert.equal(socket.io.engine.transport.name, "websocket");
  const gets = peer.requests("GET").length;
  await turn();
  assert.equal(peer.requests("GET").length, gets, "polling is over");
});

for (const [title, script] of Object.entries({
  "refuses the WebSocket": (peer) => { peer.refuseWebSocket = true; },
  "answers the probe with nonsense": (peer) => { peer.onprobe = (probe) => probe.send("3nonsense"); },
  "hangs up on the probe": (peer) => { peer.onprobe = (probe) => probe.socket.destroy(); },
  "hangs up after 3probe": (peer) => {
    peer.onprobe = async (probe) => {
      // A GET must wait, and for long: not the one that brings the answer to CONNECT.
      while (!peer.packets.includes("40") || !peer.session.waiting) await once(peer, "request");
      probe.send("3probe");
      probe.socket.end();
    };
  },
}))
  test(`polling goes on when the server ${title}`, { skip: NO_WEBSOCKET }, async () => {
    const peer = await startPeer({ upgrades: ["websocket"] });
    script(peer);
    const socket = connect(peer, FAST);
    socket.on("disconnect", (reason) => assert.fail(reason));
    await next(socket, "connect");
    while (!peer.requests("WEBSOCKET").length) await once(peer, "packet");
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.emit("still there?");
    await peer.got('42["still there?"]');
    peer.session.send('42["yes"]');
    await next(socket, "yes");
    assert.equal(socket.io.engine.transport.name, "polling");
    socket.off("disconnect");
  });

test("without a WebSocket, polling does it all", async () => {
  const { peer, socket } = await connected({ ...FAST, WebSocket: false },
                                           { upgrades: ["websocket"] });
  socket.emit("end");
  await peer.got('42["end"]');
  assert.equal(socket.io.engine.transport.name, "polling");
});

test("no upgrade where it is not wanted", { skip: NO_WEBSOCKET }, async () => {
  const { peer } = await connected({ ...FAST, upgrade: false }, { upgrades: ["websocket"] });
  await turn();
  assert.deepEqual(peer.requests("WEBSOCKET"), []);
});

/* ---- addresses ---- */

const lazy = { autoConnect: false };

test("an address is a server, a namespace, or both", () => {
  const parts = (...args) => {
    const socket = io(...args);
    return [socket.io.uri, socket.nsp, socket.io.opts.query];
  };
  assert.deepEqual(parts("ws://a", lazy), ["http://a", "/", {}]);
  assert.deepEqual(parts("wss://a/x", lazy), ["https://a", "/x", {}]);
  assert.deepEqual(parts(null, lazy), ["http://localhost", "/", {}]);
  assert.deepEqual(parts("http://a:81", lazy), ["http://a:81", "/", {}]);
  assert.deepEqual(parts("https://b/news?x=1", lazy), ["https://b", "/news", { x: "1" }]);
  assert.deepEqual(parts("c:82/é", lazy), ["http://c:82", "/é", {}]);
  assert.deepEqual(parts("/news", lazy), ["http://localhost", "/news", {}]);
  assert.deepEqual(parts(lazy), ["http://localhost", "/", {}]);
});

test("namespaces of one address share a Manager, the same one twice does not", () => {
  const first = io("http://d", lazy);
  assert.equal(io("http://d/x", lazy).io, first.io);
  assert.notEqual(io("http://d/y", { ...lazy, forceNew: true }).io, first.io);
  assert.notEqual(io("http://d/y", { ...lazy, multiplex: false }).io, first.io);
  assert.notEqual(io("http://d/y", { ...lazy, path: "/p" }).io, first.io);
  assert.notEqual(io("http://d", lazy).io, first.io);
  assert.equal(io("http://d/z", lazy).io, first.io);
});

test("a Manager stands alone too", async () => {
  const peer = await startPeer();
  const manager = new io.Manager(peer.url, { ...POLLING, query: { colour: "red" } });
  const news = manager.socket("/news", { auth: { token: 1 } });
  cleanups.push(() => news.close());
  await peer.got('40/news,{"token":1}');
  await next(news, "connect");
  assert.equal(peer.log[0].query.colour, "red");
  assert.equal(new io.Manager(lazy).uri, "http://localhost");
  assert.equal(new io.Manager("/elsewhere?x=1", lazy).opts.query.x, "1");
});

test("other names for the same", async () => {
  const { peer, socket } = await connected();
  assert.equal(io.io, io);
  assert.equal(socket.close().connected, false);
  const again = next(socket, "connect");
  assert.equal(socket.open().active, true);
  await again;
  socket.compress(true).emit("end");
  await peer.got('42["end"]');
});

test("the face of 2011", async () => {
  const peer = await startPeer();
  const socket = new io.Socket("127.0.0.1", { port: peer.port, rememberTransport: false });
  cleanups.push(() => socket.disconnect());
  assert.ok(socket instanceof io.Socket);
  assert.notEqual(new io.Socket("127.0.0.1", { port: peer.port }).io, socket.io);
  assert.equal(socket.connected, false);
  const connection = next(socket, "connect");
  socket.connect();
  await connection;
  socket.send("hello");
  await peer.got('42["message","hello"]');
  peer.session.send('42["message","{}"]');
  assert.deepEqual(await next(socket, "message"), ["{}"]);
});

/* ---- in a page ---- */

/* The script in a global of its own, as a page has one. */
function load({ href = "http://page.example/chat.html", src } = {}) {
  const page = new EventTarget();
  const world = {
    location: new URL(href), document: { currentScript: src && { src } },
    addEventListener: page.addEventListener.bind(page),
    removeEventListener: page.removeEventListener.bind(page),
    URL, URLSearchParams, Blob, AbortController, fetch, setTimeout, clearTimeout, atob, btoa,
  };
  const before = Object.keys(world);
  vm.runInNewContext(readFileSync(CLIENT, "utf8"), world);
  const defined = Object.keys(world).filter((name) => !before.includes(name));
  return { io: world.io, defined, page };
}

test("in a page it defines io and nothing else", () => {
  assert.deepEqual(load().defined, ["io"]);
});

test("without an address it is the page's server", () => {
  const { io } = load();
  assert.equal(io(lazy).io.uri, "http://page.example");
  assert.equal(new io.Socket(null, { port: 8000 }).io.uri, "http://page.example:8000");
});

for (const [src, expected] of [
  [undefined, "/socket.io/"],
  ["http://page.example/socket.io/socket.io.js", "/socket.io/"],
  ["http://page.example/chat/socket.io/socket.io.js?v=1", "/chat/socket.io/"],
  ["http://page.example/bundle.js", "/socket.io/"],
  ["http://cdn.example/4/socket.io.js", "/socket.io/"],
])
  test(`loaded from ${src}, the path is ${expected}`, () => {
    const { io } = load({ src });
    assert.equal(io(lazy).io.opts.path, expected);
    assert.equal(io({ ...lazy, path: "/mine/" }).io.opts.path, "/mine/");
  });

for (const departure of ["pagehide", "offline"])
  test(`a page closes its session at once on ${departure}`, async () => {
    const peer = await startPeer();
    const { io, page } = load({ href: peer.url });
    const socket = io(POLLING);
    cleanups.push(() => socket.disconnect());
    await next(socket, "connect");
    const reason = next(socket, "disconnect");
    page.dispatchEvent(new Event(departure));
    await peer.got("1");
    assert.equal(socket.connected, false);
    const [why, { message }] = await reason;
    assert.deepEqual([why, message], ["transport close", departure]);
    await next(socket, "connect");  // the page, or the net, is back
  });
