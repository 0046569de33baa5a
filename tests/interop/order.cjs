// node order.cjs URL
// One client counts to 2000 and moves from polling to websocket in the midst of it.
// How far it had counted at each step of the move, and every echo.
"use strict";

const { NodeWebSocket, NodeXHR } = require("engine.io-client");
const { open, once, run, upgraded } = require("./clients.cjs");

const LAST = 2000;
const ON_POLLING = 300; // echoes heard over polling before the probe may begin
const FOR_WEBSOCKET = 500; // numbers kept until the move is over
const BATCH = 10; // small, so that the requests of the probe find their way between

// On loopback the probe is over before the first message is sent, and the test would
// show nothing: so the websocket waits for its gate.
const lateWebSocket = (gate) =>
  class LateWebSocket extends NodeWebSocket {
    doOpen() {
      gate.then(() => super.doOpen());
    }
  };

const scenario = async (url) => {
  let openGate;
  const LateWebSocket = lateWebSocket(new Promise((resolve) => (openGate = resolve)));
  const client = open(url, "upgrade", { transports: [NodeXHR, LateWebSocket] });
  const { socket, log } = client;
  const sent = {};
  let number = 0;
  const sendUpTo = (bound) => {
    while (number < bound) socket.send((number += 1));
  };

  sendUpTo(100); // kept by the client until it is connected
  await once(socket, "connect");
  sent.connect = number;
  const { engine } = socket.io;
  const first = engine.transport.name;
  for (const step of ["upgrading", "upgrade"]) {
    engine.once(step, () => {
      sent[step] = number;
      sendUpTo(number + BATCH); // in the very turn of the change
    });
  }
  client.heard(ON_POLLING).then(openGate);
  while (sent.upgrade === undefined && number < LAST - FOR_WEBSOCKET) {
    sendUpTo(number + BATCH);
    await client.heard(number - 200); // never far ahead: there must be something left to send
  }
  await upgraded(client, "upgrade");
  sendUpTo(LAST);
  await client.heard(LAST);

  socket.send("end"); // whatever was doubled stands before it, or comes with it
  await client.heard(LAST + 1);
  return { transports: [first, engine.transport.name], sent, heard: log };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
