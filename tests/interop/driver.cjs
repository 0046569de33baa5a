// node driver.cjs
// Runs scenarios in one process, and so in one Chromium and one Firefox: each line that comes,
// {"script": "chat.cjs", "args": [...]}, is answered by one, {"value": ...} or {"error": "..."},
// before which a scenario may say more, {"step": ...}.
// Behind an error it ends, so that what was left behind disturbs no other scenario.
"use strict";

const { createInterface } = require("node:readline");
const { quit, tidy } = require("./browser.cjs");
const { perform, say } = require("./clients.cjs");

const serve = async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    const { script, args } = JSON.parse(line);
    try {
      say({ value: (await perform(require(`./${script}`).scenario, args)) ?? null });
    } catch (error) {
      say({ error: error.stack });
      break;
    }
    await tidy();
  }
  await quit();
  process.exit(0);
};

serve();
