// node shout.cjs URL
// The page of the README in two windows: what is typed in one is heard in the other.
"use strict";

const { launch, visit } = require("./browser.cjs");
const { run } = require("./clients.cjs");

const scenario = async (url) => {
  const browser = await launch();
  const visits = await Promise.all([0, 1].map(() => visit(browser, url)));
  const [speaker, listener] = visits.map(({ page }) => page);
  for (const { page } of visits) await page.waitForFunction("socket.connected");
  await speaker.locator("input").fill("<i>hello</i>");
  await speaker.keyboard.press("Enter");
  await listener.locator("#heard", { hasText: "hello" }).waitFor();
  return {
    speaker: await speaker.locator("#heard").textContent(),
    listener: await listener.locator("#heard").textContent(),
    left: await speaker.locator("input").inputValue(),
    // Less that of its icon: it has none.
    faults: visits.flatMap(({ faults }) => faults).filter((text) => !/status of 404/.test(text)),
  };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
