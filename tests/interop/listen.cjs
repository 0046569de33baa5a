// node listen.cjs URL polling|websocket|upgrade
// Connects, says "here", and prints its id, then each thing it hears, until it is killed.
// Whoever has heard "here" knows that the poll before it waits at the server.
"use strict";

const { open, once, run, say, upgraded } = require("./clients.cjs");

const scenario = async (url, mode) => {
  const client = open(url, mode);
  await Promise.all([once(client.socket, "connect"), client.heard(1)]);
  await upgraded(client, mode);
  say({ id: client.socket.id });
  client.socket.send("here");
  for (let count = 2; ; count += 1) {
    await client.heard(count);
    say(client.log[count - 1]);
  }
};

module.exports = { scenario };
if (require.main === module) run(scenario);
