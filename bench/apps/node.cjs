// Node's own http, socket.io at /socket.io/ and ws at /ws: node node.cjs PORT, MODE=echo|fanout.
const http = require("node:http");
const { Server } = require("socket.io");
const { WebSocketServer, WebSocket } = require("ws");

const echo = process.env.MODE === "echo";
const server = http.createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-length": 11 });
  response.end("Hello World");
});

new Server(server).on("connection", (socket) => {
  socket.on("message", (text) => (echo ? socket : socket.broadcast).emit("message", text));
});

const plain = new WebSocketServer({ noServer: true, path: "/ws", perMessageDeflate: false });
plain.on("connection", (socket) => {
  socket.on("message", (data, binary) => {
    if (echo) socket.send(data, { binary });
    else for (const other of plain.clients)
      if (other !== socket && other.readyState === WebSocket.OPEN) other.send(data, { binary });
  });
});
server.on("upgrade", (request, socket, head) => {
  if (request.url !== "/ws") return;  // socket.io listens too
  plain.handleUpgrade(request, socket, head, (one) => plain.emit("connection", one, request));
});

server.listen(Number(process.argv[2]), "127.0.0.1", 1024);
