// node chat.cjs URL polling|websocket|upgrade [ORIGIN [PATH]]
// Three people in the chat: who they were, and what each heard.
"use strict";

const { open, run, upgraded } = require("./clients.cjs");

const LINES = Array.from({ length: 35 }, (_, number) => `line ${number}`);

const scenario = async (url, mode, origin, path) => {
  const options = origin ? { extraHeaders: { Origin: origin } } : {}; // as a browser sends it
  if (path) options.path = path;
  const a = open(url, mode, options);
  await a.heard(1); // the buffer
  const b = open(url, mode, options);
  await Promise.all([a.heard(2), b.heard(1)]); // b's coming; the buffer

  a.socket.send("hello ✓ \u{1F600}");
  await b.heard(2);
  b.socket.send('"quoted" \\ \u2028 back');
  await a.heard(3);
  for (const line of LINES) a.socket.send(line);
  await b.heard(2 + LINES.length);

  const c = open(url, mode, options); // the late-comer
  await Promise.all([c.heard(1), a.heard(4), b.heard(3 + LINES.length)]);
  const ids = { a: a.socket.id, b: b.socket.id, c: c.socket.id };
  await Promise.all([a, b, c].map((client) => upgraded(client, mode)));
  const transports = [a, b, c].map(({ socket }) => socket.io.engine.transport.name);

  b.socket.disconnect();
  await Promise.all([a.heard(5), c.heard(2)]); // b's leaving
  // Had the sender got its own words, or anybody anything twice, it would stand before these.
  c.socket.send("the end");
  await a.heard(6);
  a.socket.send("the end");
  await c.heard(3);
  return { ids, transports, a: a.log, b: b.log, c: c.log };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
