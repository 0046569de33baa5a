// node emitter.cjs SOCKET [KEY]
// Each line of standard input is JavaScript about `io`, an emitter on the Redis behind that Unix
// socket; it is answered by a line, true, when Redis has it.
"use strict";

const { createInterface } = require("node:readline");
const { createClient } = require("@redis/client");
const { Emitter } = require("@socket.io/redis-emitter");

const serve = async (path, key) => {
  const redis = createClient({ socket: { path } });
  await redis.connect();
  const io = new Emitter(redis, key ? { key } : {});
  for await (const line of createInterface({ input: process.stdin })) {
    new Function("io", JSON.parse(line))(io);
    await redis.ping(); // behind what was published
    console.log("true");
  }
  await redis.close();
};

serve(...process.argv.slice(2));
