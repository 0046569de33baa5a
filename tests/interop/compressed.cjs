// node compressed.cjs URL polling|websocket|upgrade
// Long messages and binary ones, there and back. How many came back as they were, and what was
// agreed on with the WebSocket.
"use strict";

const { isDeepStrictEqual } = require("node:util");
const { once, open, run, upgraded } = require("./clients.cjs");

const scenario = async (url, mode) => {
  const client = open(url, mode);
  await once(client.socket, "connect");
  await upgraded(client, mode);
  const sent = [];
  for (let number = 0; number < 60; number += 1) {
    const bytes = Buffer.from(Array.from({ length: 3000 }, (_, at) => (at * number) % 256));
    sent.push(number % 3 ? { number, words: "é🐟 word ".repeat(number * 100) } : { number, bytes });
    client.socket.send(sent.at(-1));
  }
  await client.heard(sent.length);
  const { engine } = client.socket.io;
  return {
    same: client.log.filter((message, at) => isDeepStrictEqual(message, sent[at])).length,
    transport: engine.transport.name,
    extensions: engine.transport.ws?.extensions,
  };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
