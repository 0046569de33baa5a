// node examples.cjs NAME URL [FOLDER]
// The pages of an example in Chromium, used as a person would; what they showed is printed,
// and pytest judges. With a FOLDER, pictures are left there: light, dark, and on a phone.
"use strict";

const path = require("node:path");
const { launch } = require("./browser.cjs");
const { run, say } = require("./clients.cjs");

const WINDOWS = {
  light: { colorScheme: "light", viewport: { width: 1100, height: 800 } },
  dark: { colorScheme: "dark", viewport: { width: 1100, height: 800 } },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 } },
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
    return { seen: seen.split(/\s+/), live };
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

const wideness = (page) => page.evaluate("document.documentElement.scrollWidth - innerWidth");

const scenario = async (name, url, folder) => {
  const browser = await launch();
  const seen = {};
  for (const [kind, options] of Object.entries(WINDOWS)) {
    const { page, faults } = await open(browser, url, options);
    const before = await wideness(page);
    if (folder) await page.screenshot({ path: path.join(folder, `${name}-${kind}-0.png`) });
    const { live, ...told } = await USES[name](page, page.context(), url);
    const pages = [page, ...(live ? [live] : [])];
    const over = Math.max(before, ...(await Promise.all(pages.map(wideness))));
    const titles = await Promise.all(pages.map((one) => one.title()));
    const colour = await page.evaluate("getComputedStyle(document.body).backgroundColor");
    seen[kind] = { ...told, faults, over, colour, injected: titles.includes("injected") };
    for (const [number, one] of pages.entries()) {
      if (folder) await one.screenshot({ path: path.join(folder, `${name}-${kind}-${number + 1}.png`), fullPage: true });
    }
  }
  say(seen);
  await browser.close();
};

run(scenario, ...process.argv.slice(2));
