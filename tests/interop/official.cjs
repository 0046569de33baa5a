// node official.cjs URL 2|3|4 polling|websocket|upgrade
// What people do with npm's socket.io-client, of each version that still is in use, at
// tests/apps/scenarios.rbr: what came of each thing.
"use strict";

const { CLIENTS, MODES, next, run } = require("./clients.cjs");

const asked = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
const plain = (value) => JSON.parse(JSON.stringify(value, (key, inner) =>
  inner?.type === "Buffer" ? { hex: Buffer.from(inner.data).toString("hex") } : inner));

const MESSAGES = Array.from({ length: 300 }, (_, number) => number);

const scenario = async (url, version, mode) => {
  const io = CLIENTS[version];
  // Version 2 knows no auth, but the query of a namespace; a refusal is an error, which is its data.
  const [auth, refusal] = version === "2" ? ["query", "error"] : ["auth", "connect_error"];
  const sockets = [];
  const open = (path = "", options = {}) => {
    const socket = io(url + path, { transports: MODES[mode], forceNew: true, ...options });
    sockets.push(socket);
    return socket;
  };
  const seen = {};

  const a = open("", { [auth]: { token: "é" } });
  const [hello] = await next(a, "hello");
  seen.auth = (hello[auth] ?? {}).token;
  const [namespace, id] = await asked(a, "who");
  seen.connected = [namespace, id === a.id, a.connected];
  a.emit("echo", "é 🐟 \u2028", { nested: [1, null, true] });
  seen.event = await next(a, "echo");
  a.emit("echo", Buffer.from([0, 255]), { deep: [Buffer.from("€🐟")] }, Buffer.alloc(0));
  seen.bytes = plain(await next(a, "echo"));
  seen.answer = plain(await asked(a, "echo", 1, { two: Buffer.from([2]) }));
  seen.empty = await asked(a, "echo");
  a.on("question", (question, reply) => reply(question, Buffer.from([7])));
  a.emit("ask me", "why?");
  seen.answered = plain(await next(a, "answered"));

  const heard = [];
  const all = new Promise((resolve) => {
    a.on("message", (number) => heard.push(number) === MESSAGES.length && resolve());
  });
  for (const number of MESSAGES) a.send(number);
  await all;
  seen.order = heard;
  const { engine } = a.io;
  if (mode === "upgrade" && engine.transport.name !== "websocket") await next(engine, "upgrade");
  seen.transport = engine.transport.name;

  const room = a.io.socket("/room");
  seen.namespace = await asked(room, "who");
  seen.namespace[1] = seen.namespace[1] === room.id;
  await asked(room, "join", "den");
  const other = open("/room");
  other.emit("tell room", "den", { psst: Buffer.from([1]) });
  seen.room = plain(await next(room, "told"));

  seen.unknown = plain((await next(open("/nowhere"), refusal)).map((error) => error.message ?? error));
  const [refused] = await next(open("/closed"), refusal);
  seen.refused = version === "2" ? refused : [refused.message, refused.data];
  await next(open("/closed", { [auth]: { ticket: "valid" } }), "connect");

  await asked(a, "join", "witnesses");
  const leaver = open();
  await next(leaver, "hello");
  const left = next(a, "left");
  const { id: leaversId } = leaver;
  leaver.disconnect();
  const [[who, reason]] = await left;
  seen.left = [who === leaversId, reason];

  room.disconnect(); // version 2 can't connect "/" again to a connection that others hold open
  const out = next(a, "disconnect");
  a.emit("go", true);
  seen.out = (await out)[0];
  a.connect();
  await next(a, "hello");
  for (const socket of sockets) socket.disconnect();
  return seen;
};

module.exports = { scenario };
if (require.main === module) run(scenario);
