// node wire.cjs URL [PICTURE.png]
// The page of the wire in Chromium, beside a chat: a session is watched, then the next one is
// led through its upgrade packet by packet, filtered, paused and saved. What was shown.
"use strict";

const { readFileSync, writeFileSync } = require("node:fs");
const { enter, launch, visit } = require("./browser.cjs");
const { run } = require("./clients.cjs");
const { shrink } = require("./png.cjs");

const WINDOW = { viewport: { width: 1440, height: 900 } };

const open = async (browser, url, options) => {
  const { page, faults } = await visit(browser, `${url}/__wire__/`, { ...WINDOW, ...options });
  await page.locator("#state.live").waitFor();
  return { page, faults };
};

const said = (page) => page.locator("#timeline .said").allTextContents();
const line = (page, text) => page.locator("#timeline li", { hasText: text }).last();

const duringNews = async (page, chat, text) => {
  await page.evaluate(() => {
    globalThis.news = new Promise((told) => socket.once("connections", () => told()));
  });
  await chat.type(text);
  await page.evaluate(() => news);
};

// A session that has begun: what is said, and the bytes of one frame under the pointer.
const watch = async (page, chat) => {
  // A key, and a click, during which the list has news.
  await page.locator("#connections [data-key^=c]").first().focus();
  await page.keyboard.down("Space");
  await duringNews(page, chat, "look");
  await page.keyboard.up("Space");
  await page.locator("#subject", { hasText: "connection" }).waitFor();
  const focused = await page.evaluate(() => document.activeElement.dataset.key);
  await page.getByRole("button", { name: "Session 1", exact: false }).first().hover();
  await page.mouse.down();
  await duringNews(page, chat, "look at the wire");
  await page.mouse.up();
  await line(page, "look at the wire").click();
  const layers = await page.locator("#anatomy h3").evaluateAll((all) => all.map((one) => one.firstChild.data));
  const key = page.locator("#anatomy .fields tr", { hasText: "masking key" });
  await key.hover();
  const bytes = page.locator("#anatomy .hex b.on");
  await bytes.first().waitFor();
  const lit = await bytes.count();
  return { said: await said(page), layers, lit, focused };
};

const use = async (page, chat) => {
  await page.locator("#filter").fill("probe");
  const filtered = await said(page);
  await page.locator("#filter").fill("user-agent");
  const fields = await said(page);
  await page.locator("#filter").fill("");
  await page.locator("#layers label.socket").click();
  const withoutEvents = await said(page);
  await page.locator("#layers label.socket").click();
  await page.locator("#pause").click();
  await chat.type("unseen");
  await page.locator("#pause", { hasText: "(" }).waitFor();
  const paused = await said(page);
  await page.locator("#pause").click();
  await line(page, "unseen").waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#export").click()]);
  const saved = JSON.parse(readFileSync(await download.path(), "utf8"));
  return { filtered, fields, withoutEvents, paused, saved: saved.length };
};

// The next session, from its first byte: nothing goes out before the button is pressed.
const stepThrough = async (browser, url, page) => {
  await page.getByRole("button", { name: "The next session" }).click();
  await page.locator("#subject", { hasText: "waiting" }).waitFor();
  await page.evaluate(() => socket.emitWithAck("hold", NEXT, true)); // as the page did: by now it is
  let isIn = false;
  const entering = enter(browser, url).then(() => (isIn = true));
  const steps = [];
  const gaps = []; // between what is seen of the timeline and its end
  let looked = null;
  while (!isIn) {
    const next = page.locator("#next:not([hidden]):not(:disabled)");
    await Promise.race([next.waitFor(), entering]);
    if (isIn) break;
    steps.push(...(await page.locator("#waiting .said").allTextContents()));
    if (!looked && steps.length > 2) {
      // Its connections are looked at, and all that is held stays.
      const session = await page.evaluate(() => subject);
      await page.locator("#connections .inner button").first().click();
      await page.locator("#subject", { hasText: "connection" }).waitFor();
      const isHeld = await page.locator("#hold").getAttribute("aria-pressed");
      const marked = await page.locator("#connections button", { hasText: "step by step" }).allTextContents();
      await page.locator(`[data-key=${session}]`).click();
      await page.locator("#subject", { hasText: "session" }).waitFor();
      looked = { isHeld, marked, waiting: await page.locator("#waiting .said").count() };
    }
    gaps.push(
      await page.locator("#timeline").evaluate((list) => list.scrollHeight - list.scrollTop - list.clientHeight),
    );
    // What waits is told of anew behind the answer.
    await page.evaluate(async () => {
      await document.getElementById("next").onclick();
      await new Promise((told) => socket.once("held", told));
    });
  }
  return { steps, looked, gap: Math.max(...gaps) };
};

// Names of fields that are cut within a word.
const brokenWords = () =>
  [...document.querySelectorAll(".fields th")].flatMap(({ firstChild }) =>
    [...firstChild.data.matchAll(/[^\s-]+/g)].flatMap(({ 0: word, index }) => {
      const range = document.createRange();
      range.setStart(firstChild, index);
      range.setEnd(firstChild, index + word.length);
      return range.getClientRects().length > 1 ? [word] : [];
    }),
  );

// With the keyboard to a message that is not drawn whole.
const longMessage = async (browser, url, chat) => {
  const { page } = await open(browser, url);
  await page.locator("#connections button", { hasText: /^Session 1/ }).click();
  await chat.type(`long ${"x".repeat(2000)}`);
  const list = page.getByRole("listbox", { name: "What was said" });
  const option = list.getByRole("option", { name: /^.*from the client: .*long x/ });
  await option.waitFor();
  await option.click();
  await list.focus();
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowDown");
  const isActive = (await option.getAttribute("id")) === (await list.getAttribute("aria-activedescendant"));
  const rows = page.locator("#anatomy .bytes").first().locator(".hex");
  const before = await rows.count();
  await page.getByRole("button", { name: /^Show [0-9,]+ more bytes$/ }).first().click();
  const awaits = await page.evaluate(() => {
    const packet = { layer: "Socket.IO packet", bytes: "", size: 0, fields: [], inner: [] };
    return layerOf({ ...packet, section: "", summary: "", awaits: "1 attachment is to come" }).textContent;
  });
  return { isActive, isMore: (await rows.count()) > before, awaits };
};

const scenario = async (url, picture = "") => {
  const browser = await launch();
  const chat = await enter(browser, url);
  const { page, faults } = await open(browser, url);
  const watched = await watch(page, chat);
  if (picture) {
    writeFileSync(picture, shrink(await page.screenshot()));
    return {};
  }
  const used = await use(page, chat);
  const led = await stepThrough(browser, url, page);
  const narrow = await open(browser, url, { viewport: { width: 390, height: 800 } });
  await narrow.page.locator("#connections li button").nth(1).click();
  await line(narrow.page, "handshake").click();
  const width = await narrow.page.evaluate(() => document.documentElement.scrollWidth);
  const broken = await narrow.page.evaluate(brokenWords);
  const isSeen = await narrow.page.locator("#anatomy").evaluate((one) => one.getBoundingClientRect().top < 100);
  await narrow.page.reload();
  await line(narrow.page, "handshake").waitFor();  // what was looked at is looked at again
  const asked = await longMessage(browser, url, chat);
  return { watched, used, ...led, width, broken, isSeen, asked, faults: [...faults, ...narrow.faults] };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
