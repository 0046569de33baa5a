// What the scenarios share: npm's socket.io-client, a record of what each client
// heard, and waiting for it without sleeping.
//
// A script exports its scenario, an async function of the words of the command line. What it
// returns is printed as JSON, and pytest judges. driver.cjs runs one after the other in one process.
"use strict";

const { EventEmitter, once } = require("node:events");
const { io } = require("socket.io-client");

const CLIENTS = {
  2: require("socket.io-client-2"),
  3: require("socket.io-client-3"),
  4: io,
};

const DEADLINE_MS = 150_000; // for a whole scenario; pytest waits for its outcome

const MODES = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

// The arguments of the next event of that name; not all emitters of all versions are Node's.
const next = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));

const clients = [];

// A client that is not connected yet, with `log`, what it heard so far.
const open = (url, mode, options = {}) => {
  const socket = io(url, { transports: MODES[mode], forceNew: true, ...options });
  const log = [];
  const notices = new EventEmitter();
  const parsed = (data) => (typeof data === "string" && data[0] === "{" ? JSON.parse(data) : data);
  socket.on("message", (data) => {
    log.push(parsed(data));
    notices.emit("heard");
  });
  const heard = async (count) => {
    while (log.length < count) await once(notices, "heard");
  };
  const client = { socket, log, heard, errors: [] };
  socket.on("connect_error", (error) => client.errors.push(error.message));
  clients.push(client);
  return client;
};

// Resolves once the client has left polling behind; at once for the other modes.
const upgraded = async ({ socket }, mode) => {
  const { engine } = socket.io;
  if (mode === "upgrade" && engine.transport.name !== "websocket") await once(engine, "upgrade");
};

const say = (object) => console.log(JSON.stringify(object));

// Run a scenario to its end, or say where each client stood when time ran out.
const perform = async (scenario, args) => {
  const deadline = scenario.deadline ?? DEADLINE_MS;
  const timer = setTimeout(() => {
    console.error(`not done after ${deadline} ms`);
    for (const { socket, log, errors } of clients) {
      console.error(JSON.stringify({ id: socket.id, connected: socket.connected, errors, log }));
    }
    process.exit(1);
  }, deadline);
  const outcome = await scenario(...args);
  clearTimeout(timer);
  for (const { socket } of clients.splice(0)) socket.disconnect();
  return outcome;
};

// The same from the command line.
const run = async (scenario) => {
  const outcome = await perform(scenario, process.argv.slice(2));
  if (outcome !== undefined) say(outcome);
  process.exit(0); // a client that leaves its connection to the garbage must not keep us here
};

module.exports = { CLIENTS, MODES, next, open, once, perform, run, say, upgraded };
