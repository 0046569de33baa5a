// node reconnect.cjs URL
// One client of each kind. Prints a line when all are connected, one when the server
// has told all of them that it goes, and one when all are back and were heard.
"use strict";

const { open, once, run, say, upgraded } = require("./clients.cjs");

const MODES = ["polling", "websocket", "upgrade"];

const scenario = async (url) => {
  const options = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
  const clients = MODES.map((mode) => open(url, mode, options));
  const all = (wait) => Promise.all(clients.map((client, index) => wait(client, MODES[index])));

  await all(({ socket }) => once(socket, "connect"));
  await all(upgraded);
  const first = clients.map(({ socket }) => socket.id);
  const farewell = all(({ socket }) => once(socket, "disconnect"));
  say({ step: "connected" });

  const reasons = (await farewell).map(([reason, details]) => ({
    reason,
    code: details?.context?.code ?? details?.description ?? null,
  }));
  const back = all(({ socket }) => once(socket, "connect"));
  say({ step: "told", reasons });

  await back;
  for (const { socket } of clients) socket.send(socket.id);
  await all((client) => client.heard(1));
  const second = clients.map(({ socket }) => socket.id);
  say({ step: "back", first, second, heard: clients.map(({ log }) => log) });
};

module.exports = { scenario };
if (require.main === module) run(scenario);
