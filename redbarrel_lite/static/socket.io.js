/* The browser's side of Socket.IO 5 over Engine.IO 4, as one classic script.

     <script src="/socket.io/socket.io.js"></script>
     <script> const socket = io(); socket.on("message", show); socket.send("hello"); </script>

   From the ground up: Emitter, packets, Polling, Engine (one session), Manager (reconnects),
   Socket (one namespace), io. Left out: Engine.IO 3, JSONP, WebTransport, other parsers,
   `retries`. */

(() => {
"use strict";

const noop = () => {};
const failure = (message, more) => Object.assign(new Error(message), more);

/* 1. Emitter */

class Emitter {
  #listeners = { __proto__: null };

  listeners(event) { return this.#listeners[event] ?? []; }
  hasListeners(event) { return this.listeners(event).length > 0; }

  on(event, listener) {
    this.#listeners[event] = [...this.listeners(event), listener];
    return this;
  }

  once(event, listener) {
    const wrapper = (...args) => { this.off(event, wrapper); listener.apply(this, args); };
    wrapper.listener = listener;
    return this.on(event, wrapper);
  }

  off(...which) {
    const [event, listener] = which;
    if (which.length === 0) this.#listeners = { __proto__: null };
    else this.#listeners[event] = this.listeners(event).filter((known) =>
      which.length > 1 && known !== listener && (known.listener ?? known) !== listener);
    return this;
  }

  addEventListener(...args) { return this.on(...args); }
  removeEventListener(...args) { return this.off(...args); }
  removeListener(...args) { return this.off(...args); }
  removeAllListeners(...args) { return this.off(...args); }

  /* What a listener throws is thrown in a task of its own: the next packet must not be lost. */
  dispatch(event, ...args) { this.call(this.listeners(event), args); }

  call(listeners, args) {
    for (const listener of listeners) {
      try { listener.apply(this, args); } catch (error) { setTimeout(() => { throw error; }); }
    }
  }
}

/* 2. packets */

const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4;
const BINARY = 3;  // more than EVENT and ACK are BINARY_EVENT and BINARY_ACK

const RESERVED_EVENTS = ["connect", "connect_error", "disconnect", "disconnecting",
                         "newListener", "removeListener"];

const isBinary = (value) =>
  value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob;

/* 51-/admin,12["paint",{"_placeholder":true,"num":0}] and a binary frame: type, attachments,
   namespace unless "/", id if an acknowledgement is wanted, JSON. */
function encodePacket({ type, nsp = "/", id = "", data }) {
  const attachments = [];
  const json = JSON.stringify(data, function (key, value) {
    const original = this[key];  // `value` has been through toJSON
    if (!isBinary(original)) return value;
    return { _placeholder: true, num: attachments.push(original) - 1 };
  }) ?? "";
  const head = attachments.length ? `${type + BINARY}${attachments.length}-` : type;
  return [`${head}${nsp === "/" ? "" : `${nsp},`}${id}${json}`, ...attachments];
}

const PACKET = /^(?:([0-4])|([56])([1-9]\d*)-)(?:(\/[^,]*),?)?(\d+)?(.*)/s;
const JSON_OF_TYPE = [/^{/, /^$/, /^\[\s*["\d-]/, /^\[/, /^{/];  // how it begins

/* `add` gives undefined while attachments are to come. A BINARY_EVENT comes out as EVENT. */
class Decoder {
  #packet;  // that is not whole

  add(frame) {
    const packet = this.#packet ?? this.#read(frame);
    if (this.#packet) packet.attachments.push(frame);
    const isWhole = packet.attachments.length >= packet.count;
    this.#packet = isWhole ? undefined : packet;
    return isWhole ? this.#finish(packet) : undefined;
  }

  #read(frame) {
    const [, plain, binary, count = 0, nsp = "/", id, json] = PACKET.exec(frame) ?? [];
    const type = Number(plain ?? binary - BINARY);
    if (!JSON_OF_TYPE[type]?.test(json)) throw new Error(`no Socket.IO packet: ${frame}`);
    return { type, nsp, id: id && Number(id), json, count, attachments: [] };
  }

  #finish({ type, nsp, id, json, count, attachments }) {
    const fill = (key, value) => {
      if (value?._placeholder !== true) return value;
      const attachment = Number.isInteger(value.num) && attachments[value.num];
      if (!isBinary(attachment)) throw new Error("illegal attachments");
      return attachment;
    };
    const data = json ? JSON.parse(json, count && fill) : undefined;
    if (type === EVENT && RESERVED_EVENTS.includes(data[0])) throw new Error("reserved event name");
    return { type, nsp, id, data };
  }
}

/* 3. Polling */

const SEPARATOR = "\x1e";  // JSON and base64 never hold it
const MAX_PACKETS = 16;    // python-engineio refuses a payload with more

async function encodeBase64(data) {
  let text = "";
  for (const byte of new Uint8Array(await new Blob([data]).arrayBuffer()))
    text += String.fromCharCode(byte);
  return btoa(text);
}

const decodeBase64 = (text) =>
  Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;

/* To its Engine a WebSocket: text is an Engine.IO packet, a buffer a message. Inside, one GET
   always waits for packets, and one POST at a time carries ours: two would race. */
class Polling {
  name = "polling";
  queue = [];  // in no POST yet
  paused = false;
  #url;
  #init;
  #maxPayload;
  #getting = null;  // the running loops, as promises
  #posting = null;
  #closed = false;
  #abort = new AbortController();

  constructor(url, { withCredentials, extraHeaders }) {
    this.#url = url;
    this.#init = { cache: "no-store", headers: extraHeaders, signal: this.#abort.signal,
                   credentials: withCredentials ? "include" : "same-origin" };
    this.resume();
  }

  get bufferedAmount() { return this.queue.length + Boolean(this.#posting); }

  handshake({ sid, maxPayload }) {
    this.#url.searchParams.set("sid", sid);
    this.#maxPayload = maxPayload ?? Infinity;
  }

  send(packet) {
    this.queue.push(packet);
    if (!this.paused) this.resume();
  }

  async pause() {
    this.paused = true;
    await Promise.all([this.#getting, this.#posting]);
  }

  resume() {
    this.paused = false;
    this.#getting ??= this.#get().catch(this.#fault);
    this.#posting ??= this.#post().catch(this.#fault);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#maxPayload) return this.#abort.abort();  // there is no session yet
    this.queue.push("1");
    this.resume();
  }

  /* A loop clears its promise in the very turn that saw the queue empty, or the next `send`
     would start nothing. */
  async #get() {
    await null;  // the Engine has yet to listen
    while (!this.paused && !this.#closed) {
      const payload = await this.#request();
      for (const packet of payload.split(SEPARATOR)) {
        if (this.#closed) break;
        this.#closed = packet === "1";
        if (this.#closed) this.onclose({});
        else this.onmessage({ data: packet[0] === "b" ? decodeBase64(packet.slice(1)) : packet });
      }
    }
    this.#getting = null;
  }

  async #post() {
    await null;  // one POST takes what one turn of the page sends
    while (this.queue.length && !this.paused) {
      const body = await this.#payload();
      await this.#request({ method: "POST", body, keepalive: body === "1" });
    }
    this.#posting = null;
    if (this.#closed) this.#abort.abort();  // "1" has arrived; the waiting GET may go
  }

  async #payload() {
    const packets = [];
    let bytes = 0;
    while (this.queue.length && packets.length < MAX_PACKETS) {
      const [packet] = this.queue;
      if (packet === "1" && packets.length) break;  // servers close at once
      const text = typeof packet === "string" ? packet : `b${await encodeBase64(packet)}`;
      bytes += new Blob([SEPARATOR, text]).size;
      if (packets.length && bytes > this.#maxPayload) break;
      this.queue.shift();
      packets.push(text);
    }
    return packets.join(SEPARATOR);
  }

  async #request(init) {
    const response = await fetch(this.#url, { ...this.#init, ...init });
    const text = await response.text();
    if (response.ok) return text;
    throw failure(`${response.status} ${text.slice(0, 200)}`, { code: response.status });
  }

  /* It makes the Engine close, which tells the server. */
  #fault = (error) => this.onerror(error);
}

/* 4. Engine */

const silence = (transport) => {
  transport.onopen = transport.onmessage = transport.onerror = transport.onclose = noop;
};

/* Who leaves the page, or the net, leaves the session. */
const live = new Set();
for (const event of ["pagehide", "offline"])
  globalThis.addEventListener?.(event, () => live.forEach((engine) => engine.lost("close", event)));

/* Events: open, ping, message (frame), upgrade (transport), close (reason, error). */
class Engine extends Emitter {
  readyState = "opening";
  id;
  transport;
  #url;
  #opts;
  #patience;
  #deadline;
  #timer;
  #candidate;  // for the upgrade

  constructor(url, opts) {
    super();
    this.#url = url;
    this.#opts = opts;
    this.#expect("timeout", opts.timeout || Infinity);
    live.add(this);
    this.#use(this.#create(opts.transports[0]));
  }

  #create(name) {
    const { query, protocols, WebSocket } = this.#opts;
    const url = new URL(this.#url);
    const session = this.id && { sid: this.id };
    url.search = new URLSearchParams({ ...query, EIO: 4, transport: name, ...session });
    if (name === "polling") return new Polling(url, this.#opts);
    url.protocol = url.protocol.replace("http", "ws");
    return Object.assign(new WebSocket(url, protocols), { name, binaryType: "arraybuffer" });
  }

  #use(transport) {
    this.transport = transport;
    transport.onmessage = ({ data }) => {
      try { this.#receive(data); } catch (error) { transport.onerror(error); }
    };
    transport.onclose = (context) => this.lost("close", `${transport.name} closed`, context);
    transport.onerror = (context) => this.lost("error",
      `${transport.name} error${context.message ? `: ${context.message}` : ""}`, context);
  }

  lost(how, message, context) {
    this.drop(`transport ${how}`, failure(message, { description: context?.code, context }));
  }

  #receive(data) {
    if (typeof data !== "string") return this.dispatch("message", data);
    switch (data[0]) {
      case "0": return this.#open(data.slice(1));
      case "1": return this.transport.onclose({});
      case "2": return this.#ping(data.slice(1));
      case "4": return this.dispatch("message", data.slice(1));
      case "6": return undefined;  // noop
    }
    throw new Error(`no Engine.IO packet: ${data.slice(0, 40)}`);
  }

  #open(json) {
    const handshake = JSON.parse(json);
    const { sid, upgrades, pingInterval, pingTimeout } = handshake;
    this.id = sid;
    this.readyState = "open";
    this.transport.handshake?.(handshake);
    this.#patience = pingInterval + pingTimeout;
    this.#expect("ping timeout");
    this.dispatch("open");
    const { upgrade, transports, WebSocket } = this.#opts;
    if (this.readyState === "open" && upgrade && WebSocket &&
        [upgrades, transports].every((names) => names.includes("websocket"))) this.#probe();
  }

  #ping(payload) {
    this.#expect("ping timeout");
    this.transport.send(`3${payload}`);
    this.dispatch("ping");
  }

  /* Timers stand still while a laptop sleeps: what is emitted on waking must not go into a dead
     connection. */
  #expect(reason, patience = this.#patience) {
    clearTimeout(this.#timer);
    this.#deadline = Date.now() + patience;
    if (patience < Infinity)
      this.#timer = setTimeout(() => this.drop(reason), patience);
  }

  checkHeartbeat() {
    if (Date.now() > this.#deadline) this.drop("ping timeout");
  }

  send(...frames) {
    if (this.readyState === "open")
      for (const frame of frames)
        this.transport.send(typeof frame === "string" ? `4${frame}` : frame);
  }

  /* 2probe ->, <- 3probe, pause: the POST arrives, the GET is answered; 5 ->, then what was sent
     meanwhile. A 5 before that would lose what the GET brings, and overtake the POST. */
  #probe() {
    const polling = this.transport;
    const websocket = this.#candidate = this.#create("websocket");
    websocket.onopen = () => websocket.send("2probe");
    websocket.onerror = websocket.onclose = () => this.#abandon();
    websocket.onmessage = async ({ data }) => {
      if (data !== "3probe") return this.#abandon();
      await polling.pause();
      if (this.#candidate !== websocket) return;
      this.#candidate = undefined;
      silence(polling);
      this.#use(websocket);
      websocket.send("5");
      for (const packet of polling.queue) websocket.send(packet);
      this.dispatch("upgrade", websocket);
    };
  }

  #abandon() {
    const websocket = this.#candidate;
    if (!websocket) return;
    this.#candidate = undefined;
    silence(websocket);
    websocket.close();
    this.transport.resume();
  }

  close() { this.drop("forced close"); }

  drop(reason, error = new Error(reason)) {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    clearTimeout(this.#timer);
    live.delete(this);
    this.#abandon();
    silence(this.transport);
    this.transport.close();
    this.dispatch("close", reason, error);
  }
}

/* 5. Manager */

/* Milliseconds before attempt 0, 1, 2...; `random` is in [0, 1). Doubled to spare a server that
   comes back, spread so that its clients do not come all at once. */
function backoff(attempt, opts, random) {
  const { reconnectionDelay, reconnectionDelayMax, randomizationFactor } = opts;
  const limit = reconnectionDelayMax / (1 + randomizationFactor);
  const delay = Math.min(limit, reconnectionDelay * 2 ** attempt);
  return Math.round(delay * (1 + randomizationFactor * (2 * random - 1)));
}

const DEFAULTS = {
  path: "/socket.io/", transports: ["polling", "websocket"], upgrade: true, autoConnect: true,
  timeout: 20000, reconnection: true, reconnectionAttempts: Infinity, reconnectionDelay: 1000,
  reconnectionDelayMax: 5000, randomizationFactor: 0.5, WebSocket: globalThis.WebSocket,
};

const location = globalThis.location ?? new URL("http://localhost");

/* "https://host", "host:8000", or a namespace of this page's server: "/news". */
const addressOf = (address) =>
  new URL(/^(\w+:)?\//.test(address ||= "/") ? address : `//${address}`, location.href);

/* Events: open, ping, error, close, reconnect, reconnect_attempt, reconnect_error,
   reconnect_failed. */
class Manager extends Emitter {
  readyState = "closed";  // then opening, open; waiting: to reconnect
  engine = null;
  nsps = {};
  #attempts = 0;
  #timer;

  constructor(uri, opts) {
    super();
    if (typeof uri === "object") [uri, opts] = [undefined, uri ?? opts];
    const { origin, searchParams } = addressOf(uri);
    this.uri = origin.replace(/^ws/, "http");
    this.opts = { ...DEFAULTS, query: Object.fromEntries(searchParams) };
    for (const key in opts) this.opts[key] = opts[key] ?? this.opts[key];
    if (this.opts.autoConnect) this.open();
  }

  socket(nsp, opts) {
    this.nsps[nsp] ??= new Socket(this, nsp, { ...this.opts, ...opts });
    if (this.opts.autoConnect) this.nsps[nsp].connect();
    return this.nsps[nsp];
  }

  open() {
    if (this.readyState.startsWith("open")) return this;
    clearTimeout(this.#timer);
    this.readyState = "opening";
    const decoder = new Decoder();
    const engine = this.engine = new Engine(
      new URL(this.opts.path.replace(/\/?$/, "/"), this.uri), this.opts);
    engine.on("open", () => this.#opened());
    engine.on("ping", () => this.dispatch("ping"));
    engine.on("message", (frame) => this.#receive(decoder, frame));
    engine.on("close", (reason, error) => this.#closed(reason, error));
    return this;
  }

  close() {
    this.#attempts = 0;
    clearTimeout(this.#timer);
    this.readyState = "closed";
    this.engine?.close();
  }

  connect() { return this.open(); }

  left() { if (this.#active.length === 0) this.close(); }

  get #active() { return Object.values(this.nsps).filter((socket) => socket.active); }

  #opened() {
    const attempts = this.#attempts;
    this.#attempts = 0;
    this.readyState = "open";
    for (const socket of this.#active) socket.opened();
    this.dispatch("open");
    if (attempts) this.dispatch("reconnect", attempts);
  }

  #receive(decoder, frame) {
    try {
      const packet = decoder.add(frame);
      if (packet && this.nsps[packet.nsp]?.active) this.nsps[packet.nsp].receive(packet);
    } catch (error) {
      this.engine.drop("parse error", error);
    }
  }

  #closed(reason, error) {
    const before = this.readyState;  // "closed", if by us
    this.readyState = before !== "closed" && this.opts.reconnection ? "waiting" : "closed";
    for (const socket of this.#active) socket.closed(reason, error);
    if (before === "opening") {
      this.dispatch("error", error);
      if (this.#attempts) this.dispatch("reconnect_error", error);
    } else this.dispatch("close", reason, error);
    if (this.readyState === "waiting") this.#reconnect();
  }

  #reconnect() {
    if (this.#attempts >= (this.opts.reconnectionAttempts || Infinity)) {
      this.#attempts = 0;
      this.readyState = "closed";
      return this.dispatch("reconnect_failed");
    }
    this.#timer = setTimeout(() => {
      this.dispatch("reconnect_attempt", this.#attempts);
      if (this.readyState === "waiting") this.open();
    }, backoff(this.#attempts++, this.opts, Math.random()));
  }
}

/* 6. Socket */

/* What is emitted without a connection waits in sendBuffer for the next one. */
class Socket extends Emitter {
  connected = false;
  active = false;  // wants to be connected
  recovered = false;
  id;
  sendBuffer = [];
  receiveBuffer = [];
  #ackTimeout;
  #acks = {};
  #nextId = 0;
  #flags = {};  // of the next emit
  #any = new Emitter();
  #pid;  // for connection state recovery
  #offset;

  constructor(io, nsp, { auth, ackTimeout }) {
    super();
    this.io = io;
    this.nsp = nsp;
    this.auth = auth;
    this.#ackTimeout = ackTimeout;
  }

  get disconnected() { return !this.connected; }

  get volatile() { this.#flags.volatile = true; return this; }
  timeout(milliseconds) { this.#flags.timeout = milliseconds; return this; }
  compress() { return this; }  // that is the browser's affair

  onAny(listener) { this.#any.on("any", listener); return this; }
  offAny(...which) { this.#any.off("any", ...which); return this; }

  connect() {
    const isNew = !this.active;
    this.active = true;
    if (this.io.readyState === "closed") this.io.open();
    else if (this.io.readyState === "open" && isNew) this.opened();
    return this;
  }

  disconnect() {
    if (this.connected) this.#send({ type: DISCONNECT });
    this.#leave("io client disconnect");
    return this;
  }

  open() { return this.connect(); }
  close() { return this.disconnect(); }

  send(...args) { return this.emit("message", ...args); }

  emit(event, ...args) {
    if (RESERVED_EVENTS.includes(event)) throw new Error(`"${event}" is a reserved event name`);
    const { volatile, timeout = this.#ackTimeout } = this.#flags;
    this.#flags = {};
    this.io.engine?.checkHeartbeat();
    const packet = { type: EVENT, data: [event, ...args] };
    if (typeof args.at(-1) === "function") this.#expectAck(packet, timeout);
    packet.frames = this.#encode(packet);
    // Volatile: only while nothing older still waits to leave.
    if (volatile && (!this.connected || this.io.engine.transport.bufferedAmount)) return this;
    if (this.connected) this.io.engine.send(...packet.frames);
    else this.sendBuffer.push(packet);
    return this;
  }

  emitWithAck(event, ...args) {
    return new Promise((resolve, reject) => {
      const ack = (error, answer) => error ? reject(error) : resolve(answer);
      ack.withError = true;
      this.emit(event, ...args, ack);
    });
  }

  #encode(packet) { return encodePacket({ nsp: this.nsp, ...packet }); }
  #send(packet) { this.io.engine.send(...this.#encode(packet)); }

  /* With a deadline, or for a promise, `ack` gets an error or null before the answer. */
  #expectAck(packet, timeout) {
    const ack = packet.data.pop();
    const withError = ack.withError || timeout !== undefined;
    const id = packet.id = this.#nextId++;
    const settle = (error, ...answer) => {
      clearTimeout(timer);
      delete this.#acks[id];
      this.sendBuffer = this.sendBuffer.filter((waiting) => waiting.id !== id);
      if (withError) this.call([ack], [error, ...answer]);
      else if (!error) this.call([ack], answer);
    };
    const timer = timeout !== undefined &&
      setTimeout(settle, timeout, new Error("operation has timed out"));
    this.#acks[id] = settle;
  }

  /* ---- what the Manager calls ---- */

  opened() {
    const { engine } = this.io;
    const connect = (auth) => {
      if (!this.active || engine !== this.io.engine) return;  // a function may have been slow
      const recovery = this.#pid && { pid: this.#pid, offset: this.#offset };
      this.#send({ type: CONNECT, data: recovery ? { ...recovery, ...auth } : auth });
    };
    if (typeof this.auth === "function") this.call([this.auth], [connect]);
    else connect(this.auth);
  }

  closed(reason, error) {
    if (!this.connected) return this.dispatch("connect_error", error);
    this.connected = false;
    this.id = undefined;
    this.dispatch("disconnect", reason, error);
    for (const id in this.#acks)
      if (!this.sendBuffer.some((waiting) => waiting.id == id))  // that is not lost yet
        this.#acks[id](new Error("socket has been disconnected"));
  }

  receive(packet) {
    switch (packet.type) {
      case CONNECT: return this.#connected(packet.data);
      case DISCONNECT: return this.#leave("io server disconnect");
      case EVENT: return this.connected ? this.#event(packet) : this.receiveBuffer.push(packet);
      case ACK: return this.#acks[packet.id]?.(null, ...packet.data);
      case CONNECT_ERROR: return this.#refused(packet.data);
    }
  }

  #leave(reason) {
    this.active = false;
    this.io.left();
    if (this.connected) this.closed(reason);
  }

  #connected({ sid, pid }) {
    this.id = sid;
    this.recovered = pid !== undefined && pid === this.#pid;
    this.#pid = pid;
    this.connected = true;
    for (const packet of this.receiveBuffer.splice(0)) this.#event(packet);
    for (const { frames } of this.sendBuffer.splice(0)) this.io.engine.send(...frames);
    this.dispatch("connect");
  }

  #refused({ message, data }) {
    this.active = false;
    this.dispatch("connect_error", failure(message, { data }));
    this.io.left();
  }

  #event({ id, data }) {
    if (id !== undefined) data.push(this.#reply(id));
    this.call(this.#any.listeners("any"), data);
    this.dispatch(...data);
    if (this.#pid && typeof data.at(-1) === "string") this.#offset = data.at(-1);
  }

  /* To the session that asked: in the next one this number is another question. */
  #reply(id) {
    const session = this.id;
    let answered = false;
    return (...data) => {
      if (answered || this.id !== session) return;
      answered = true;
      this.#send({ type: ACK, id, data });
    };
  }
}

/* 7. io */

const managers = {};

/* http://host/chat/socket.io/socket.io.js comes from a server at /chat/socket.io/. */
const [, scriptOrigin, scriptPath] =
  /^(\w+:\/\/[^/]+)(\/.*\/)socket\.io\.js\b/.exec(globalThis.document?.currentScript?.src) ?? [];

/* Namespaces share a connection, two sockets of one namespace do not. */
function io(address, opts = {}) {
  if (typeof address === "object") [address, opts] = [undefined, address ?? opts];
  const { origin, pathname, href } = addressOf(address);
  const nsp = decodeURI(pathname);
  const path = opts.path ?? (origin === scriptOrigin ? scriptPath : DEFAULTS.path);
  const key = origin + path;
  const connect = () => new Manager(href, { ...opts, path });
  const isAlone = opts.forceNew || opts.multiplex === false || managers[key]?.nsps[nsp];
  return (isAlone ? connect() : managers[key] ??= connect()).socket(nsp, opts);
}

/* The face of 2011. */
io.Socket = function (host, { port = location.port, ...opts } = {}) {
  return io(`//${host || location.hostname}:${port}`,
            { ...opts, transports: undefined, autoConnect: false, forceNew: true });
};
io.Socket.prototype = Socket.prototype;

io.io = io.connect = io;
io.Manager = Manager;
io.protocol = 5;
io.wire = { encodePacket, Decoder, backoff };

if (typeof module === "object") module.exports = io;
else globalThis.io = io;
})();
