// node pictures.cjs [NAME ...]
// The pictures of the examples, light and dark: examples/pictures/NAME.png and NAME-dark.png.
// It starts the gallery itself (PYTHON says with which Python), and plays a small scene on each
// page, in two windows at a time; who else talks or draws does it through the official client.
"use strict";

const path = require("node:path");
const { once } = require("node:events");
const { spawn } = require("node:child_process");
const { createInterface } = require("node:readline");
const { io } = require("socket.io-client");
const { writeFileSync } = require("node:fs");
const { launch } = require("./browser.cjs");
const { shrink } = require("./png.cjs");

const ROOT = path.join(__dirname, "..", "..");
const PYTHON = process.env.PYTHON ?? "python3";
const SIZE = { viewport: { width: 1280, height: 800 } };

const seconds = (count) => new Promise((resolve) => setTimeout(resolve, 1000 * count));

const serve = async () => {
  const command = ["-m", "redbarrel_lite", "examples/index.rbr", "--port", "0", "--log", "off"];
  const server = spawn(PYTHON, command, { cwd: ROOT, stdio: ["ignore", "inherit", "pipe"] });
  for await (const line of createInterface(server.stderr)) {
    const serving = /^Serving on (\S+)$/.exec(line);
    if (serving) return { server, url: serving[1] };
  }
  throw new Error("the gallery did not start");
};

// Somebody else: a socket of an example.
const person = async (url, name, options = {}) => {
  const socket = io(url, { path: `/${name}/socket.io/`, forceNew: true, transports: ["websocket"], ...options });
  await once(socket, "connect");
  return socket;
};

const both = (windows, action) => Promise.all(windows.map(action));

const SCENES = {
  async hello(windows) {
    await both(windows, async (page) => {
      await page.locator("input").fill("Tarek");
      await page.keyboard.press("Enter");
      await page.locator("h1", { hasText: "Tarek" }).waitFor();
    });
  },

  async chat(windows, url) {
    const [ann, bob] = [await person(url, "chat"), await person(url, "chat")];
    for (const [who, text] of [
      [ann, "Is this the chat from the announcement?"],
      [bob, "The same loop, fifteen years later."],
      [ann, "And who comes late gets the last thirty lines?"],
      [bob, "Open a third window and see."],
    ]) {
      who.send(text);
      await seconds(0.1);
    }
    const [light] = windows;
    await light.locator("input").fill("I am the third. It works.");
    await light.keyboard.press("Enter");
    await both(windows, (page) => page.getByText("It works").waitFor());
  },

  async monitor(windows, url) {
    const names = ["Ann", "Bob", "Tarek"];
    const people = await Promise.all(names.map((name) => person(url, "monitor", { auth: { name } })));
    const [ann, bob, tarek] = people;
    await seconds(17);
    const melting = spawn(PYTHON, ["examples/monitor/melt.py", "--seconds", "20", "--sockets", "60", `${url}/monitor`], { cwd: ROOT });
    await seconds(7);
    ann.emit("say", "Hey Bob, the server is melting down, don't you think?");
    await seconds(9);
    bob.emit("say", "Sixty sockets and a core. Look at the messages!");
    await once(melting, "exit");
    await seconds(6);
    tarek.emit("say", "It was melt.py. All quiet again.");
    await seconds(14);
    await windows[0].locator(".pin").nth(1).hover();
    await windows[1].locator(".pin").nth(1).hover();
    await seconds(0.3);
  },

  async board(windows, url) {
    const artist = await person(url, "board");
    const EDGE = 65535;
    const draw = (colour, width, points) => {
      const piece = new DataView(new ArrayBuffer(4 + 4 * points.length));
      piece.setUint8(0, colour);
      piece.setUint8(1, width);
      piece.setUint16(2, points.length, true);
      points.forEach((point, i) => point.forEach((part, k) =>
        piece.setUint16(4 + 4 * i + 2 * k, Math.round(part * EDGE), true)));
      artist.emit("piece", piece.buffer);
    };
    const along = (count, at) => Array.from({ length: count + 1 }, (_, i) => at(i / count));
    const shaky = (i, size = 0.003) => size * Math.sin(i * 47) * Math.cos(i * 31);
    const side = (sign) => along(40, (t) => [0.36 + sign * (0.11 + 0.045 * Math.sin(Math.PI * t)) + shaky(t), 0.22 + 0.56 * t]);
    const hoop = (y, w) => along(30, (t) => [0.36 - w + 2 * w * t, y + 0.05 * Math.sin(Math.PI * t) + shaky(t)]);
    draw(1, 10, side(-1));
    draw(1, 10, side(1));
    draw(1, 10, along(40, (t) => [0.36 + 0.11 * Math.cos(2 * Math.PI * t), 0.22 + 0.035 * Math.sin(2 * Math.PI * t)]));
    draw(1, 10, hoop(0.78, 0.11));
    for (const dx of [-0.05, 0.055]) draw(1, 4, along(30, (t) => [0.36 + dx + dx * 0.7 * Math.sin(Math.PI * t) + shaky(t), 0.27 + 0.54 * t]));
    draw(0, 10, hoop(0.36, 0.142));
    draw(0, 10, hoop(0.62, 0.147));
    draw(2, 10, along(24, (t) => [0.5 + 0.05 * t, 0.67 + shaky(t)]));
    draw(2, 10, along(20, (t) => [0.545, 0.64 + 0.09 * t]));
    for (const [x, y, s] of [[0.545, 0.79, 1], [0.55, 0.86, 0.8]])
      draw(4, 10, along(24, (t) => [x + 0.008 * s * Math.sin(2 * Math.PI * t), y + 0.02 * s * Math.cos(2 * Math.PI * t)]));
    draw(4, 4, along(60, (t) => [0.46 + 0.2 * t, 0.93 + 0.006 * Math.sin(30 * t)]));
    // somebody's remark, in letters of strokes
    const strokes = {
      h: [[[0, 0], [0, 1]], [[0, 0.6], [0.3, 0.45], [0.5, 0.6], [0.5, 1]]],
      e: [[[0, 0.72], [0.5, 0.72], [0.42, 0.5], [0.15, 0.45], [0, 0.72], [0.12, 0.97], [0.5, 0.92]]],
      l: [[[0.1, 0], [0.1, 0.9], [0.25, 1]]],
      o: [[[0.25, 0.45], [0, 0.7], [0.22, 1], [0.5, 0.74], [0.25, 0.45]]],
      "!": [[[0.15, 0], [0.15, 0.7]], [[0.15, 0.95], [0.15, 0.98]]],
    };
    let left = 0.62;
    for (const letter of "hello!") {
      for (const stroke of strokes[letter]) draw(3, 10, stroke.map(([x, y]) => [left + 0.06 * x, 0.24 + 0.16 * y]));
      left += letter === "l" ? 0.03 : 0.045;
    }
    draw(5, 10, along(50, (t) => [0.62 + 0.25 * t, 0.47 + 0.02 * Math.sin(18 * t)]));
    await seconds(0.7);
  },

  async broadcast(windows, url) {
    for (let i = 0; i < 4; i += 1) await person(url, "broadcast");
    const leaver = await person(url, "broadcast");
    await seconds(3);
    leaver.disconnect();
    await seconds(8);
    await both(windows, (page) => page.locator("li.silent").waitFor());
  },

  async log(windows, url) {
    const order = () => fetch(`${url}/log/orders`, { method: "POST" });
    await both(windows, (page) => page.getByText("mail", { exact: true }).first().click());
    while ((await windows[0].locator("li.error").count()) === 0) await order();
    for (let i = 0; i < 3; i += 1) await order();
    await both(windows, (page) => page.locator("li.error").first().waitFor());
    await seconds(3);
  },

  async progress(windows) {
    await windows[0].getByText("Seahorses").click();
    await windows[0].waitForURL(/#/);
    await windows[1].goto(windows[0].url());
    await windows[1].reload();
    await both(windows, (page) => page.locator("img").waitFor({ timeout: 120_000 }));
    await both(windows, (page) => page.locator("img").evaluate((image) => image.decode()));
    await both(windows, (page) => page.mouse.move(5, 5));
  },

  async shortener(windows, url) {
    const [light] = windows;
    const long = ["https://example.org/announcement/of/redbarrel", "https://example.com/a/long/way/to/a/page?that=nobody&can=remember", "https://example.net/"];
    for (const [i, address] of long.entries()) {
      await light.goto(`${url}/shortener/`);
      await light.locator("input").fill(address);
      await light.keyboard.press("Enter");
      const short = await light.locator("a.short").getAttribute("href");
      for (let visit = 0; visit < 9 - 3 * i; visit += 1) await fetch(short, { redirect: "manual" });
    }
    await both(windows, async (page) => {
      await page.goto(`${url}/shortener/live`);
      await page.locator("li").nth(2).waitFor();
    });
  },

  async demos(windows) {
    await both(windows, async (page) => {
      for (const name of ["hello", "counter", "visits", "capitalize"])
        await page.locator(".card", { hasText: name }).first().locator("button").first().click();
      await page.mouse.click(5, 5);
      await seconds(0.3);
    });
  },

  async keyexchange(windows) {
    await both(windows, async (page) => {
      const [phone, computer] = await page.locator("section").all();
      const press = async (device, name) => {
        const before = await device.locator("li").count();
        await device.getByRole("button", { name }).click();
        await device.locator("li").nth(before).waitFor();
      };
      await press(phone, "Open a channel");
      await computer.locator("[name=channel]").fill(await phone.locator("[name=channel]").inputValue());
      await press(computer, "Read");
      await phone.locator("[name=message]").fill("first message");
      await press(phone, "Write");
      await press(computer, "Read");
    });
  },
};

const main = async (names) => {
  const { server, url } = await serve();
  const browser = await launch();
  try {
    for (const name of names) {
      const windows = [];
      for (const colorScheme of ["light", "dark"]) {
        const page = await (await browser.newContext({ ...SIZE, colorScheme })).newPage();
        await page.goto(`${url}/${name}/`);
        windows.push(page);
      }
      await SCENES[name](windows, url);
      for (const [i, page] of windows.entries()) {
        const picture = path.join(ROOT, "examples", "pictures", `${name}${["", "-dark"][i]}.png`);
        writeFileSync(picture, shrink(await page.screenshot()));
      }
      for (const page of windows) await page.context().close();
      console.log(name);
    }
  } finally {
    await browser.close();
    server.kill();
  }
};

main(process.argv.length > 2 ? process.argv.slice(2) : Object.keys(SCENES)).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
