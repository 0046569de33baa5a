/* Packets without a network: what is written, what is read, what is refused. */

"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { Decoder, encodePacket, backoff } = require("../../redbarrel_lite/static/socket.io.js").wire;

const TYPES = { CONNECT: 0, DISCONNECT: 1, EVENT: 2, ACK: 3, CONNECT_ERROR: 4 };
const bytes = (...numbers) => Uint8Array.from(numbers).buffer;
const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;

const VECTORS = require("../vectors/socketio.json");

/* What a vector stands for: buffers where it says so, at any depth. */
function unpacked(value) {
  if (typeof value?.base64 === "string") return bytes(...Buffer.from(value.base64, "base64"));
  if (Array.isArray(value)) return value.map(unpacked);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unpacked(inner)]));
}

/* Clients write CONNECT without a payload, and the query of a namespace; servers do not. */
const fromAServer = ({ type, data, messages: [head] }) =>
  (type !== "CONNECT" || data !== null) && !head.includes("?");

for (const { messages, type, namespace, id, data } of VECTORS.packets.filter(fromAServer))
  test(`reads ${messages[0]}`, () => {
    const decoder = new Decoder();
    const [last, ...others] = unpacked(messages).reverse();
    for (const frame of others.reverse()) assert.equal(decoder.add(frame), undefined);
    assert.deepEqual({ ...decoder.add(last) }, {
      type: TYPES[type], nsp: namespace, id: id ?? undefined,
      data: type === "DISCONNECT" ? undefined : unpacked(data),
    });
  });

test("reads CONNECT_ERROR", () =>
  assert.deepEqual({ ...new Decoder().add('4/random,{"message":"Invalid namespace"}') },
                   { type: TYPES.CONNECT_ERROR, nsp: "/random", id: undefined,
                     data: { message: "Invalid namespace" } }));

for (const { event, ack, args, id = ack, namespace = "/", messages } of VECTORS.encoded)
  test(`writes ${messages[0]}`, () => {
    const packet = ack === undefined ? { type: TYPES.EVENT, data: [event, ...args] }
                                     : { type: TYPES.ACK, data: args };
    assert.deepEqual(encodePacket({ ...packet, id, nsp: namespace, data: unpacked(packet.data) }),
                     unpacked(messages));
  });

test("writes CONNECT and DISCONNECT", () => {
  const { CONNECT, DISCONNECT } = TYPES;
  assert.deepEqual(encodePacket({ type: CONNECT, nsp: "/", data: undefined }), ["0"]);
  assert.deepEqual(encodePacket({ type: CONNECT, nsp: "/woot", data: { token: "123" } }),
                   ['0/woot,{"token":"123"}']);
  assert.deepEqual(encodePacket({ type: DISCONNECT, nsp: "/woot" }), ["1/woot,"]);
});

/* What a server must refuse, and a client need not: it is legal from a server, a number as good
   as any in JavaScript, an acknowledgement of nothing, or a way to waste the memory of others. */
const HARMLESS = new Set([
  '4{"message":"x"}', '4/a,{"message":"x"}',
  '2["a",1e400]', '2["a",-1e400]', '299999999999999999999["x"]',
  "01{}", "3[]", "3/a,[]", '61-["x"]',
  '511-["x"]', '5999999999-["x"]',
]);

for (const text of [...VECTORS.refused, "0", "4"].filter((text) => !HARMLESS.has(text)))
  test(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => {
    const decoder = new Decoder();
    if (decoder.add(text) === undefined) decoder.add(bytes(1));
  }));

for (const num of VECTORS.refused_placeholders.filter((num) => num !== "0.0"))  // which is 0 here
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
  assert.throws(() => new Decoder().add(bytes(1)), /no Socket.IO packet/));

test("refuses text while attachments are pending", () => {
  const decoder = new Decoder();
  decoder.add(`51-["a",${placeholder(0)}]`);
  assert.throws(() => decoder.add('2["b"]'), /illegal attachments/);
});

test("takes every kind of buffer, and what toJSON gives for the rest", () => {
  const view = new Uint8Array(bytes(9, 8, 7), 1, 1);
  const buffer = Buffer.from("x");
  const blob = new Blob(["y"]);
  const date = new Date(0);
  const [text, ...attachments] = encodePacket({ type: TYPES.EVENT, data: ["a", view, [buffer], blob, date] });
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
