// node emitter_vectors.cjs
// What the packages make of the JavaScript in vectors/emitter.json, in the form of that file.
"use strict";

const notepack = require("notepack.io");
const { Emitter } = require("@socket.io/redis-emitter");
const { values, emits } = require("../vectors/emitter.json");

const published = (js) => {
  const seen = [];
  const publish = (channel, data) =>
    seen.push(typeof data === "string" ? { js, channel, text: data } : { js, channel, hex: data.toString("hex") });
  new Function("io", js)(new Emitter({ publish }));
  return seen;
};

const scenario = async () => ({
  values: values.map(({ js }) => notepack.encode(new Function(`return (${js})`)()).toString("hex")),
  emits: emits.flatMap(({ js }) => published(js)),
});

module.exports = { scenario };
