// node examples.cjs BROWSER NAME URL [FOLDER]
// The pages of an example in Chromium or Firefox, used as a person would, and what they
// showed. With a FOLDER, pictures are left there, one for each window.
"use strict";

const path = require("node:path");
const { launch } = require("./browser.cjs");
const { run } = require("./clients.cjs");
const { look, watch } = require("./judge.cjs");

const DESK = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 } };
const WINDOWS = {
  chromium: {
    light: { colorScheme: "light", ...DESK },
    dark: { colorScheme: "dark", ...DESK },
    phone: { colorScheme: "light", ...PHONE },
  },
  // All in dark: see `launchFirefox`.
  firefox: { dark: DESK, phone: PHONE },
};

// One of a page's windows. `faults` are what a developer would see in red, less the refusals
// that the page asks for.
const open = async (browser, url, options) => {
  const page = await (await browser.newContext(options)).newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (line) => {
    if (line.type() === "error" && !/status of 40[01]/.test(line.text())) faults.push(line.text());
  });
  await page.addInitScript(watch);
  await page.goto(url);
  return { page, faults };
};

const NASTY = "<img src=x onerror=document.title='injected'>";

// What is done on each page, and what is then to be seen.
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

  async shortener(page, context, url) {
    const live = await context.newPage();
    await live.goto(`${url}/live`);
    await live.locator("#state.connected").waitFor();
    await page.locator("input").fill(`${url}/stats?a=${encodeURIComponent(NASTY)}`);
    await page.keyboard.press("Enter");
    const short = page.locator("a.short");
    await short.waitFor();
    await context.request.get(await short.getAttribute("href"));
    await live.locator("li b", { hasText: "1" }).first().waitFor();
    const seen = await live.locator("li").first().innerText();
    return { seen: seen.split(/\s+/), more: [live] };
  },

  async chat(page, context, url) {
    const other = await context.newPage();
    await other.goto(url);
    await other.locator("#state.connected").waitFor();
    await page.locator("input").fill(NASTY);
    await page.keyboard.press("Enter");
    await other.locator("#log", { hasText: "onerror" }).waitFor();
    return { heard: await other.locator(".message span").last().textContent(), more: [other] };
  },

  async board(page, context, url) {
    const other = await context.newPage();
    await other.goto(url);
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
    const until = async (one, condition) => {
      while (!condition(await inked(one))) await one.waitForTimeout(50);
    };
    const box = await page.locator("canvas").boundingBox();
    await page.mouse.move(box.x + 20, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2, { steps: 10 });
    await page.mouse.up();
    await until(other, (count) => count > 300);
    const line = await inked(other);
    // The same with the keyboard.
    await page.locator("canvas").focus();
    for (const key of [" ", ...Array(9).fill("ArrowRight"), " "]) await page.keyboard.press(key);
    await until(other, (count) => count > line + 50);
    await other.locator("canvas").focus();
    for (const key of [" ", ...Array(9).fill("ArrowDown"), " "]) await other.keyboard.press(key);
    const late = await context.newPage();
    await late.goto(url);
    await until(late, (count) => count > line + 50);
    // All have come to the same, whoever drew what.
    while (new Set(await Promise.all([page, other, late].map(sheet))).size > 1) await late.waitForTimeout(50);
    await page.getByRole("button", { name: "New sheet" }).click();
    await until(other, (count) => count === 0);
    return { drawn: true, more: [other] };
  },

  async broadcast(page, context, url) {
    const other = await context.newPage();
    await other.goto(url);
    await page.locator("li.heard").waitFor();
    const alive = await page.locator("li span").textContent();
    return { alive, more: [other] };
  },

  async log(page, context, url) {
    await page.locator("#state.connected").waitFor();
    await page.getByRole("button", { name: "Order something" }).click();
    await page.locator("li", { hasText: "somebody who looks" }).first().waitFor();
    const loggers = () => page.locator("li i").allTextContents().then((all) => [...new Set(all)].sort());
    const before = await loggers();
    await page.locator("label", { hasText: "mail" }).click();
    await page.locator("li", { hasText: "confirmed to somebody" }).first().waitFor();
    const joined = await loggers();
    await page.locator("label", { hasText: "stock" }).click();
    await page.locator("#filter").fill("Confirmed to somebody");
    const shown = await page.locator("li:visible i").allTextContents();
    return { before, joined, left: await loggers(), shown: [...new Set(shown)] };
  },

  async progress(page, context, url) {
    await page.locator("#state.connected").waitFor();
    await page.getByRole("button", { name: "All of it" }).click();
    await page.waitForURL(/#./);
    const other = await context.newPage();
    await other.goto(page.url());
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

  async monitor(page, context, url) {
    const samples = (count) => page.waitForFunction((least) => past?.rings[0].length > least, count);
    await samples(3);
    await page.locator("#words").fill(NASTY);
    await page.keyboard.press("Enter");
    await page.locator("#log", { hasText: "onerror" }).waitFor();
    await page.locator(".pin").last().waitFor();
    let bubble = "";
    while (!bubble.includes("onerror")) { // its pin is drawn with the next frame
      await page.locator(".pin").last().focus(); // it glides: nothing for a robot's mouse
      bubble = await page.locator("#bubble").textContent();
    }
    // Somebody comes later, over polling, and sees the past and the words at once.
    const other = await context.newPage();
    await other.goto(`${url}?transport=polling`);
    await other.locator("#log", { hasText: "onerror" }).waitFor();
    const past = await other.evaluate("past.rings[0].length");
    const transports = [await page.locator("#state").innerText(), await other.locator("#state").innerText()];

    const values = () => page.locator(".value b").allTextContents();
    const known = await values();
    // With the pointer, with the slider, and by what was said.
    await samples(6);
    const box = await page.locator(".plot").first().boundingBox();
    await page.mouse.move(box.x + box.width - 8, box.y + box.height / 2);
    await page.waitForFunction("pointed > 0");
    const inked = () => page.evaluate("plots.every(({ over }) => over.getImageData(0, 0, over.canvas.width, over.canvas.height).data.some(Boolean))");
    const pointed = await inked();
    await page.mouse.move(1, 1);
    await page.waitForFunction("pointed === null");
    await page.locator("#moment").focus();
    for (let i = 0; i < 3; i += 1) await page.keyboard.press("ArrowLeft");
    const spoken = await page.locator("#moment").getAttribute("aria-valuetext");
    await page.keyboard.press("Escape");
    await page.waitForFunction("pointed === null");
    await page.locator("#log button").last().click();
    await page.waitForFunction("pointed > 0");
    await page.keyboard.press("Escape");

    await page.getByRole("button", { name: "30 min" }).click();
    await page.waitForFunction("view.to - view.from > 3590 * about.interval");
    await page.getByRole("button", { name: "Pause" }).click();
    const still = await page.evaluate("view.to");
    await samples(9);
    const paused = (await page.evaluate("view.to")) === still;
    await page.getByRole("button", { name: "Go on" }).click();
    await page.waitForFunction((before) => view.to > before, still);
    await page.getByRole("button", { name: "1 min" }).click();

    if (await page.locator("#unfold").isVisible()) await page.locator("#unfold").click();
    await page.locator("#name").selectText();
    await page.keyboard.type("Ann <b>"); // as a person does: `fill` is no change in Firefox
    await page.keyboard.press("Enter");
    await page.locator("#words").fill("after the name");
    await page.keyboard.press("Enter");
    await other.locator("#log li", { hasText: "after the name" }).last().waitFor();
    const who = await other.locator("#log li b").last().textContent();
    await other.locator("#people li", { hasText: "Ann <b>" }).waitFor({ state: "attached" });
    return { past, transports, known, pointed, spoken, bubble, paused, who, more: [other] };
  },

  // Through the start page to each example and back, as a visitor would.
  async index(page, context, url) {
    const titles = {};
    const names = await page.locator("h2 a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
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
    return { titles, broken };
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
    const { page, faults } = await open(browser, url, options);
    const before = await page.evaluate(look);
    if (folder) await page.screenshot({ path: path.join(folder, `${example}-${name}-${kind}-0.png`) });
    const { more = [], ...told } = await USES[example](page, page.context(), url);
    const pages = [page, ...more];
    const looks = [before, ...(await Promise.all(pages.map((one) => one.evaluate(look))))];
    seen[kind] = { ...told, faults, looks };
    for (const [number, one] of pages.entries())
      if (folder) await one.screenshot({ path: path.join(folder, `${example}-${name}-${kind}-${number + 1}.png`) });
    await page.context().close();
  }
  return seen;
};

scenario.deadline = 150_000; // several windows, one after the other, on a machine that may be busy

module.exports = { scenario };
if (require.main === module) run(scenario);
