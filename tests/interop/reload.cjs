// node reload.cjs URL FOLDER BROWSER [PICTURE.png]
// A developer's page in a browser, whose files are in FOLDER: it follows them, and shows what is
// wrong with the application, whatever that holds, until it is mended. What was shown.
"use strict";

const { readFileSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");
const { launch, visit } = require("./browser.cjs");
const { run } = require("./clients.cjs");
const { shrink } = require("./png.cjs");

// In the page, before its own scripts: from the first news on, it follows.
const watch = () => {
  globalThis.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", () => (globalThis.isFollowing = true));
    }
  };
};

const open = async (kind, url, colorScheme) => {
  const options = { viewport: { width: 900, height: 520 }, colorScheme };
  return visit(await launch(kind), url, options, (page) => page.addInitScript(watch));
};

// Not by waitForFunction, which in Firefox the page's policy for scripts is for, too.
const until = async (page, seen, wanted) => {
  while ((await page.evaluate(seen).catch(() => "")) !== wanted) await page.waitForTimeout(20);
};

const card = (page) => page.locator("redbarrel-fault section");

const scenario = async (url, folder, kind = "chromium", picture = "") => {
  const edit = (name, from, to) => {
    const file = join(folder, name);
    writeFileSync(file, readFileSync(file, "utf8").replace(from, to));
  };
  const heading = (page, text) => page.locator("h1", { hasText: text }).waitFor();
  const { page, faults } = await open(kind, url, "light");
  // Firefox is one of the two for all its pages.
  const dark = kind === "chromium" ? await open(kind, url, "dark") : { page, faults };
  // All of a page is there, of what it asks for too; who edits before that may be overlooked.
  const follow = async (greeting, see = async () => {}) => {
    for (const one of new Set([page, dark.page])) {
      await see(one);
      await heading(one, greeting);
      await until(one, () => globalThis.isFollowing, true);
    }
  };
  await follow("Good morning");
  if (picture) {
    edit("hello.py", 'morning"', "morning");
    await card(page).waitFor();
    writeFileSync(picture, shrink(await page.screenshot()));
    await card(dark.page).waitFor();
    writeFileSync(picture.replace(".png", "-dark.png"), shrink(await dark.page.screenshot()));
    return {};
  }
  edit("page.html", "<p>", "<p>By the way: ");
  await follow("Good morning", (one) => one.getByText("By the way").waitFor());
  edit("style.css", "red", "green");
  const colour = () => getComputedStyle(document.querySelector("h1")).color;
  await follow("Good morning", (one) => until(one, colour, "rgb(0, 128, 0)"));
  edit("hello.py", "morning", "evening");
  await follow("Good evening");
  edit("hello.py", 'evening"', "<img src=x onerror=alert(1)>");
  await card(page).waitFor();
  const said = await card(page).locator("pre").innerText();
  const guilty = await card(page).locator("strong").allInnerTexts();
  const images = await card(page).locator("img").count();
  const width = await card(page).evaluate((one) => one.getBoundingClientRect().width);
  const colours = [];
  for (const one of [page, dark.page]) colours.push(await card(one).evaluate((section) => getComputedStyle(section).backgroundColor));
  const later = await open(kind, url, "light");
  await card(later.page).waitFor();
  await page.keyboard.press("Escape");
  await card(page).waitFor({ state: "detached" });
  await later.page.getByRole("button", { name: "Hide" }).click();
  await card(later.page).waitFor({ state: "detached" });
  edit("hello.py", "<img src=x onerror=alert(1)>", 'night"');
  for (const one of [page, dark.page, later.page]) await heading(one, "Good night");
  const left = await card(dark.page).count();
  return { said, guilty, images, width, colours, left, faults: [...faults, ...dark.faults, ...later.faults] };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
