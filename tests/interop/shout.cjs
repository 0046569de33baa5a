// node shout.cjs URL
// The page of the README in two windows: what is typed in one is heard in the other.
"use strict";

const { launch } = require("./browser.cjs");
const { run } = require("./clients.cjs");

const scenario = async (url) => {
  const browser = await launch();
  const faults = [];
  const [speaker, listener] = await Promise.all(
    [0, 1].map(async () => {
      const page = await browser.newPage();
      page.on("pageerror", (error) => faults.push(String(error)));
      await page.goto(url);
      await page.waitForFunction("socket.connected");
      return page;
    }),
  );
  await speaker.locator("input").fill("<i>hello</i>");
  await speaker.keyboard.press("Enter");
  await listener.locator("#heard", { hasText: "hello" }).waitFor();
  return {
    speaker: await speaker.locator("#heard").textContent(),
    listener: await listener.locator("#heard").textContent(),
    left: await speaker.locator("input").inputValue(),
    faults,
  };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
