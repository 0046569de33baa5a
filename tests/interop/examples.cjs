// node examples.cjs BROWSER NAME URL [FOLDER]
// The pages of an example in Chromium or Firefox, used as a person would, and what they
// showed. With a FOLDER, pictures are left there, one for each window.
"use strict";

const path = require("node:path");
const { launch, visit } = require("./browser.cjs");
const { run } = require("./clients.cjs");
const { look, watch } = require("./judge.cjs");

const DESK = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 } };
const WINDOWS = {
  chromium: {
    light: { colorScheme: "light", ...DESK },
    dark: { colorScheme: "dark", reducedMotion: "reduce", ...DESK },
    phone: { colorScheme: "light", reducedMotion: "reduce", ...PHONE },
  },
  // All in dark: see `launchFirefox`.
  firefox: { dark: DESK, phone: PHONE },
};

const NASTY = "<img src=x onerror=document.title='injected'>";

// Another window, which does not come before the first: Chromium has a few frames a second only for what is
// behind, and whoever clicks waits for two of them.
const beside = async (page, url) => {
  const other = await page.context().newPage();
  await other.goto(url);
  await page.bringToFront();
  return other;
};

// What is done on each page, and what is then to be seen. One server has all the windows of a test, one
// kind after the other: whoever waits for words must not find those of the window before.
const USES = {
  async hello(page) {
    await page.locator("input").fill(NASTY);
    await page.keyboard.press("Enter");
    await page.locator("h1", { hasText: "onerror" }).waitFor();
    return { answer: await page.locator("output").textContent() };
  },

  async demos(page) {
    const statuses = {};
    for (const card of await page.locator(".card").all()) {
      const name = await card.locator("h2").textContent();
      statuses[name] = [];
      for (const button of await card.locator("button").all()) {
        const shown = card.locator("pre");
        await shown.evaluate((pre) => delete pre.dataset.status);
        await button.click();
        await card.locator("pre[data-status]").waitFor();
        statuses[name].push(parseInt(await shown.getAttribute("data-status")));
      }
    }
    return { statuses };
  },

  async shortener(page, url) {
    const live = await beside(page, `${url}/live`);
    await live.locator("#state.connected").waitFor();
    await page.locator("input").fill(`${url}/stats?a=${encodeURIComponent(NASTY)}`);
    await page.keyboard.press("Enter");
    const short = page.locator("a.short");
    await short.waitFor();
    const href = await short.getAttribute("href");
    await page.context().request.get(href);
    const row = live.locator("li:first-child", { hasText: href.split("/").at(-1) });
    await row.locator("b", { hasText: "1" }).waitFor();
    return { seen: (await row.innerText()).split(/\s+/), more: [live] };
  },

  async chat(page, url, kind) {
    const other = await beside(page, url);
    await other.locator("#state.connected").waitFor();
    await page.locator("input").fill(`${NASTY} ${kind}`);
    await page.keyboard.press("Enter");
    return { heard: await other.locator(".message span", { hasText: kind }).textContent(), more: [other] };
  },

  async board(page, url) {
    const other = await beside(page, url);
    for (const one of [page, other]) await one.locator("#state.connected").waitFor();
    // How many bytes were drawn, and how many pixels (of every fourth) show it.
    const sheet = (one) => one.evaluate(async () => [...new Uint8Array(await new Blob(pieces).arrayBuffer())].join());
    const inked = (one) =>
      one.evaluate(() => {
        const { data } = paper.getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let i = 3; i < data.length; i += 16) count += data[i] > 128;
        return count;
      });
    // A line has come as soon as its end has: `end` is a place on the sheet.
    const hasCome = (one, end) =>
      one.waitForFunction((place) => {
        const [x, y] = new Uint16Array(encode([place])).subarray(2);
        return pieces.some((piece) =>
          new Uint16Array(piece).some((number, i, all) => number === x && all[i + 1] === y));
      }, end);
    const box = await page.locator("canvas").boundingBox();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2].map(Math.round);
    await page.mouse.move(Math.round(box.x) + 20, Math.round(box.y) + 20);
    await page.mouse.down();
    await page.mouse.move(x, y, { steps: 10 });
    await page.mouse.up();
    await hasCome(other, await page.evaluate(([clientX, clientY]) => place({ clientX, clientY }), [x, y]));
    const counts = [await inked(other)];
    // The same with the keyboard; and a dot, which nothing follows.
    const drawByKeys = async (one, arrow) => {
      await one.locator("canvas").focus();
      for (const key of [" ", ...Array(9).fill(arrow), " ", arrow, " ", " "]) await one.keyboard.press(key);
      const end = await one.evaluate("at");
      for (const each of [page, other]) await hasCome(each, end);
    };
    await drawByKeys(page, "ArrowRight");
    counts.push(await inked(other));
    await drawByKeys(other, "ArrowDown");
    const late = await beside(page, url);
    await late.waitForFunction("pieces.length");
    const sheets = await Promise.all([page, other, late].map(sheet));
    await page.getByRole("button", { name: "New sheet" }).click();
    await other.waitForFunction("pieces.length === 1 && !pieces[0].byteLength");
    counts.push(await inked(other));
    return { counts, same: new Set(sheets).size === 1, more: [other] };
  },

  async broadcast(page, url) {
    const other = await beside(page, url);
    const alive = await page.locator("li.heard:not(.silent) span").first().textContent();
    return { alive, more: [other] };
  },

  async log(page, url) {
    await page.locator("#state.connected").waitFor();
    const line = (words) => page.locator("li", { hasText: words }).first();
    const order = async () => {
      const answer = page.waitForResponse("**/orders");
      await page.getByRole("button", { name: "Order something" }).click();
      return (await (await answer).json()).order;
    };
    const loggers = () => page.locator("li i").allTextContents().then((all) => [...new Set(all)].sort());
    // Of the first, all lines have come that will, when the second is there.
    await order();
    await line(`order ${await order()}:`).waitFor();
    await line("asked for").waitFor();
    const before = await loggers();
    await page.locator("label", { hasText: "mail" }).click();
    await line("confirmed to somebody").waitFor();
    const joined = await loggers();
    await page.locator("label", { hasText: "stock" }).click();
    await line(`order ${await order()} confirmed`).waitFor(); // one more, and nothing of the stock
    await page.locator("#filter").fill("Confirmed to somebody");
    const shown = await page.locator("li:visible i").allTextContents();
    return { before, joined, left: await loggers(), shown: [...new Set(shown)] };
  },

  async progress(page, url) {
    await page.locator("#state.connected").waitFor();
    await page.getByRole("button", { name: "All of it" }).click();
    await page.waitForURL(/#./);
    const other = await beside(page, page.url());
    const percents = [];
    for (const one of [other, page]) {
      await one.locator("img").waitFor();
      percents.push(await one.locator("progress").getAttribute("value") ?? (await one.locator("progress").evaluate((bar) => bar.value)));
    }
    const size = await page.locator("img").evaluate(async (image) => (await image.decode(), [image.naturalWidth, image.naturalHeight]));
    await page.getByRole("button", { name: "Seahorses" }).click();
    await page.getByRole("button", { name: "Stop it" }).click();
    await page.getByText("It was stopped.").waitFor();
    return { percents: percents.map(Number), size, more: [other] };
  },

  async monitor(page, url, kind) {
    const samples = (count) => page.waitForFunction((least) => past?.rings[0].length > least, count);
    await samples(3);
    const words = `${NASTY} ${kind}`;
    await page.locator("#words").fill(words);
    await page.keyboard.press("Enter");
    await page.locator("#log li", { hasText: words }).waitFor();
    const pin = page.locator(`.pin[aria-label$="${words}"]`);
    await pin.waitFor();
    await pin.focus(); // it glides: nothing for a robot's mouse
    const bubble = await page.locator("#bubble", { hasText: words }).textContent();
    // Somebody comes later, over polling, and sees the past and the words at once.
    const other = await beside(page, `${url}?transport=polling`);
    await other.locator("#log li", { hasText: words }).waitFor();
    const past = await other.evaluate("past.rings[0].length");
    await page.locator("#state", { hasText: "websocket" }).waitFor();
    const transports = [await page.locator("#state").innerText(), await other.locator("#state").innerText()];

    // Of two samples within one tick of the system's clock, the second knows no percent.
    await page.waitForFunction(() => [...document.querySelectorAll(".value b")].every((one) => one.textContent !== "–"));
    // With the pointer, with the slider, and by what was said.
    await samples(6);
    const box = await page.locator(".plot").first().boundingBox();
    await page.mouse.move(box.x + box.width - 8, box.y + box.height / 2);
    await page.waitForFunction("pointed > 0");
    await page.waitForFunction("plots.every(({ over }) => over.getImageData(0, 0, over.canvas.width, over.canvas.height).data.some(Boolean))");
    await page.mouse.move(1, 1);
    await page.waitForFunction("pointed === null");
    await page.locator("#moment").focus();
    let spoken = "";
    for (let i = 0; !/CPU all \d+ %, this server \d/.test(spoken); i += 1) { // or nothing is known of that moment
      await page.keyboard.press(i % 4 === 3 ? "ArrowRight" : "ArrowLeft");
      spoken = await page.locator("#moment").getAttribute("aria-valuetext");
    }
    await page.keyboard.press("Escape");
    await page.waitForFunction("pointed === null");
    await page.locator("#log li", { hasText: words }).locator("button").click();
    await page.waitForFunction("pointed > 0");
    await page.keyboard.press("Escape");

    await page.getByRole("button", { name: "30 min" }).click();
    await page.waitForFunction("view.to - view.from > 3590 * about.interval");
    await page.getByRole("button", { name: "Pause" }).click();
    const newest = () => past.rings[0].time(past.rings[0].length - 1);
    // What is in sight once it has been drawn for the last time.
    const still = await page.evaluate(() =>
      new Promise((told) => requestAnimationFrame(() => requestAnimationFrame(() => told(view.to)))));
    await page.waitForFunction(`(${newest})() > ${await page.evaluate(newest)} + 3 * about.interval`);
    const paused = (await page.evaluate("view.to")) === still;
    await page.getByRole("button", { name: "Go on" }).click();
    await page.waitForFunction((before) => view.to > before, still);
    await page.getByRole("button", { name: "1 min" }).click();

    if (await page.locator("#unfold").isVisible()) await page.locator("#unfold").click();
    await page.locator("#name").selectText();
    await page.keyboard.type(`Ann <b> ${kind}`); // as a person does: `fill` is no change in Firefox
    await page.keyboard.press("Enter");
    await page.locator("#words").fill(`after the name, ${kind}`);
    await page.keyboard.press("Enter");
    const who = await other.locator("#log li", { hasText: `after the name, ${kind}` }).locator("b").textContent();
    await other.locator("#people li", { hasText: who }).waitFor({ state: "attached" });
    return { past, transports, spoken, bubble, paused, who, more: [other] };
  },

  // Through the start page to each example and back, as a visitor would: at a desk in Chromium, on a
  // phone in Firefox.
  async index(page, url, kind, browser) {
    const titles = {};
    const links = await page.locator("h2 a").evaluateAll((all) => all.map((link) => link.getAttribute("href")));
    const names = kind === { chromium: "light", firefox: "phone" }[browser] ? links : [];
    for (const name of names) {
      await page.locator(`h2 a[href="${name}"]`).click();
      await page.waitForURL(`${url}/${name}`);
      const state = page.locator("#state");
      if (await state.count()) await page.locator("#state.connected, #state.live").waitFor();
      titles[name] = await page.title();
      await page.goto(url);
    }
    const broken = await page.locator("img").evaluateAll(async (images) => {
      for (const image of images) await image.decode();
      return images.filter((image) => !image.naturalWidth).length;
    });
    return { links, titles, broken };
  },

  async keyexchange(page) {
    const [phone, computer] = await page.locator("section").all();
    const press = async (device, name) => {
      const before = await device.locator("li").count();
      await device.getByRole("button", { name }).click();
      await device.locator("li").nth(before).waitFor();
    };
    await press(phone, "Open a channel");
    await computer.locator("[name=channel]").fill(await phone.locator("[name=channel]").inputValue());
    await phone.locator("[name=message]").fill(NASTY);
    await press(phone, "Write");
    await press(computer, "Read");
    await press(computer, "Read");
    const read = await computer.locator("li").allTextContents();
    return { read: read.map((line) => line.replace(/^GET \w{4}\n/, "")) };
  },
};

const scenario = async (name, example, url, folder) => {
  const browser = await launch(name === "firefox" ? "firefox in dark" : name);
  const seen = {};
  for (const [kind, options] of Object.entries(WINDOWS[name])) {
    const { page, context, faults } = await visit(browser, url, options, (one) => one.addInitScript(watch));
    const before = await page.evaluate(look);
    if (folder) await page.screenshot({ path: path.join(folder, `${example}-${name}-${kind}-0.png`) });
    const { more = [], ...told } = await USES[example](page, url, kind, name);
    const pages = [page, ...more];
    const looks = [before, ...(await Promise.all(pages.map((one) => one.evaluate(look))))];
    // Less the refusals that a page asks for.
    seen[kind] = { ...told, faults: faults.filter((text) => !/status of 40[01]/.test(text)), looks };
    for (const [number, one] of pages.entries())
      if (folder) await one.screenshot({ path: path.join(folder, `${example}-${name}-${kind}-${number + 1}.png`) });
    await context.close();
  }
  return seen;
};

scenario.deadline = 300_000; // several windows, one after the other, on a machine that may be busy

module.exports = { scenario };
if (require.main === module) run(scenario);
