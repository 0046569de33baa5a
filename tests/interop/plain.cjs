// node plain.cjs URL ws|chromium|firefox
// A plain WebSocket, of npm's ws or of a browser's page, at tests/apps/plain.rbr. What came of it.
"use strict";

const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { run } = require("./clients.cjs");
const { talk } = require("./talk.js");

const inNode = (url) => {
  const WebSocket = require("ws");
  const options = { perMessageDeflate: { threshold: 100 } };
  return talk((query, subprotocols) => new WebSocket(`${url.replace("http", "ws")}/ws${query}`, subprotocols, options));
};

const inPage = async (url, kind) => {
  const { launch, visit } = require("./browser.cjs");
  const { page } = await visit(await launch(kind), url);
  const source = readFileSync(join(__dirname, "talk.js"), "utf8");
  return page.evaluate(`(() => {
    ${source}
    const at = location.origin.replace("http", "ws") + "/ws";
    return talk((query, subprotocols) => new WebSocket(at + query, subprotocols ?? []));
  })()`);
};

const scenario = (url, where) => (where === "ws" ? inNode(url) : inPage(url, where));

module.exports = { scenario };
if (require.main === module) run(scenario);
