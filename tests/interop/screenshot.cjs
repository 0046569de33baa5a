// node screenshot.cjs URL OUT.png
// The picture in the README: a chat with something in it, as the first person sees it.
"use strict";

const { enter, launch } = require("./browser.cjs");
const { run } = require("./clients.cjs");

const TALK = [
  ["a", "Is this the chat from the announcement?"],
  ["b", "The same loop, fifteen years later."],
  ["a", "And who comes late gets the last thirty lines?"],
  ["b", "Open a third window and see."],
];

const scenario = async (url, out) => {
  const browser = await launch();
  const window = { viewport: { width: 720, height: 540 }, deviceScaleFactor: 2 };
  const people = { a: await enter(browser, url, window), b: await enter(browser, url, window) };
  await people.a.sees(/ connected/);
  for (const [speaker, text] of TALK) {
    await people[speaker].type(text);
    await people[speaker === "a" ? "b" : "a"].sees(text);
  }
  await people.a.page.screenshot({ path: out });
};

module.exports = { scenario };
if (require.main === module) run(scenario);
