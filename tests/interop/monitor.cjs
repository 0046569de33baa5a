// node monitor.cjs restart BROWSER URL
// The monitor's page while its server ends and another begins. A line of JSON for each step.
//
// node monitor.cjs long URL SAMPLES
// The page, pointed at all the time, for so many samples: what it forgets, and what it holds.
"use strict";

const { launch, visit } = require("./browser.cjs");
const { once, open, run, say } = require("./clients.cjs");

const samples = (page, count) => page.waitForFunction((least) => past?.rings[0].length >= least, count);

const restart = async (browserName, url) => {
  const browser = await launch(browserName);
  const { page } = await visit(browser, url);
  await samples(page, 5);
  await page.locator("#words").fill("before");
  await page.keyboard.press("Enter");
  await page.locator("#log", { hasText: "before" }).waitFor();
  await page.locator("#state", { hasText: "websocket" }).waitFor();
  const name = await page.locator("#name").inputValue();
  say({ step: "live", state: await page.locator("#state").innerText() });

  await page.locator("#state", { hasText: "offline" }).waitFor();
  const last = await page.evaluate("past.rings[0].time(past.rings[0].length - 1)");
  say({ step: "offline", words: await page.locator("#log span").allTextContents() });

  await page.locator("#state.live").waitFor();
  const times = () => Array.from({ length: past.rings[0].length }, (_, i) => past.rings[0].time(i));
  const fiveLater = (before) => past.rings[0].length > 5 && past.rings[0].time(past.rings[0].length - 5) > before;
  await page.waitForFunction(fiveLater, last);
  await page.locator("#words").fill("after");
  await page.keyboard.press("Enter");
  await page.locator("#log", { hasText: "after" }).waitFor();
  const known = await page.evaluate(times);
  const interval = await page.evaluate("about.interval");
  say({
    step: "back",
    words: await page.locator("#log span").allTextContents(),
    people: await page.locator("#people li").allTextContents(),
    keptName: name === (await page.locator("#name").inputValue()),
    keptPast: known.includes(last),
    gap: (known[known.indexOf(last) + 1] - last) / interval,
  });
};

// Of each of the rings: times, and the values of all columns.
const rings = () =>
  past.rings.map((ring) =>
    Array.from({ length: ring.length }, (_, row) => Array.from(ring.data.subarray(ring.start(row), ring.start(row) + ring.width))));

const long = async (url, count) => {
  const browser = await launch();
  const { page, context, faults } = await visit(browser, url, { viewport: { width: 1280, height: 800 } });
  await samples(page, 2);
  await page.evaluate((most) => {
    globalThis.heard = new Float64Array(most + 2000); // of a fixed size: it must not be what grows
    globalThis.heardCount = 0;
    const add = past.add.bind(past);
    past.add = (row, zero) => {
      heard[heardCount++] = row[0];
      add(row, zero);
    };
    globalThis.frames = [];
    let before = performance.now();
    const frame = (now) => {
      frames.push(now - before);
      before = now;
      if (frames.length > 600) frames.shift();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }, Number(count));
  // Somebody else, who hears the same.
  const witness = open(url, "websocket");
  const told = [];
  witness.socket.on("sample", ([t]) => told.push(t));
  await once(witness.socket, "sample");
  const before = await page.evaluate("heardCount");

  const devtools = await context.newCDPSession(page);
  const heap = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    return (await devtools.send("Runtime.getHeapUsage")).usedSize;
  };
  const { x, y, width, height } = await page.locator(".plot").first().boundingBox();
  const heaps = [];
  for (let part = 1; part <= 10; part += 1) {
    for (let move = 0; (await page.evaluate("heardCount")) < before + (count * part) / 10; move += 1)
      await page.mouse.move(x + ((move * 7) % width), y + height / 2);
    heaps.push(await heap());
  }
  const began = await page.evaluate("about.began");
  const heard = (await page.evaluate("Array.from(heard.subarray(0, heardCount))")).map((time) => Math.round((time - began) * 1000));
  const wanted = told.map((t) => Math.round(t * 1000));
  const from = heard.indexOf(wanted[0]);
  const both = Math.min(wanted.length, heard.length - from);
  const mine = await page.evaluate(rings);
  const later = await context.newPage();
  await later.goto(url);
  await samples(later, 2);
  return {
    faults,
    heaps,
    compared: both,
    same: from >= 0 && heard.slice(from, from + both).every((time, i) => time === wanted[i]),
    frames: (await page.evaluate("frames")).sort((a, b) => a - b),
    mine,
    newcomers: await later.evaluate(rings),
  };
};

const scenario = (kind, ...args) => ({ restart, long })[kind](...args);
scenario.deadline = 600_000;

module.exports = { scenario };
if (require.main === module) run(scenario);
