// node reference.cjs
// The reference server, with what tests/apps/protocol_socketio.rbr has, and the reference's
// defaults; says where it serves, and serves until it is killed.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { maxHttpBufferSize: 1000000, cors: { origin: "*" } });

for (const namespace of ["/", "/custom"]) {
  io.of(namespace).on("connection", (socket) => {
    socket.emit("auth", socket.handshake.auth);
    socket.onAny((event, ...args) => {
      const answer = args.at(-1);
      if (typeof answer === "function") answer(...args.slice(0, -1));
      else socket.emit("message-back", ...args);
    });
  });
}

http.listen(0, "127.0.0.1", () => {
  process.stdout.write(`http://127.0.0.1:${http.address().port}\n`);
});
