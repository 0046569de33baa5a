// node official_server.cjs [PORT]
// npm's socket.io as the other end of scenarios.js; tests/apps/scenarios.rbr speaks the same words.
// Prints its port, and serves until it is killed.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

// In each namespace that has people in it.
const serve = (socket) => {
  const { auth, query } = socket.handshake;
  socket.emit("hello", { auth, query });
  socket.on("message", (...args) => socket.send(...args));
  socket.on("echo", (...args) => {
    const reply = args.at(-1);
    if (typeof reply === "function") reply(...args.slice(0, -1));
    else socket.emit("echo", ...args);
  });
  socket.on("say", (event, ...args) => socket.emit(event, ...args));
  socket.on("who", (reply) => reply(socket.nsp.name, socket.id));
  socket.on("ask me", (question) => {
    socket.emit("question", question, (...answers) => socket.emit("answered", answers));
  });
  socket.on("ask me nothing", () => socket.emit("question"));
  socket.on("join", (room, reply) => {
    socket.join(room);
    reply();
  });
  socket.on("tell room", (room, what) => socket.to(room).emit("told", what));
  socket.on("go", (hard) => socket.disconnect(hard));
  socket.on("disconnect", (reason) => socket.to("witnesses").emit("left", [socket.id, reason]));
};

const http = createServer((request, response) => {
  response.writeHead(request.url === "/" ? 200 : 404, { "content-type": "text/html" });
  response.end('<!doctype html><title>scenarios</title><link rel="icon" href="data:,">');
});

const PATHS = {
  "/socket.io/": {},
  "/quick/socket.io/": { pingInterval: 200, pingTimeout: 400 },
  "/keeper/socket.io/": { connectionStateRecovery: {} },
};

for (const [path, options] of Object.entries(PATHS)) {
  const server = new Server(http, { path, cors: { origin: "*" }, destroyUpgrade: false, ...options });
  server.on("connection", serve);
  server.of("/room").on("connection", serve);
  const closed = server.of("/closed").on("connection", serve);
  closed.use(({ handshake: { auth } }, next) =>
    next(auth.ticket === "valid" ? undefined
      : Object.assign(new Error("members only"), { data: { code: 7, why: ["no", "card"] } })));
}

http.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(http.address().port));
