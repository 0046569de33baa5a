// node old_page.cjs URL ORIGIN jsonp|xhr|upgrade
// A page of Socket.IO 2 in Chromium that opens its socket at ORIGIN. What came of it.
"use strict";

const { launch, visit } = require("./browser.cjs");
const { run } = require("./clients.cjs");

const OPTIONS = {
  jsonp: { transports: ["polling"], forceJSONP: true },
  xhr: { transports: ["polling"] },
  upgrade: {},
};

// In the page.
const talk = ({ origin, options }) =>
  new Promise((resolve) => {
    const socket = io(origin, { ...options, query: { token: "abc" }, reconnection: false });
    const seen = {};
    socket.on("connect_error", (error) => resolve({ error: String(error.message ?? error) }));
    socket.on("welcome", (sid, token) => {
      seen.welcome = [sid === socket.id, token];
      // What browsers do to line breaks and backslashes in forms.
      socket.emit("words", "a\nb\r\nc\\nd\\\\ne \u2028 é 🐟 <b>&amp;</b>");
    });
    socket.on("words", (words) => {
      seen.words = words;
      socket.emit("bytes", new Uint8Array([0, 255, 10, 13]).buffer);
    });
    socket.on("bytes", async (data) => {
      // JSONP gives them as a Blob or as an object with base64.
      seen.bytes = data.base64 ? data.data : [...new Uint8Array(data)];
      socket.emit("add", 1, 2, (sum) => {
        seen.sum = sum;
        const finish = () => {
          seen.transport = socket.io.engine.transport.name;
          socket.close();
          resolve(seen);
        };
        const { engine } = socket.io;
        if (options.transports || engine.transport.name === "websocket") finish();
        else engine.once("upgrade", finish);
      });
    });
  });

const scenario = async (url, origin, mode) => {
  const browser = await launch();
  const { page } = await visit(browser, url);
  const kinds = new Set();
  page.on("request", (request) => {
    if (request.url().includes("/socket.io/")) kinds.add(request.resourceType());
  });
  const seen = await page.evaluate(talk, { origin, options: OPTIONS[mode] });
  return { ...seen, kinds: [...kinds].sort() };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
