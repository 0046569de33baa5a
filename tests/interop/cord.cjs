// A cord between clients and a server, to be cut, mended, frozen and thawed.
//
//     const cord = await Cord.to(8000); cord.port; await cord.cut(); await cord.mend(); cord.close();
"use strict";

const { once } = require("node:events");
const net = require("node:net");

class Cord {
  #target;
  #pairs = new Set();
  #listener = null;
  #frozen = false;
  port = 0;

  static async to(target) {
    const cord = new Cord();
    cord.#target = target;
    await cord.mend();
    return cord;
  }

  // Connections are possible again, at the port where they always were.
  async mend() {
    this.#listener = net.createServer((near) => this.#join(near));
    this.#listener.listen(this.port, "127.0.0.1");
    await once(this.#listener, "listening");
    this.port = this.#listener.address().port;
  }

  // Every connection breaks, and no other is possible.
  async cut() {
    const closed = once(this.#listener, "close");
    this.#listener.close();
    for (const pair of this.#pairs) pair.forEach((end) => end.destroy());
    await closed;
  }

  // The connections stay, further ones are made, and nothing comes through.
  freeze() {
    this.#frozen = true;
    for (const pair of this.#pairs) pair.forEach((end) => end.pause());
  }

  thaw() {
    this.#frozen = false;
    for (const pair of this.#pairs) pair.forEach((end) => end.resume());
  }

  close() {
    this.#listener.close();
    for (const pair of this.#pairs) pair.forEach((end) => end.destroy());
  }

  #join(near) {
    const far = net.connect(this.#target, "127.0.0.1");
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const [from, to] of [pair, pair.toReversed()]) {
      from.setNoDelay(true);
      from.on("data", (data) => to.write(data));
      if (this.#frozen) from.pause();
      from.on("end", () => to.end());
      from.on("error", () => {});
      from.on("close", () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
    }
  }
}

module.exports = { Cord };
