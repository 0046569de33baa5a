// node reconnect.cjs URL
// A client of each version over each transport. Prints a line when all are connected, one when
// all have lost the server, and one when all are back and were answered.
"use strict";

const { CLIENTS, MODES, next, run, say } = require("./clients.cjs");

const KINDS = Object.keys(CLIENTS).flatMap((version) => Object.keys(MODES).map((mode) => [version, mode]));
const OPTIONS = { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };

const scenario = async (url) => {
  const sockets = Object.fromEntries(
    KINDS.map(([version, mode]) => [
      `${version} ${mode}`,
      CLIENTS[version](url, { transports: MODES[mode], ...OPTIONS }),
    ]),
  );
  const all = async (of) => {
    const found = await Promise.all(Object.entries(sockets).map(async ([kind, one]) => [kind, await of(one)]));
    return Object.fromEntries(found);
  };
  const upgraded = async ({ io: { engine, opts } }) => {
    if (opts.transports.length > 1 && engine.transport.name === "polling") await next(engine, "upgrade");
  };

  await all((socket) => next(socket, "connect"));
  await all(upgraded);
  const first = await all(({ id }) => id);
  const farewells = all((socket) => next(socket, "disconnect"));
  say({ step: "connected" });

  const back = all((socket) => next(socket, "connect"));
  const lost = await farewells;
  const told = Object.entries(lost).map(([kind, [reason, details]]) => [
    kind,
    [reason, details?.context?.code ?? details?.description ?? null],
  ]);
  say({ step: "lost", reasons: Object.fromEntries(told) });

  await back;
  const answers = await all((socket) =>
    new Promise((resolve) => socket.emit("who", (namespace, id) => resolve([id, socket.id]))));
  say({ first, answers });
};

module.exports = { scenario };
if (require.main === module) run(scenario);
