// node engine_client.cjs URL polling|websocket|upgrade
// What engine.io-client does at a path with method ENGINEIO. What came of it.
"use strict";

const { Socket } = require("engine.io-client");
const { once, run } = require("./clients.cjs");

const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

const scenario = async (url, mode) => {
  const open = (query = {}) => new Socket(url, { transports: TRANSPORTS[mode], query });
  const next = async (socket) => {
    const [data] = await once(socket, "message");
    return Buffer.isBuffer(data) ? { hex: data.toString("hex") } : data;
  };
  const seen = {};

  const a = open({ token: "right" });
  await once(a, "open");
  seen.sid = a.id.length;
  const said = ["hello", "", 'é € 🐟 \u2028 "\\"', Buffer.from([0, 255]), Buffer.alloc(0), "42[]"];
  seen.said = [];
  for (const message of said) {
    a.send(message);
    seen.said.push(await next(a));
  }

  const heard = [];
  const all = new Promise((resolve) => {
    a.on("message", (data) => heard.push(data) === 300 && resolve());
  });
  for (let number = 0; number < 300; number += 1) a.send(`${number}`);
  await all;
  seen.heard = heard;
  if (mode === "upgrade" && a.transport.name !== "websocket") await once(a, "upgrade");
  seen.transport = a.transport.name;

  const b = open();
  await once(b, "open");
  a.send("to the others");
  seen.told = await next(b);

  a.send("go");
  seen.closed = (await once(a, "close"))[0];
  const c = open({ token: "wrong" });
  const [error] = await once(c, "error");
  seen.refused = [error.message, error.description];
  b.close();
  return seen;
};

module.exports = { scenario };
if (require.main === module) run(scenario);
