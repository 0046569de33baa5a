// node scenes.cjs ours|official node|chromium|firefox PORT [WORDS OF A TITLE]
// The scenarios of js/scenarios.js with a client, in Node or in a page, against the server at PORT,
// over each transport: the outcomes. The three run side by side, each with a cord of its own.
"use strict";

const { once } = require("node:events");
const { readFileSync } = require("node:fs");
const { createServer } = require("node:http");
const path = require("node:path");

globalThis.WebSocket ??= require("ws"); // Node has one since 22, as browsers do

const { launch, visit } = require("./browser.cjs");
const { run } = require("./clients.cjs");
const { Cord } = require("./cord.cjs");
const { runScenarios } = require("./js/scenarios.js");

const OURS = path.join(__dirname, "../../redbarrel_lite/static/socket.io.js");
const OFFICIAL = path.join(path.dirname(require.resolve("socket.io-client/package.json")), "dist/socket.io.js");
const MODES = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

// Pages can't reach for a cord; they say at an address what they want: POST /cut.
const serveControl = async (cord) => {
  const control = createServer(async (request, response) => {
    await cord[request.url.slice(1)]();
    response.setHeader("access-control-allow-origin", "*").end();
  });
  control.listen(0, "127.0.0.1");
  await once(control, "listening");
  return control;
};

const inNode = (client, settings, cord) => {
  const io = client === "ours" ? require(OURS) : require("socket.io-client");
  return runScenarios({ ...settings, io, isOfficialInNode: client !== "ours", control: (word) => cord[word]() });
};

const inPage = async (browser, client, settings, cord) => {
  const { page } = await visit(browser, settings.url);
  const clientSource = readFileSync(client === "ours" ? OURS : OFFICIAL, "utf8");
  await page.addScriptTag({ content: clientSource });
  await page.addScriptTag({ path: path.join(__dirname, "js/scenarios.js") });
  const control = await serveControl(cord);
  const controlUrl = `http://127.0.0.1:${control.address().port}`;
  const outcomes = await page.evaluate(
    ({ controlUrl, ...rest }) =>
      runScenarios({ ...rest, io, control: (word) => fetch(`${controlUrl}/${word}`, { method: "POST" }) }),
    { ...settings, clientSource, controlUrl },
  );
  control.close();
  return outcomes;
};

const scenario = async (client, where, port, only = "") => {
  const browser = where === "node" ? null : await launch(where);
  const play = async ([mode, transports]) => {
    const cord = await Cord.to(Number(port));
    const settings = {
      url: `http://127.0.0.1:${cord.port}`,
      otherUrl: `http://127.0.0.1:${port}`,
      transports,
      only,
      isOfficial: client !== "ours",
    };
    const outcomes = await (browser ? inPage(browser, client, settings, cord) : inNode(client, settings, cord));
    cord.close();
    return outcomes.map((outcome) => ({ mode, ...outcome }));
  };
  return (await Promise.all(Object.entries(MODES).map(play))).flat();
};

scenario.deadline = 300_000; // thirty titles, some of which wait for a time-out

module.exports = { scenario };
if (require.main === module) run(scenario);
