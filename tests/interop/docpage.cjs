// node docpage.cjs URL
// The page `__doc__` in Chromium: its service is tried, then its socket, in each protocol.
// What was shown.
"use strict";

const { launch, visit } = require("./browser.cjs");
const { run } = require("./clients.cjs");

// Fill a service's form, send it, and read the answer once its body is whole.
const tryService = async (page, name, fields) => {
  const box = page.locator(`#${name} .try`);
  await box.evaluate((details) => (details.open = true));
  for (const [field, value] of Object.entries(fields)) {
    const control = box.locator(`[name=${field}], [data-name=${field}]`);
    if (field === "method") await control.selectOption(value);
    else await control.fill(value);
  }
  await box.getByRole("button", { name: "Send" }).click();
  await box.getByRole("button", { name: "Send" }).waitFor();
  await box.locator(".answer-line b").waitFor();
  return {
    line: await box.locator(".answer-line b").textContent(),
    headers: await box.locator(".answer-headers").textContent(),
    body: await box.locator(".answer-body").textContent(),
  };
};

const stopStream = async (page) => {
  const box = page.locator("#ticks .try");
  await box.evaluate((details) => (details.open = true));
  await box.getByRole("button", { name: "Send" }).click();
  await box.locator(".answer-body", { hasText: "tick" }).waitFor();
  await box.getByRole("button", { name: "Stop" }).click();
  await box.locator(".answer-line", { hasText: "stopped" }).waitFor();
  await box.getByRole("button", { name: "Send" }).waitFor();
};

const connect = async (page, change = null) => {
  const box = page.locator("#board .try");
  await box.evaluate((details) => (details.open = true));
  if (change) await box.locator("form.connect").evaluate((form, more) => Object.assign(form.dataset, more), change);
  await box.getByRole("button", { name: "Connect" }).click();
  await box.locator(".state.open").waitFor();
  const log = box.getByRole("log");
  return {
    box,
    sees: (text) => log.getByText(text).first().waitFor(),
    send: async (text) => {
      await box.locator("[name=args]").fill(text);
      await box.getByRole("button", { name: "Send" }).click();
    },
    // Without the times of day, and the sids.
    log: async () => (await log.locator("li > span:nth-child(2)").allTextContents()).map((line) =>
      line.replace(/(as |"sid":")[\w-]{8,}/, "$1SID")),
    leave: async () => {
      await box.getByRole("button", { name: "Disconnect" }).click();
      await box.getByRole("button", { name: "Connect", exact: true }).waitFor();
    },
  };
};

const trySocketIo = async (page) => {
  const console_ = await connect(page);
  await console_.send('"hello", {"n": 1}');
  await console_.sees("echo");
  await console_.box.locator("[name=ack]").check();
  await console_.send("2");
  await console_.sees("acknowledged");
  await console_.send("{");
  await console_.sees("not sent");
  await console_.leave();
  await console_.sees("disconnected");
  return console_.log();
};

// What can't be connected says why, and may be tried again.
const unconnected = async (page, fields) => {
  const box = page.locator("#board .try");
  for (const [name, value] of Object.entries(fields)) await box.locator(`[name=${name}]`).fill(value);
  await box.getByRole("button", { name: "Connect", exact: true }).click();
  await box.locator(".state.fault").waitFor();
  await box.getByRole("button", { name: "Connect", exact: true }).waitFor();
  return box.locator(".state").textContent();
};

const scenario = async (url) => {
  const browser = await launch();
  const { page, faults, asked } = await visit(browser, url);
  const got = await tryService(page, "price", { country: "d/é", query: "grams=300" });
  const posted = await tryService(page, "label", { method: "PUT", name: "a b", headers: "X-N: 7", body: '{"a":1}' });
  const refused = await tryService(page, "label", { method: "POST", name: "x", headers: "X-N: 7", body: "{" });
  const binary = await tryService(page, "bytes", {});
  await stopStream(page);
  const spoken = await trySocketIo(page);
  const nowhere = await unconnected(page, { namespace: "/nowhere" });
  const garbage = await unconnected(page, { namespace: "/", auth: "{" });
  // Each protocol below it is spoken with the same url: there is a real server at its end.
  const second = await visit(browser, url);
  const engine = await connect(second.page, { protocol: "engineio" });
  await engine.send("0");
  await engine.sees("0{");
  await engine.leave();
  const third = await visit(browser, url);
  const raw = await connect(third.page, { protocol: "websocket", url: '["/api/socket.io/?EIO=4&transport=websocket"]' });
  await raw.sees("0{");
  await raw.leave();
  const bare = await visit(browser, url, { javaScriptEnabled: false });
  const narrow = await visit(browser, url, { viewport: { width: 390, height: 800 } });
  await narrow.page.evaluate(() => document.querySelectorAll("details").forEach((one) => (one.open = true)));

  return {
    got, posted, refused, binary, spoken, nowhere, garbage,
    engine: await engine.log(),
    raw: await raw.log(),
    without: {
      articles: await bare.page.locator("article:visible").count(),
      tries: await bare.page.locator(".try:visible").count(),
    },
    width: await narrow.page.evaluate(() => document.documentElement.scrollWidth),
    faults: [...faults, ...second.faults, ...third.faults, ...bare.faults],
    asked: [...asked, ...bare.asked].filter((one) => !one.startsWith("data:")),
  };
};

module.exports = { scenario };
if (require.main === module) run(scenario);
