// Chromium and Firefox, headless, and the chat's page in one as a person sees it. A browser is
// started when first asked for, and kept for the scenarios that follow.
"use strict";

const { chromium, firefox } = require("playwright-core");

const EXECUTABLES = {
  chromium: process.env.RBL_CHROMIUM ?? "/usr/bin/chromium",
  firefox: process.env.RBL_FIREFOX ?? "/usr/bin/firefox-esr",
};
// No sandbox: tests run as root in containers. The rest keeps it from calling its makers,
// which a machine without a way out answers with a hundred refused connections.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
// The same: what is not for this machine goes to a proxy that does not exist.
const PREFERENCES = {
  "network.proxy.type": 1,
  "network.proxy.http": "127.0.0.1",
  "network.proxy.http_port": 9,
  "network.proxy.ssl": "127.0.0.1",
  "network.proxy.ssl_port": 9,
  "network.proxy.no_proxies_on": "127.0.0.1, localhost",
};

const launchChromium = () =>
  chromium.launch({ executablePath: EXECUTABLES.chromium, headless: true, args: FLAGS });

// The Firefox of the distribution, over WebDriver BiDi. It does not know yet how to be told of dark
// and light for one page, which is asked of it for each: all its pages are in one of the two.
const launchFirefox = async (colorScheme = "light") => {
  const scheme = { "layout.css.prefers-color-scheme.content-override": colorScheme === "dark" ? 0 : 1 };
  const browser = await firefox.launch({
    channel: "moz-firefox",
    executablePath: EXECUTABLES.firefox,
    headless: true,
    firefoxUserPrefs: { ...PREFERENCES, ...scheme },
  });
  const session = Object.getPrototypeOf(browser._connection.toImpl(browser)._browserSession);
  const { send } = session;
  session.send = function (method, params) {
    return method === "emulation.setMediaFeaturesOverride" ? Promise.resolve({}) : send.call(this, method, params);
  };
  return browser;
};

const LAUNCH = {
  chromium: launchChromium,
  firefox: () => launchFirefox("light"),
  "firefox in dark": () => launchFirefox("dark"),
};
const launched = {};

// For whatever is waited for: a machine that does other things besides may stand still for long.
const PATIENCE_MS = 60_000;

const launch = (kind = "chromium") => (launched[kind] ??= LAUNCH[kind]());

const browsers = () => Promise.all(Object.values(launched));

// Close the windows that a scenario has left open.
const tidy = async () => {
  for (const browser of await browsers()) {
    for (const context of browser.contexts()) await context.close();
  }
};

const quit = async () => {
  for (const browser of await browsers()) await browser.close();
};

// One person's page. `faults` collects what a developer would see in red, `asked` what was loaded.
const visit = async (browser, url, options = {}, prepare = async () => {}) => {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const faults = [];
  const asked = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (line) => line.type() === "error" && faults.push(line.text()));
  page.on("request", (request) => asked.push(request.url()));
  await prepare(page);
  await page.goto(url);
  return { page, context, faults, asked };
};

// The chat's page, as soon as it is connected for good.
const enter = async (browser, url, { official = null, ...options } = {}) => {
  let swaps = 0;
  const { page, context, faults } = await visit(browser, url, options, async (one) => {
    if (official === null) return;
    await one.route("**/socket.io/socket.io.js*", async (route) => {
      await route.fulfill({ path: official });
      swaps += 1;
    });
  });
  // The words of #state are the page's own; the transport's name in them is the protocol's.
  await page.locator("#state", { hasText: "websocket" }).waitFor();
  return {
    page,
    faults,
    swaps: () => swaps,
    type: async (text) => {
      await page.locator("form input:not([type=submit])").first().fill(text);
      await page.keyboard.press("Enter");
    },
    click: async (text) => {
      await page.locator("form input:not([type=submit])").first().fill(text);
      await page.locator("form button, form input[type=submit]").first().click();
    },
    sees: (text) => page.locator("#log").getByText(text).first().waitFor(),
    log: () => page.locator("#log").innerText(),
    state: () => page.locator("#state").innerText(),
    leave: () => context.close(),
  };
};

module.exports = { enter, launch, quit, tidy, visit };
