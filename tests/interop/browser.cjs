// Headless Chromium and Firefox, and the chat's page in one as a person sees it.
"use strict";

const { chromium, firefox } = require("playwright-core");

const EXECUTABLE = process.env.RBL_CHROMIUM ?? "/usr/bin/chromium";
const FIREFOX = process.env.RBL_FIREFOX ?? "/usr/bin/firefox-esr";
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

const launch = () => chromium.launch({ executablePath: EXECUTABLE, headless: true, args: FLAGS });

// The Firefox of the distribution, over WebDriver BiDi. It does not know yet how to be told of dark
// and light for one page, which is asked of it for each: all its pages are in one of the two.
const launchFirefox = async (colorScheme = "light") => {
  const dark = { "layout.css.prefers-color-scheme.content-override": colorScheme === "dark" ? 0 : 1 };
  const options = { channel: "moz-firefox", executablePath: FIREFOX, headless: true };
  const browser = await firefox.launch({ ...options, firefoxUserPrefs: dark });
  const session = Object.getPrototypeOf(browser._connection.toImpl(browser)._browserSession);
  const { send } = session;
  session.send = function (method, params) {
    return method === "emulation.setMediaFeaturesOverride" ? Promise.resolve({}) : send.call(this, method, params);
  };
  return browser;
};

// One person's window. `faults` collects what a developer would see in red.
const enter = async (browser, url, { official = null, ...options } = {}) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults = [];
  let swaps = 0;
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (line) => line.type() === "error" && faults.push(line.text()));
  if (official !== null) {
    await page.route("**/socket.io/socket.io.js*", async (route) => {
      await route.fulfill({ path: official });
      swaps += 1;
    });
  }
  await page.goto(url);
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

module.exports = { enter, launch, launchFirefox };
