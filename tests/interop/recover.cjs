// node recover.cjs URL polling|websocket|upgrade
// Loses its connection, and comes back after others have spoken. What it heard.
"use strict";

const { open, once, run, upgraded } = require("./clients.cjs");

const here = async (url) => (await (await fetch(`${url}/count`)).json())[0];

const scenario = async (url, mode) => {
  const client = open(url, mode, { reconnection: false });
  const { socket } = client;
  const welcomes = [];
  socket.on("welcome", (recovered, note, rooms) => welcomes.push([recovered, note, rooms]));
  const tell = (text) => fetch(`${url}/tell`, { method: "POST", body: text });

  await once(socket, "connect");
  await upgraded(client, mode);
  const before = [socket.id, socket.recovered];
  await socket.timeout(60_000).emitWithAck("remember", "red");
  await tell("one");
  await client.heard(2);

  const gone = once(socket, "disconnect");
  const { transport } = socket.io.engine;
  if (transport.name === "websocket") transport.ws.terminate();
  else socket.io.engine.close();
  const [reason] = await gone;
  while (await here(url)) { /* the server has not noticed yet */ }
  await tell("two");
  await tell("three");
  socket.connect();
  await once(socket, "connect");
  const after = [socket.id, socket.recovered];
  await tell("four");
  await client.heard(8);
  // Binary comes as a Buffer, and each event with its offset behind it.
  const heard = client.log.map((data) => (data.content ? String(data.content) : data));
  return { before, after, reason, heard, welcomes };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
