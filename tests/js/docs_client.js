/* Runs the listings of docs/client.md in Node: RBL_URL is that of tests/apps/scenarios.rbr. */

"use strict";

const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const io = require("../../redbarrel_lite/static/socket.io.js");

const TEXT = readFileSync(path.join(__dirname, "../../docs/client.md"), "utf8");
const LISTINGS = [...TEXT.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);
const AsyncFunction = (async () => {}).constructor;

for (const [number, code] of LISTINGS.entries())
  test(`listing ${number + 1}`, () =>
    new AsyncFunction("io", "url", "equal", code)(io, process.env.RBL_URL, assert.deepEqual));

test("there are listings", () => assert.equal(LISTINGS.length, 2));
