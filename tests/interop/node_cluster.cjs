// node node_cluster.cjs SOCKET
// A server of Socket.IO with @socket.io/redis-adapter on the Redis behind that Unix socket. It says
// its port; then each line of standard input is JavaScript about `io`, answered by its value.
"use strict";

const { createInterface } = require("node:readline");
const { createClient } = require("@redis/client");
const { createAdapter } = require("@socket.io/redis-adapter");
const { Server } = require("socket.io");

const serve = async (path) => {
  const redis = createClient({ socket: { path } });
  const heard = redis.duplicate();
  await Promise.all([redis.connect(), heard.connect()]);
  const io = new Server(0, { adapter: createAdapter(redis, heard) });
  console.log(io.httpServer.address().port);
  for await (const line of createInterface({ input: process.stdin })) {
    const value = await new Function("io", `return (${JSON.parse(line)})`)(io);
    await redis.ping(); // behind what was published
    console.log(JSON.stringify(value ?? null));
  }
  process.exit(0);
};

serve(...process.argv.slice(2));
