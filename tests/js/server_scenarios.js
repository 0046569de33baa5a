/* Our client against our server: RBL_URL is that of tests/apps/echo.rbr, which says back what it
   hears. tests/test_client_js.py starts both. */

"use strict";

const assert = require("node:assert/strict");
const { after, test } = require("node:test");
const io = require("../../redbarrel_lite/static/socket.io.js");

const URL_OF_ECHO = process.env.RBL_URL;
const LAST = 2000;
const ON_POLLING = 300;  // echoes heard over polling before the probe may leave
const AHEAD = 100;       // numbers said and not yet heard, so that there is always some in flight
const sockets = [];
after(() => sockets.forEach((socket) => socket.disconnect()));

function open(options) {
  const socket = io(URL_OF_ECHO, { forceNew: true, ...options });
  socket.on("disconnect", (reason) =>
    assert.equal(reason, "io client disconnect"));
  sockets.push(socket);
  return socket;
}

/* Counts to `last`, never far ahead of the echo, and returns the echoes. "end" comes last: what
   was doubled stands before it. */
function count(socket, last, heard = () => {}) {
  const echoes = [];
  let said = 0;
  const sayMore = () => {
    while (said < last && said < echoes.length + AHEAD) socket.send(said++);
    if (echoes.length === last) socket.send("end");
  };
  return new Promise((resolve) => {
    socket.on("message", (number) => {
      if (number === "end") return resolve(echoes);
      echoes.push(number);
      heard(echoes.length);
      sayMore();
    });
    sayMore();
  });
}

const upTo = (last) => Array.from({ length: last }, (_, number) => number);

for (const transport of ["polling", "websocket"]) {
  const skip = transport === "websocket" && !globalThis.WebSocket && "this node has no WebSocket";
  test(`${transport}: any JSON comes back`, { skip }, async () => {
    const socket = open({ transports: [transport] });
    const values = ["é\u2028\x1e🎈\"\\", 1.5, -0.25, true, null, [], {}, { deep: [{ er: [1] }] }];
    const echoes = [];
    const done = new Promise((resolve) => socket.on("message", (value) => {
      if (echoes.push(value) === values.length) resolve();
    }));
    socket.send(...values);
    await done;
    assert.deepEqual(echoes, values);
    assert.equal(socket.io.engine.transport.name, transport);
  });

  test(`${transport}: ${LAST} messages keep their order`, { skip }, async () => {
    const socket = open({ transports: [transport] });
    assert.deepEqual(await count(socket, LAST), upTo(LAST));
  });
}

test(`${LAST} messages keep their order through the upgrade, none lost, none twice`,
     { skip: globalThis.WebSocket ? false : "this node has no WebSocket" }, async () => {
  let openGate;
  const gate = new Promise((resolve) => { openGate = resolve; });
  // On loopback the upgrade would be over before there is anything to keep in order.
  class LateWebSocket extends WebSocket {
    send(data) {
      if (data === "2probe") gate.then(() => super.send(data));
      else super.send(data);
    }
  }
  const socket = open({ WebSocket: LateWebSocket });
  let heardAtUpgrade = 0;
  const echoes = await count(socket, LAST, (heard) => {
    if (heard === ON_POLLING) openGate();
    if (socket.io.engine.transport.name === "polling") heardAtUpgrade = heard;
  });
  assert.deepEqual(echoes, upTo(LAST));
  assert.equal(socket.io.engine.transport.name, "websocket");
  assert.ok(heardAtUpgrade >= ON_POLLING && heardAtUpgrade < LAST, `upgraded at ${heardAtUpgrade}`);
});
