/* What a page may expect of `io`, one scenario each: of our client and of the official one, against
   our server and the official one, in Node, in Chromium and in Firefox.

     const outcomes = await runScenarios({ io, url, transports, control });

   `url` leads through a cord (../cord.cjs) to a server that knows the words of official_server.cjs;
   `control("cut")` and its like pull at the cord. An outcome is { title, fault }, where fault is
   null or what went wrong. The file is a classic script, so that a page can have it too. */

(() => {
"use strict";

const DEADLINE_MS = 40_000;
const FAST = { reconnectionDelay: 30, reconnectionDelayMax: 60 };

/* ---- words to write scenarios in ---- */

const bytes = (...numbers) => Uint8Array.from(numbers);
const isBuffer = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);
const numbersOf = (value) =>
  [...(ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
                                 : new Uint8Array(value))];

/* A value as text; buffers of all kinds are the same when their bytes are. */
const shown = (value) => JSON.stringify(value, function (key, inner) {
  const original = this[key];
  if (isBuffer(original)) return { bytes: numbersOf(original).join() };
  return original === undefined ? "undefined" : inner;
});

function same(actual, expected) {
  if (shown(actual) !== shown(expected))
    throw new Error(`expected ${shown(expected)}, got ${shown(actual)}`.slice(0, 500));
}

const matches = (text, pattern) => {
  if (!pattern.test(text)) throw new Error(`expected ${pattern}, got ${text}`);
};

/* The arguments of the next event of that name. */
const next = (emitter, event) => new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(`no "${event}" came`)), DEADLINE_MS);
  emitter.once(event, (...args) => { clearTimeout(timer); resolve(args); });
});

const rejected = (promise) => promise.then(
  (value) => { throw new Error(`resolved to ${shown(value)}`); }, (error) => error.message);

const transportOf = (socket) => socket.io.engine.transport.name;

const upgraded = async ({ io: { engine } }) => {
  if (engine.transport.name !== "websocket") await next(engine, "upgrade");
};

/* On the transport that stays. A client whose connection breaks amid its upgrade may notice only
   when no ping comes: the official one has paused its polls by then. */
const steady = async (socket, transports) => {
  if (transports.length > 1) await upgraded(socket);
};

/* Connected again. It may be before whoever has mended the cord knows that he has. */
const back = async (socket) => {
  if (!socket.connected) await next(socket, "connect");
};

/* Somebody who hears of those who leave, and why. */
async function witnessed(connect, where = "", options = {}) {
  const witness = connect(where, options);
  await witness.emitWithAck("join", "witnesses");
  return witness;
}

const leaving = (witness, id) => new Promise((resolve) =>
  witness.on("left", ([who, reason]) => who === id && resolve(reason)));

/* A server notices at once that a client has gone whose poll waits, and else at the next ping. The
   witness hears what leaves behind that poll. */
async function settled(socket, witness) {
  for (let times = 0; times < 3; times++) {
    const heard = new Promise((resolve) =>
      witness.on("told", (who) => who === socket.id && resolve()));
    socket.emit("tell room", "witnesses", socket.id);
    await heard;
  }
}

/* ---- the scenarios: titles are claims ---- */

const SCENARIOS = {
  async "connects with auth and query, and says how"({ connect, transports }) {
    const socket = connect("", { auth: { token: "é" }, query: { colour: "red & blue" } });
    same([socket.connected, socket.disconnected, socket.active], [false, true, true]);
    const [{ auth, query }] = await next(socket, "hello");
    same(auth, { token: "é" });
    same([query.colour, query.EIO], ["red & blue", "4"]);
    same([socket.connected, socket.disconnected], [true, false]);
    matches(socket.id, /^[\w-]{20,}$/);
    matches(socket.io.engine.id, /^[\w-]{16,}$/);
    if (socket.io.engine.id === socket.id) throw new Error("one id for two things");
    if (transports.length > 1) await upgraded(socket);
    same(transportOf(socket), transports.at(-1));
  },

  async "takes auth from a function, now or later"({ connect }) {
    const soon = connect("", { auth: (give) => give({ soon: 1 }) });
    const late = connect("", { auth: (give) => setTimeout(() => give({ late: [true] }), 5) });
    const [[first], [second]] = await Promise.all([next(soon, "hello"), next(late, "hello")]);
    same([first.auth, second.auth], [{ soon: 1 }, { late: [true] }]);
  },

  async "sends and receives any JSON"({ connect }) {
    const socket = connect();
    const data = [null, true, -1.5, 1e21, "", "é\u2028\x1e🎈\"\\\u0000", [], {}, { deep: [{ er: [1] }] }];
    socket.emit("echo", ...data);
    same(await next(socket, "echo"), data);
    socket.send("plain", 2);
    same(await next(socket, "message"), ["plain", 2]);
    socket.emit("echo", undefined, { a: undefined }, new Date(0));
    same(await next(socket, "echo"), [null, {}, "1970-01-01T00:00:00.000Z"]);
  },

  async "sends and receives bytes, of every kind, nested anywhere"({ connect }) {
    const socket = connect();
    const big = Uint8Array.from({ length: 70_000 }, (_, index) => index);
    const view = new Uint8Array(bytes(9, 8, 7, 6).buffer, 1, 2);
    const words = Uint16Array.of(1, 256);
    socket.emit("echo", bytes(1, 2), { a: [{ b: bytes().buffer }, "x"], c: big }, view,
                new DataView(words.buffer), words);
    same(await next(socket, "echo"),
         [bytes(1, 2), { a: [{ b: bytes() }, "x"], c: big }, bytes(8, 7), bytes(1, 0, 0, 1),
          bytes(1, 0, 0, 1)]);
  },

  async "sends blobs and files"({ connect, isOfficialInNode }) {
    if (isOfficialInNode) return;  // which takes Blob for an object there
    const socket = connect();
    const blob = new Blob(["hi", bytes(0, 255)]);
    const file = globalThis.File ? new File([blob], "hi.bin") : blob;
    socket.emit("echo", blob, { file }, "end");
    same(await next(socket, "echo"), [bytes(104, 105, 0, 255), { file: bytes(104, 105, 0, 255) }, "end"]);
  },

  async "keeps text and bytes in order"({ connect }) {
    const socket = connect();
    const heard = [];
    socket.on("echo", (value) => heard.push(value));
    for (let number = 0; number < 20; number++) {
      socket.emit("echo", number);
      socket.emit("echo", bytes(number));
    }
    while (heard.length < 40) await next(socket, "echo");
    same(heard, Array.from({ length: 40 }, (_, index) => index % 2 ? bytes(index >> 1) : index >> 1));
  },

  async "gets acknowledgements, as callback, with deadline and as promise"({ connect }) {
    const socket = connect();
    const answer = await new Promise((resolve) =>
      socket.emit("echo", 1, { two: bytes(2) }, (...args) => resolve(args)));
    same(answer, [1, { two: bytes(2) }]);
    const inTime = await new Promise((resolve) =>
      socket.timeout(DEADLINE_MS).emit("echo", "x", (...args) => resolve(args)));
    same(inTime, [null, "x"]);
    same(await socket.emitWithAck("echo", "y"), "y");
    same(await socket.emitWithAck("echo"), undefined);
    same(await socket.timeout(DEADLINE_MS).emitWithAck("echo", "z"), "z");
    same(await rejected(socket.timeout(30).emitWithAck("nobody answers this")),
         "operation has timed out");
  },

  async "gets acknowledgements that it asked for before it was connected"({ connect }) {
    const socket = connect();
    same(await Promise.all([1, 2, 3].map((number) => socket.emitWithAck("echo", number))), [1, 2, 3]);
  },

  async "may have one deadline for all acknowledgements"({ connect }) {
    const socket = connect("", { ackTimeout: 30 });
    await next(socket, "connect");
    const error = await new Promise((resolve) => socket.emit("nobody answers this", resolve));
    same(error.message, "operation has timed out");
  },

  async "gives acknowledgements, once"({ connect }) {
    const socket = connect();
    socket.on("question", (question, reply) => { reply(question, bytes(5)); reply("again"); });
    socket.emit("ask me", "why?");
    same(await next(socket, "answered"), [["why?", bytes(5)]]);
  },

  async "gives no reply function where none was asked for"({ connect }) {
    const socket = connect();
    socket.emit("ask me nothing");
    same(await next(socket, "question"), []);
  },

  async "keeps 300 messages in order from the first moment on"({ connect }) {
    const socket = connect();
    const wanted = Array.from({ length: 300 }, (_, number) => number);
    const got = [];
    const done = new Promise((resolve) => socket.on("message", (number) => {
      if (got.push(number) === wanted.length) resolve();
    }));
    let sent = 0;
    while (sent < 100) socket.send(wanted[sent++]);  // buffered, before there is a connection
    await next(socket, "connect");
    while (sent < 300) {                             // and through the upgrade
      for (const end = sent + 5; sent < end; sent++) socket.send(wanted[sent]);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await done;
    same(got, wanted);
  },

  async "knows listeners: on, once, off, and onAny before all"({ connect }) {
    const socket = connect();
    const heard = [];
    const always = (value) => heard.push(`always ${value}`);
    const never = () => heard.push("never");
    socket.on("x", always).once("x", (value) => heard.push(`once ${value}`)).on("x", never).off("x", never);
    socket.on("y", never).on("y", never).off("y").on("z", never).removeAllListeners("z");
    socket.onAny((event, value) => heard.push(`any ${event} ${value}`));
    socket.onAny(never).offAny(never);
    for (const name of ["x", "x", "y", "z", "end"]) socket.emit("say", name, 1);
    await next(socket, "end");
    same(heard, ["any hello [object Object]", "any x 1", "always 1", "once 1", "any x 1", "always 1",
                 "any y 1", "any z 1", "any end 1"]);
    same([socket.listeners("x").length, socket.hasListeners("y")], [1, false]);
  },

  async "shares one connection between namespaces"({ io, url, connect, options }) {
    const main = connect("", { forceNew: false });
    const room = io(`${url}/room`, { ...options, forceNew: false });
    same(main.io === room.io, true);
    const [name, id] = await new Promise((resolve) => room.emit("who", (...args) => resolve(args)));
    same([name, id], ["/room", room.id]);
    await main.emitWithAck("echo");
    same(main.id === room.id, false);
    room.disconnect();
    same([room.connected, main.connected], [false, true]);
    same(await main.emitWithAck("echo", "still here"), "still here");
    room.connect();
    await next(room, "connect");
    room.disconnect();
    const apart = connect("/room", { multiplex: false });
    same(apart.io === main.io, false);
    await next(apart, "connect");
  },

  async "a Manager makes sockets and tells of its connection"({ io, url, options, keep }) {
    const manager = new io.Manager(url, { ...options, autoConnect: false });
    const opened = next(manager, "open");
    const main = keep(manager.socket("/", { auth: { token: 1 } }));
    const room = keep(manager.socket("/room"));
    same([main.active, manager.socket("/") === main], [false, true]);
    main.connect();
    room.connect();
    await opened;
    same((await next(main, "hello"))[0].auth, { token: 1 });
    await room.emitWithAck("who");
    const closed = next(manager, "close");
    manager.engine.close();
    same((await closed)[0], "forced close");
    await next(manager, "reconnect");
  },

  async "reports an unknown namespace"({ connect }) {
    const unknown = connect("/nowhere");
    same((await next(unknown, "connect_error"))[0].message, "Invalid namespace");
    same([unknown.active, unknown.connected], [false, false]);
  },

  async "reports that it is refused, with the data"({ connect }) {
    const refused = connect("/closed", { auth: { ticket: 1 } });
    const [error] = await next(refused, "connect_error");
    same([error instanceof Error, error.message, error.data],
         [true, "members only", { code: 7, why: ["no", "card"] }]);
    same(refused.active, false);
    refused.auth = { ticket: "valid" };
    refused.connect();
    await next(refused, "connect");
  },

  async "hears that the server disconnects it, and stays away until told"({ connect }) {
    const socket = connect();
    for (const hard of [false, true]) {
      if (!socket.connected) await next(socket, "connect");
      socket.emit("go", hard);
      same((await next(socket, "disconnect"))[0], "io server disconnect");
      same([socket.active, socket.id], [false, undefined]);
      socket.connect();
    }
    await next(socket, "connect");
  },

  async "disconnects, and the others learn why"({ connect }) {
    const witness = await witnessed(connect);
    const socket = connect();
    await next(socket, "connect");
    const gone = leaving(witness, socket.id);
    const here = next(socket, "disconnect");
    socket.emit("echo", "last words");
    socket.disconnect();
    same((await here)[0], "io client disconnect");
    same(await gone, "client namespace disconnect");
    same([socket.id, socket.active], [undefined, false]);
  },

  async "comes back after the cord was cut, with what was emitted meanwhile"({ connect, control, transports }) {
    const socket = connect();
    await next(socket, "connect");
    await steady(socket, transports);
    const { id } = socket;
    const said = [];
    const note = (event) => socket.io.on(event, (detail) => said.push([event, typeof detail]));
    ["reconnect_attempt", "reconnect_error", "reconnect"].forEach(note);
    const broken = next(socket, "disconnect");
    await control("cut");
    const [reason, details] = await broken;
    matches(reason, /^transport (close|error)$/);
    same([typeof details.message === "string" || typeof details.description === "string"], [true]);
    same([socket.active, socket.connected], [true, false]);
    socket.emit("echo", "while away");
    const lost = rejected(socket.timeout(30).emitWithAck("echo", "too late"));
    socket.volatile.emit("echo", "dropped");
    const [error] = await next(socket, "connect_error");
    same([error instanceof Error, socket.active], [true, true]);
    same(await lost, "operation has timed out");
    await next(socket.io, "reconnect_error");
    const heard = next(socket, "echo");
    await control("mend");
    await back(socket);
    same(await heard, ["while away"]);
    same(socket.id === id, false);
    await socket.emitWithAck("echo");
    same(said.slice(0, 2), [["reconnect_attempt", "number"], ["reconnect_error", "object"]]);
    same(said.at(-1), ["reconnect", "number"]);
  },

  async "fails the promises of what was sent into a connection that broke"({ connect, control, transports }) {
    const socket = connect();
    await next(socket, "connect");
    await steady(socket, transports);
    const answer = rejected(socket.emitWithAck("nobody answers this"));
    await control("cut");
    same(await answer, "socket has been disconnected");
    await control("mend");
    await back(socket);
  },

  async "gives up after as many attempts as told"({ connect, control }) {
    await control("cut");
    const socket = connect("", { reconnectionAttempts: 2 });
    const attempts = [];
    socket.io.on("reconnect_attempt", (attempt) => attempts.push(attempt));
    await next(socket.io, "reconnect_failed");
    same(attempts, [1, 2]);
    await control("mend");
    socket.connect();
    await next(socket, "connect");
  },

  async "does not come back where reconnection is off, until told"({ connect, control, transports }) {
    const socket = connect("", { reconnection: false });
    await next(socket, "connect");
    await steady(socket, transports);
    const broken = next(socket, "disconnect");
    await control("cut");
    await broken;
    await control("mend");
    let attempts = 0;
    socket.io.on("reconnect_attempt", () => { attempts += 1; });
    socket.connect();
    await next(socket, "connect");
    same(attempts, 0);
  },

  async "goes on where it broke off, with connection state recovery"({ connect, control, otherUrl, transports }) {
    const socket = connect("", { path: "/keeper/socket.io/" });
    const other = await witnessed(connect, otherUrl, { path: "/keeper/socket.io/" });
    const hall = `hall ${Math.random()}`;
    await socket.emitWithAck("join", hall);
    const { id, recovered } = socket;
    same(Boolean(recovered), false);
    const heard = [];
    socket.on("told", (...args) => heard.push(args));
    await steady(socket, transports);
    await settled(socket, other);
    const [broken, gone] = [next(socket, "disconnect"), leaving(other, id)];
    await control("cut");
    await Promise.all([broken, gone]);
    other.emit("tell room", hall, "missed");
    other.emit("tell room", hall, [bytes(2)]);
    await other.emitWithAck("echo");
    await control("mend");
    await back(socket);
    same([socket.recovered, socket.id], [true, id]);
    same(heard.map(([what]) => what), ["missed", [bytes(2)]]);
    same(heard.map(([, offset]) => typeof offset), ["string", "string"]);
    same(await socket.emitWithAck("echo", "as ever"), "as ever");
    other.emit("tell room", hall, "live");
    await next(socket, "told");
    same(heard.length, 3);
  },

  async "notices that the server has fallen silent"({ connect, control }) {
    const socket = connect("", { path: "/quick/socket.io/" });
    // On a busy machine a pong may be late, and the server go first: then once more.
    for (let reason = ""; reason !== "ping timeout";) {
      await back(socket);
      await next(socket.io, "ping");
      await next(socket.io, "ping");
      if (!socket.connected) continue;
      const silence = next(socket, "disconnect");
      await control("freeze");
      [reason] = await silence;
      await control("thaw");
    }
    await back(socket);
  },

  async "drops volatile events while it is not connected"({ connect }) {
    const socket = connect();
    socket.volatile.emit("echo", "dropped");
    socket.emit("echo", "kept");
    same(await next(socket, "echo"), ["kept"]);
    const sent = next(socket, "echo");  // which it is, once nothing else waits to leave
    const timer = setInterval(() => socket.volatile.emit("echo", "sent"), 20);
    same(await sent, ["sent"]);
    clearInterval(timer);
  },

  async "refuses names that are its own"({ connect }) {
    const socket = connect();
    for (const name of ["connect", "disconnect", "connect_error", "disconnecting"]) {
      try { socket.emit(name); } catch (error) { matches(error.message, /reserved event name/); continue; }
      throw new Error(`"${name}" was emitted`);
    }
  },

  async "has the face of 2011"({ io, url, isOfficial, keep }) {
    if (isOfficial) return;
    const { hostname, port } = new URL(url);
    const socket = keep(new io.Socket(hostname, { port, rememberTransport: false }));
    same(socket instanceof io.Socket, true);
    socket.connect();
    await next(socket, "connect");
    socket.send("hello");
    same(await next(socket, "message"), ["hello"]);
  },

  /* A page's own events, with a frame for a page. */
  async "a page that is left has left at once"({ connect, clientSource, transports }) {
    if (!globalThis.document) return;
    const witness = await witnessed(connect);
    const frame = Object.assign(document.createElement("iframe"), { src: "/" });
    document.body.append(frame);
    await new Promise((resolve) => { frame.onload = resolve; });
    const script = frame.contentDocument.createElement("script");
    script.textContent = clientSource;
    frame.contentDocument.head.append(script);
    const socket = frame.contentWindow.io({ transports, reconnection: false });
    await next(socket, "connect");
    const gone = leaving(witness, socket.id);
    await settled(socket, witness);
    frame.src = "/elsewhere";
    await gone;
    frame.remove();
  },

  async "may come from another origin where that is allowed"({ connect, otherUrl }) {
    const socket = connect(otherUrl);
    socket.emit("echo", bytes(1));
    same(await next(socket, "echo"), [bytes(1)]);
  },
};

/* ---- running them ---- */

async function withDeadline(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${2 * DEADLINE_MS} ms`)), 2 * DEADLINE_MS);
  });
  try { await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}

async function runScenarios({ io, url, transports, only = "", ...rest }) {
  const outcomes = [];
  for (const [title, scenario] of Object.entries(SCENARIOS)) {
    if (!title.includes(only)) continue;
    const sockets = [];
    const keep = (socket) => { sockets.push(socket); return socket; };
    const options = { forceNew: true, transports, ...FAST };
    const connect = (where = "", more = {}) =>
      keep(io(where.includes("://") ? where : url + where, { ...options, ...more }));
    const start = Date.now();
    let fault = null;
    try {
      await withDeadline(scenario({ ...rest, io, url, transports, options, connect, keep }));
    } catch (error) {
      fault = `${error.message}\n${error.stack}`;
    }
    for (const socket of sockets) socket.disconnect();
    outcomes.push({ title, fault, ms: Date.now() - start });
  }
  return outcomes;
}

globalThis.runScenarios = runScenarios;
if (typeof module === "object") module.exports = { runScenarios, SCENARIOS };
})();
