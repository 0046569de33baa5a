// What a WebSocket of any browser, or of npm's ws, does at tests/apps/plain.rbr: the same code
// for all. `connect(query, subprotocols)` opens one. What came of it.
"use strict";

const talk = async (connect) => {
  const opened = (query, subprotocols) =>
    new Promise((resolve, reject) => {
      const socket = connect(query, subprotocols);
      socket.binaryType = "arraybuffer";
      const heard = [];
      const waiting = [];
      socket.onmessage = ({ data }) => {
        const text = typeof data === "string" ? data : [...new Uint8Array(data)];
        if (waiting.length) waiting.shift()(text);
        else heard.push(text);
      };
      socket.next = () =>
        heard.length ? Promise.resolve(heard.shift()) : new Promise((done) => waiting.push(done));
      socket.ended = new Promise((done) => {
        socket.onclose = ({ code, reason, wasClean }) => done([code, reason, wasClean]);
      });
      socket.onopen = () => resolve(socket);
      socket.onerror = () => reject(new Error("refused"));
    });

  const seen = {};
  const a = await opened("", ["talk.v1", "talk.v2"]);
  seen.greeting = await a.next();
  seen.chosen = a.protocol;
  seen.extensions = a.extensions;
  const long = "é€🐟 ".repeat(20000);
  const bytes = new Uint8Array(5000).map((_, index) => index % 251);
  seen.said = [];
  for (const message of ["hello", "", long, bytes, new Uint8Array(0)]) {
    a.send(message);
    const back = await a.next();
    const sent = typeof message === "string" ? message : [...message];
    seen.said.push(JSON.stringify(back) === JSON.stringify(sent));
  }
  for (let number = 0; number < 300; number += 1) a.send(`${number} ${"x".repeat(number * 10)}`);
  seen.heard = [];
  for (let number = 0; number < 300; number += 1) seen.heard.push(parseInt(await a.next(), 10));
  a.send("close");
  seen.closedByServer = await a.ended;

  const b = await opened("");
  seen.other = await b.next();
  b.close(4002, "enough");
  seen.closedByClient = await b.ended;
  seen.refused = await opened("?token=wrong").then(() => "let in", (error) => error.message);
  return seen;
};

if (typeof module !== "undefined") module.exports = { talk };
