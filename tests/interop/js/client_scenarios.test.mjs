/* Our client against the official server (npm socket.io 4), over each transport.

   Run by tests/interop/test_client_js_interop.py, or by hand:
     RBL_NODE_MODULES=DIR node --test tests/interop/js/client_scenarios.test.mjs            */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { after, describe, test } from "node:test";

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const modules = path.resolve(process.env.RBL_NODE_MODULES ?? path.join(here, "../node_modules"));
const npm = createRequire(path.join(modules, "x.js"));
const { Server } = npm(path.join(modules, "socket.io"));
const WebSocket = globalThis.WebSocket ?? npm(path.join(modules, "ws"));
const io = createRequire(import.meta.url)("../../../redbarrel_lite/static/socket.io.js");

const TRANSPORTS = {
  "polling only": { transports: ["polling"] },
  "websocket only": { transports: ["websocket"] },
  "upgrade": {},
};
const FAST = { reconnectionDelay: 30, reconnectionDelayMax: 60 };

async function startServer(port = 0, options = {}) {
  const http = createServer();
  const server = new Server(http, options);
  server.on("connection", (socket) => {
    socket.emit("hello", { auth: socket.handshake.auth, query: socket.handshake.query });
    socket.onAny((event, ...args) => {
      if (event !== "echo") return;
      const reply = typeof args.at(-1) === "function" ? args.pop() : null;
      if (reply) reply(...args);
      else socket.emit("echo", ...args);
    });
    socket.on("message", (text) => socket.send(text));
    socket.on("ask me", (question) =>
      socket.timeout(2000).emit("question", question, (error, ...answers) =>
        socket.emit("answered", error ? error.message : null, answers)));
    socket.on("ask me nothing", () => socket.emit("question"));
    socket.on("go", (hard) => socket.disconnect(hard));
  });
  server.of("/room").on("connection", (socket) =>
    socket.on("who", (reply) => reply(socket.nsp.name, socket.id)));
  server.of("/closed").use((socket, next) =>
    next(Object.assign(new Error("members only"), { data: { code: 7, why: ["no", "card"] } })));
  http.listen(port, "127.0.0.1");
  await once(http, "listening");
  return { server, url: `http://127.0.0.1:${http.address().port}`,
           port: http.address().port, close: () => server.close() };
}

const next = (emitter, event, milliseconds = 5000) => new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(`no "${event}" came`)), milliseconds);
  emitter.once(event, (...args) => { clearTimeout(timer); resolve(args); });
});

const bytes = (...numbers) => Uint8Array.from(numbers);
const toBytes = (buffer) => [...new Uint8Array(buffer)];

for (const [title, transports] of Object.entries(TRANSPORTS)) {
  if (![title, undefined].includes(process.env.RBL_TRANSPORT)) continue;
  describe(title, async () => {
    const official = await startServer();
    const sockets = [];
    const connect = (nsp = "", options = {}) => {
      const socket = io(official.url + nsp, { WebSocket, forceNew: true, ...FAST, ...transports,
                                              ...options });
      sockets.push(socket);
      return socket;
    };
    after(() => { sockets.forEach((socket) => socket.disconnect()); official.close(); });

    test("connects, with auth and query, and says how", async () => {
      const socket = connect("", { auth: { token: "123" }, query: { colour: "red" } });
      const hello = next(socket, "hello");
      if (title === "upgrade") await next(socket.io, "open");
      if (title === "upgrade") await next(socket.io.engine, "upgrade");
      const [{ auth, query }] = await hello;
      assert.deepEqual(auth, { token: "123" });
      assert.equal(query.colour, "red");
      assert.equal(query.EIO, "4");
      assert.equal(socket.connected, true);
      assert.match(socket.id, /^[\w-]{20}$/);
      assert.equal(socket.io.engine.transport.name,
                   title === "polling only" ? "polling" : "websocket");
    });

    test("takes auth from a function", async () => {
      const socket = connect("", { auth: (give) => setTimeout(() => give({ late: true }), 5) });
      const [{ auth }] = await next(socket, "hello");
      assert.deepEqual(auth, { late: true });
    });

    test("sends and receives events of any JSON", async () => {
      const socket = connect();
      const data = [null, true, -1.5, "é\u2028\x1e🎈\"\\", [], {}, { deep: [{ er: [1] }] }];
      socket.emit("echo", ...data);
      assert.deepEqual(await next(socket, "echo"), data);
      socket.send("plain");
      assert.deepEqual(await next(socket, "message"), ["plain"]);
    });

    test("sends and receives bytes, nested anywhere", async () => {
      const socket = connect();
      const big = bytes(...Array(70000).keys());
      socket.emit("echo", bytes(1, 2), { a: [{ b: bytes().buffer }, "x"], c: big },
                  new Uint8Array(bytes(9, 8, 7, 6).buffer, 1, 2), new Blob(["hi"]));
      const [first, { a, c }, view, blob] = await next(socket, "echo");
      assert.deepEqual(toBytes(first), [1, 2]);
      assert.equal(a[0].b.byteLength, 0);
      assert.equal(a[1], "x");
      assert.deepEqual(new Uint8Array(c), big);
      assert.deepEqual(toBytes(view), [8, 7]);
      assert.deepEqual(toBytes(blob), [104, 105]);
    });

    test("gets acknowledgements, as callback, with timeout and as promise", async () => {
      const socket = connect();
      const answer = await new Promise((resolve) =>
        socket.emit("echo", 1, { two: bytes(2) }, (...args) => resolve(args)));
      assert.deepEqual([answer[0], toBytes(answer[1].two)], [1, [2]]);
      assert.equal(await socket.emitWithAck("echo", "x"), "x");
      assert.equal(await socket.timeout(2000).emitWithAck("echo", "y"), "y");
      await assert.rejects(socket.timeout(50).emitWithAck("nobody answers this"),
                           { message: "operation has timed out" });
    });

    test("gives acknowledgements, once", async () => {
      const socket = connect();
      socket.on("question", (question, reply) => { reply(question, bytes(5)); reply("again"); });
      socket.emit("ask me", "why?");
      const [error, [question, five]] = await next(socket, "answered");
      assert.deepEqual([error, question, toBytes(five)], [null, "why?", [5]]);
    });

    test("gives no reply function where none was asked for", async () => {
      const socket = connect();
      socket.emit("ask me nothing");
      assert.deepEqual(await next(socket, "question"), []);
    });

    test("keeps 300 messages in order from the first moment on", async () => {
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
      assert.deepEqual(got, wanted);
    });

    test("shares one connection between namespaces", async () => {
      const main = io(official.url, { WebSocket, ...FAST, ...transports });
      const room = io(`${official.url}/room`);
      sockets.push(main, room);
      assert.equal(main.io, room.io);
      const [nsp, id] = await new Promise((resolve) =>
        room.emit("who", (...args) => resolve(args)));
      assert.deepEqual([nsp, id], ["/room", room.id]);
      room.disconnect();
      assert.equal(await main.emitWithAck("echo", "still here"), "still here");
    });

    test("reports a refused and an unknown namespace", async () => {
      const [refused] = await next(connect("/closed"), "connect_error");
      assert.equal(refused.message, "members only");
      assert.deepEqual(refused.data, { code: 7, why: ["no", "card"] });
      const unknown = connect("/nowhere");
      assert.equal((await next(unknown, "connect_error"))[0].message, "Invalid namespace");
      assert.equal(unknown.active, false);
    });

    test("hears that the server disconnects it, and stays away until told", async () => {
      for (const [hard, reason] of [[false, "io server disconnect"],
                                    [true, "io server disconnect"]]) {
        const socket = connect();
        await next(socket, "connect");
        socket.emit("go", hard);
        assert.equal((await next(socket, "disconnect"))[0], reason);
        assert.equal(socket.active, false);
        socket.connect();
        await next(socket, "connect");
      }
    });

    test("disconnects and tells the server", async () => {
      const socket = connect();
      await next(socket, "connect");
      const there = official.server.sockets.sockets.get(socket.id);
      const gone = next(there, "disconnect");
      const here = next(socket, "disconnect");
      socket.disconnect();
      assert.equal((await here)[0], "io client disconnect");
      assert.equal((await gone)[0], "client namespace disconnect");
      assert.equal(socket.id, undefined);
    });

    test("comes back after the server was killed, with what was emitted meanwhile", async () => {
      const mortal = await startServer();
      const socket = io(mortal.url, { WebSocket, forceNew: true, ...FAST, ...transports });
      sockets.push(socket);
      await next(socket, "connect");
      const broken = next(socket, "disconnect");
      mortal.close();
      assert.match((await broken)[0], /^transport (close|error)$/);
      socket.emit("echo", "while away");
      await next(socket.io, "reconnect_error");
      const back = next(socket.io, "reconnect");
      const reborn = await startServer(mortal.port);
      after(() => reborn.close());
      assert.ok((await back)[0] >= 1);
      assert.deepEqual(await next(socket, "echo"), ["while away"]);
    });

    test("goes on where it broke off, with connection state recovery", async () => {
      const keeper = await startServer(0, { connectionStateRecovery: {} });
      after(() => keeper.close());
      const socket = io(keeper.url, { WebSocket, forceNew: true, ...FAST, ...transports });
      sockets.push(socket);
      await next(socket, "hello");
      const { id } = socket;
      assert.equal(socket.recovered, false);
      keeper.server.sockets.sockets.get(id).conn.close();
      await next(socket, "disconnect");
      keeper.server.emit("missed", 1);
      assert.equal((await next(socket, "missed"))[0], 1);
      assert.deepEqual([socket.recovered, socket.id], [true, id]);
    });

    test("notices that the server has fallen silent", async () => {
      const sleepy = await startServer(0, { pingInterval: 60, pingTimeout: 40 });
      after(() => sleepy.close());
      const socket = io(sleepy.url, { WebSocket, forceNew: true, ...transports });
      sockets.push(socket);
      await next(socket, "connect");
      await next(socket.io, "ping");
      await next(socket.io, "ping");
      assert.equal(socket.connected, true);
      const { conn } = sleepy.server.sockets.sockets.get(socket.id);
      conn.sendPacket = () => {};  // alive, but never pings again
      assert.equal((await next(socket, "disconnect"))[0], "ping timeout");
    });
  });
}
