// node old_client.cjs URL polling|websocket|upgrade
// All that a client of Socket.IO 2 does, one thing after the other. What came of each.
"use strict";

const { once: onceOf } = require("node:events");
const io = require("socket.io-client-2");
const { run } = require("./clients.cjs");

const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
const asked = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...back) => resolve(back)));
const bytes = (value) => (Buffer.isBuffer(value) ? { hex: value.toString("hex") } : value);

const scenario = async (url, mode) => {
  const open = (path = "", options = {}) =>
    io(url + path, { transports: TRANSPORTS[mode], forceNew: true, reconnectionDelay: 50, ...options });
  const seen = {};

  const a = open("", { query: { token: "abc" } });
  seen.welcome = await once(a, "welcome");
  seen.id = a.id;
  a.emit("words", "é 🐟 \u2028", { nested: [1, null, true] });
  seen.words = await once(a, "words");
  a.emit("bytes", Buffer.from([0, 255]), { deep: [Buffer.from("€🐟")] }, "text €");
  const [first, { deep }, text] = await once(a, "bytes");
  seen.bytes = [bytes(first), bytes(deep[0]), text];
  seen.sum = await asked(a, "add", 1, 2, 39);
  seen.back = (await asked(a, "bytes back", Buffer.from([1, 2]))).map(bytes);
  a.on("question", (data, reply) => reply(bytes(data), Buffer.from([7])));
  a.emit("ask me");
  seen.answered = (await once(a, "answered")).map(bytes);

  const heard = [];
  const all = new Promise((resolve) => {
    a.on("n", (number) => heard.push(number) === 300 && resolve());
  });
  for (let number = 0; number < 300; number += 1) a.emit("n", number);
  await all;
  seen.heard = heard;
  const { engine } = a.io;
  if (mode === "upgrade" && engine.transport.name !== "websocket") await onceOf(engine, "upgrade");
  seen.transport = engine.transport.name;

  const b = open();
  await once(b, "welcome");
  await asked(b, "join", "den");
  a.emit("tell", "den", "psst");
  seen.told = await once(b, "told");

  const news = open("/news", { query: { name: "né" } });
  [seen.news] = await once(news, "message");
  seen.newsId = news.id;
  news.send("extra");
  seen.extra = await once(news, "message");
  seen.refused = await once(open("/members", { query: { name: "you" } }), "error");
  const member = open("/members", { query: { name: "me" } });
  await once(member, "connect");
  seen.unknown = await once(open("/nowhere"), "error");

  b.emit("turn me out");
  seen.out = await once(b, "disconnect");
  const before = a.id;
  const [lost, again] = [once(a, "disconnect"), once(a, "welcome")];
  a.io.engine.close();
  seen.lost = await lost;
  await again;
  seen.isNew = a.id !== before;
  a.disconnect();
  return seen;
};

module.exports = { scenario };
if (require.main === module) run(scenario);
