/* Packets without a network: what is written, what is read, what is refused. */

"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { Decoder, encodePacket, backoff } = require("../../redbarrel_lite/static/socket.io.js").wire;

const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4;
const bytes = (...numbers) => Uint8Array.from(numbers).buffer;
const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;

/* [packet, header frame, attachments] */
const TABLE = [
  [{ type: CONNECT, nsp: "/woot", data: { token: "123" } }, '0/woot,{"token":"123"}'],
  [{ type: DISCONNECT, nsp: "/woot" }, "1/woot,"],
  [{ type: EVENT, nsp: "/", data: ["a", 1, {}] }, '2["a",1,{}]'],
  [{ type: EVENT, nsp: "/test", id: 1, data: ["a", 1, {}] }, '2/test,1["a",1,{}]'],
  [{ type: EVENT, nsp: "/", id: 0, data: [""] }, '20[""]'],
  [{ type: EVENT, nsp: "/", data: [1, "a"] }, '2[1,"a"]'],
  [{ type: EVENT, nsp: "/", id: 3456, data: ["1", "2", { 3: [false] }] },
   '23456["1","2",{"3":[false]}]'],
  [{ type: EVENT, nsp: "/", data: ["n", null] }, '2["n",null]'],
  [{ type: EVENT, nsp: "/", data: ["plain", { _placeholder: true, num: 0 }] },
   `2["plain",${placeholder(0)}]`],
  [{ type: ACK, nsp: "/", id: 123, data: ["a", 1, {}] }, '3123["a",1,{}]'],
  [{ type: ACK, nsp: "/", id: 0, data: [] }, "30[]"],
  [{ type: CONNECT_ERROR, nsp: "/random", data: { message: "Invalid namespace" } },
   '4/random,{"message":"Invalid namespace"}'],
  [{ type: EVENT, nsp: "/", id: 0, data: ["a", bytes(1, 2)] }, `51-0["a",${placeholder(0)}]`,
   bytes(1, 2)],
  [{ type: EVENT, nsp: "/deep", id: 999, data: ["a", { b: [bytes(1)] }, bytes()] },
   `52-/deep,999["a",{"b":[${placeholder(0)}]},${placeholder(1)}]`, bytes(1), bytes()],
  [{ type: ACK, nsp: "/back", id: 127, data: ["a", bytes(7), {}] },
   `61-/back,127["a",${placeholder(0)},{}]`, bytes(7)],
];

for (const [packet, ...frames] of TABLE) {
  test(`writes ${frames[0]}`, () => assert.deepEqual(encodePacket(packet), frames));
  test(`reads ${frames[0]}`, () => {
    const decoder = new Decoder();
    const last = frames.pop();
    for (const frame of frames) assert.equal(decoder.add(frame), undefined);
    assert.deepEqual({ ...decoder.add(last) }, { id: undefined, data: undefined, ...packet });
  });
}

const REFUSED = [
  "", "7", "999", "a", '442["some","data"', '0/admin,"invalid"', "0[]", "0null", "0", "1/admin,{}",
  '2/admin,"invalid', "2/admin,{}", '2[{"toString":"foo"}]', '2[true,"foo"]', '2[null,"bar"]',
  '2["connect"]', '2["disconnect","123"]', "2", "2[]", '2"a"', "2null", '2["a"]x', '2["a",NaN]',
  "3", "31{}", "4[]", "4", "5", "51", "5a-", "51.23-", '50-["a"]', "60-[]", '51-0["a",', "6",
];

for (const text of REFUSED)
  test(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => {
    const decoder = new Decoder();
    if (decoder.add(text) === undefined) decoder.add(bytes(1));
  }));

for (const num of ["-1", "1", "1.5", '"0"', "null", '"length"', "true", "1e9"])
  test(`refuses the placeholder number ${num} of one attachment`, () => {
    const decoder = new Decoder();
    decoder.add(`51-["a",${placeholder(num)}]`);
    assert.throws(() => decoder.add(bytes(1)), /illegal attachments/);
  });

test("takes placeholders in any order, and twice", () => {
  const decoder = new Decoder();
  decoder.add(`52-["a",${placeholder(1)},${placeholder(0)},${placeholder(1)}]`);
  decoder.add(bytes(1));
  const { data } = decoder.add(bytes(2));
  assert.deepEqual(data, ["a", bytes(2), bytes(1), bytes(2)]);
});

test("refuses an attachment that nothing announced", () =>
  assert.throws(() => new Decoder().add(bytes(1)), /out of place/));

test("refuses text while attachments are pending", () => {
  const decoder = new Decoder();
  decoder.add(`51-["a",${placeholder(0)}]`);
  assert.throws(() => decoder.add('2["b"]'), /out of place/);
});

test("takes every kind of buffer, and what toJSON gives for the rest", () => {
  const view = new Uint8Array(bytes(9, 8, 7), 1, 1);
  const buffer = Buffer.from("x");
  const blob = new Blob(["y"]);
  const date = new Date(0);
  const [text, ...attachments] = encodePacket({ type: EVENT, data: ["a", view, [buffer], blob, date] });
  assert.deepEqual(attachments, [view, buffer, blob]);
  assert.equal(text, `53-["a",${placeholder(0)},[${placeholder(1)}],${placeholder(2)},` +
                     '"1970-01-01T00:00:00.000Z"]');
});

const OPTS = { reconnectionDelay: 1000, reconnectionDelayMax: 5000, randomizationFactor: 0.5 };

test("backoff doubles up to the maximum, spread on both sides", () => {
  const range = (attempt) => [0, 0.5, 1].map((random) => backoff(attempt, OPTS, random));
  assert.deepEqual(range(0), [500, 1000, 1500]);
  assert.deepEqual(range(1), [1000, 2000, 3000]);
  for (const attempt of [2, 10, 5000])
    assert.deepEqual(range(attempt), [1667, 3333, 5000], `attempt ${attempt}`);
});

test("backoff without jitter is exact", () => {
  const opts = { ...OPTS, randomizationFactor: 0 };
  assert.deepEqual([0, 1, 2, 3, 4].map((attempt) => backoff(attempt, opts, 0.3)),
                   [1000, 2000, 4000, 5000, 5000]);
});
