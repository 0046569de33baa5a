// node status.cjs URL [PICTURE.png]
// The page of the status in Chromium, without JavaScript: what it shows, that it loads nothing,
// comes again, and fits a phone. With a picture: a busy minute of the gallery before.
"use strict";

const { writeFileSync } = require("node:fs");
const { once } = require("node:events");
const { io } = require("socket.io-client");
const { launch, visit } = require("./browser.cjs");
const { run } = require("./clients.cjs");
const { shrink } = require("./png.cjs");

const WIDE = { viewport: { width: 1200, height: 900 }, javaScriptEnabled: false };
const seconds = (count) => new Promise((resolve) => setTimeout(resolve, 1000 * count));

const open = (browser, url, options) => visit(browser, `${url}/__status__`, { ...WIDE, ...options });

const text = (page) => page.locator("main").innerText();

// How dark the page is, and how wide what is in it; the test's own script is not the page's.
const looks = async (browser, url, colorScheme, width) => {
  const context = { colorScheme, javaScriptEnabled: true, viewport: { width, height: 800 } };
  const { page } = await open(browser, url, context);
  return page.evaluate(() => {
    const [red] = /\d+/.exec(getComputedStyle(document.body).backgroundColor);
    return { light: Number(red) > 128, width: document.documentElement.scrollWidth };
  });
};

// People who come and go, and talk in waves, for the charts to have something to show.
const busy = async (url, duration) => {
  const people = await Promise.all(
    [..."abcdefghijklmnop"].map(async (_, number) => {
      const transports = number % 5 ? ["websocket"] : ["polling"];
      const socket = io(url, { path: "/chat/socket.io/", forceNew: true, transports });
      await once(socket, "connect");
      return socket;
    }),
  );
  for (let tick = 0; tick < duration * 10; tick += 1) {
    const many = Math.round(2 + 2 * Math.sin(tick / 60) + Math.random());
    for (let one = 0; one < many; one += 1) people[(tick + one) % people.length].send("How are you?");
    const pages = ["/", "/chat/", "/hello/", "/shortener/", "/chat/chat.css", "/nowhere"];
    if (tick % 3 === 0) await fetch(url + pages[Math.floor(Math.random() ** 2 * pages.length)]);
    await seconds(0.1);
  }
  return people;
};

const scenario = async (url, picture = "") => {
  const browser = await launch();
  if (picture) {
    await busy(url, 290);
    const { page } = await open(browser, url);
    writeFileSync(picture, shrink(await page.screenshot({ fullPage: true })));
    return {};
  }
  const { page, faults, asked } = await open(browser, url);
  const first = await text(page);
  const [before] = asked.splice(0);
  await fetch(`${url}/__health__`);
  await page.locator("main", { hasText: /__health__\s*1/ }).waitFor(); // it comes again by itself
  const second = await text(page);
  return {
    first, second, faults, asked: [before, ...asked],
    light: await looks(browser, url, "light", 1200),
    dark: await looks(browser, url, "dark", 390),
  };
};

module.exports = { scenario };
if (require.main === module) {
  scenario.deadline = 330_000; // a picture takes its five minutes
  run(scenario);
}
