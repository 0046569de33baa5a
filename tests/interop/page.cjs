// node page.cjs URL ours|official chromium|firefox
// Two people talk through the chat's page, a third comes late, one leaves: what each page shows
// at the end.
"use strict";

const path = require("node:path");
const { enter, launch } = require("./browser.cjs");
const { run } = require("./clients.cjs");

const OFFICIAL = path.join(path.dirname(require.resolve("socket.io-client/package.json")), "dist", "socket.io.js");
const MARKUP = `<b id="injected">bold</b><img src="x" onerror="document.title='injected'">`;

const scenario = async (url, client, kind) => {
  const browser = await launch(kind);
  const options = { official: client === "official" ? OFFICIAL : null };
  const a = await enter(browser, url, options);
  const b = await enter(browser, url, options);
  await a.sees(/ connected/);

  await a.type("hello from a");
  await b.sees("hello from a");
  await b.click("hello from b");
  await a.sees("hello from b");
  await a.type(MARKUP);
  await b.sees(MARKUP);

  const c = await enter(browser, url, options);
  await c.sees("hello from b"); // from the buffer
  const injected = await Promise.all([a, b, c].map(({ page }) => page.locator("#injected").count()));
  await b.sees(/ connected/); // c is
  const bLog = await b.log();
  await b.leave();
  await a.sees(/ disconnected/);
  await c.sees(/ disconnected/);

  return {
    injected,
    titles: await Promise.all([a, c].map(({ page }) => page.title())),
    live: await a.page.locator("#log").getAttribute("aria-live"),
    swaps: [a, b, c].map(({ swaps }) => swaps()),
    a: await a.log(),
    b: bLog,
    c: await c.log(),
    faults: [...a.faults, ...b.faults, ...c.faults],
  };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
