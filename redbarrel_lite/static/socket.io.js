/* socket.io.js: the browser's side of Socket.IO 5 over Engine.IO 4, as one classic script.

     <script src="/socket.io/socket.io.js"></script>
     <script> const socket = io(); socket.on("message", show); socket.send("hello"); </script>

   It reads from the ground up: Emitter, packets, Polling (HTTP that wears WebSocket's face),
   Engine (one session), Manager (reconnects), Socket (one namespace), io. Left out on purpose:
   Engine.IO 3, JSONP, WebTransport, other parsers, `retries`. */

(() => {
"use strict";

const noop = () => {};

/* ---- 1. Emitter ---- */

class Emitter {
  #listeners = new Map();

  listeners(event) { return this.#listeners.get(event) ?? []; }

  on(event, listener) {
    this.#listeners.set(event, [...this.listeners(event), listener]);
    return this;
  }

  once(event, listener) {
    const wrapper = (...args) => { this.off(event, wrapper); listener.apply(this, args); };
    wrapper.listener = listener;
    return this.on(event, wrapper);
  }

  off(event, listener) {
    if (event === undefined) this.#listeners.clear();
    else if (listener === undefined) this.#listeners.delete(event);
    else this.#listeners.set(event, this.listeners(event).filter(
      (known) => known !== listener && known.listener !== listener));
    return this;
  }

  /* Not called `emit`: a Socket's emit sends. What a listener throws is thrown in a task of its
     own, so that the next packet of the same poll is not lost. */
  dispatch(event, ...args) { this.call(this.listeners(event), args); }

  call(listeners, args) {
    for (const listener of listeners) {
      try { listener.apply(this, args); } catch (error) { setTimeout(() => { throw error; }); }
    }
  }
}

Emitter.prototype.removeListener = Emitter.prototype.removeAllListeners = Emitter.prototype.off;

/* ---- 2. packets ---- */

const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4, BINARY_EVENT = 5;
const BINARY = BINARY_EVENT - EVENT;  // BINARY_ACK (6) stands as far from ACK

const RESERVED_EVENTS = ["connect", "connect_error", "disconnect", "disconnecting",
                         "newListener", "removeListener"];

const isBinary = (value) =>
  value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob;

/* 51-/admin,12["paint",{"_placeholder":true,"num":0}] and one binary frame: type, number of
   attachments (if any), namespace (unless "/"), id (if an acknowledgement is wanted), JSON. */
function encodePacket({ type, nsp = "/", id = "", data }) {
  const attachments = [];
  const json = JSON.stringify(data, function (key, value) {
    const original = this[key];  // `value` has been through toJSON, which Node's Buffer has
    if (!isBinary(original)) return value;
    return { _placeholder: true, num: attachments.push(original) - 1 };
  }) ?? "";
  const head = attachments.length ? `${type + BINARY}${attachments.length}-` : type;
  return [`${head}${nsp === "/" ? "" : `${nsp},`}${id}${json}`, ...attachments];
}

const HEAD = /^(?:([0-4])|([56])([1-9]\d*)-)(?:(\/[^,]*),?)?(\d+)?/;

const isObject = (data) => ({}).toString.call(data) === "[object Object]";
const isValid = {
  [CONNECT]: isObject,
  [DISCONNECT]: (data) => data === undefined,
  [EVENT]: (data) => Array.isArray(data) && !RESERVED_EVENTS.includes(data[0]) &&
    /string|number/.test(typeof data[0]),
  [ACK]: Array.isArray,
  [CONNECT_ERROR]: (data) => typeof data === "string" || isObject(data),
};

/* `add` answers undefined while attachments are to come; a BINARY_EVENT comes out as EVENT. */
class Decoder {
  #packet = null;

  add(frame) {
    if ((typeof frame === "string") === (this.#packet !== null))
      throw new Error("attachments out of place");
    if (this.#packet) this.#packet.attachments.push(frame);
    else this.#packet = this.#header(frame);
    if (this.#packet.attachments.length < this.#packet.count) return undefined;
    const packet = this.#finish(this.#packet);
    this.#packet = null;
    return packet;
  }

  #header(frame) {
    const [head, plain, binary, count = 0, nsp = "/", id] = HEAD.exec(frame) ?? [""];
    if (!head) throw new Error(`no Socket.IO packet: ${frame.slice(0, 40)}`);
    return { type: Number(plain ?? binary - BINARY), nsp, id: id && Number(id),
             json: frame.slice(head.length), count, attachments: [] };
  }

  #finish({ type, nsp, id, json, count, attachments }) {
    const fill = (key, value) => {
      if (value?._placeholder !== true) return value;
      const attachment = Number.isInteger(value.num) && attachments[value.num];
      if (!attachment) throw new Error("illegal attachments");
      return attachment;
    };
    const data = json ? JSON.parse(json, count && fill) : undefined;
    if (!isValid[type](data)) throw new Error(`invalid payload of packet type ${type}`);
    return { type, nsp, id, data };
  }
}

/* ---- 3. Polling ---- */

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

/* To its Engine this is a WebSocket: text is one Engine.IO packet, a buffer one message. Inside,
   one GET always waits for packets, and one POST at a time carries ours: two would race. */
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

  get bufferedAmount() { return this.queue.length + (this.#posting ? 1 : 0); }

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
        if (packet === "1") this.#end(this.onclose);
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
    if (!response.ok) throw new Error(`${response.status} ${text.slice(0, 200)}`);
    return text;
  }

  #fault = (error) => {
    if (!this.#closed) this.#end(this.onerror, { message: `polling error: ${error.message}` });
  };

  #end(handler, event) {
    this.#closed = true;
    this.#abort.abort();
    handler(event);
  }
}

/* ---- 4. Engine ---- */

const silence = (transport) => {
  transport.onopen = transport.onmessage = transport.onerror = transport.onclose = noop;
};

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
    globalThis.addEventListener?.("pagehide", this.#gone);
    this.#use(this.#create(this.#transports[0]));
  }

  get #transports() {
    const { transports, WebSocket } = this.#opts;
    return transports.filter((name) => name === "polling" || (name === "websocket" && WebSocket));
  }

  #create(name) {
    const url = new URL(this.#url);
    url.protocol = url.protocol.replace(/^(http|ws)/, name === "polling" ? "http" : "ws");
    const query = { ...this.#opts.query, EIO: 4, transport: name };
    if (this.id) query.sid = this.id;
    for (const key in query) url.searchParams.set(key, query[key]);
    if (name === "polling") return new Polling(url, this.#opts);
    const websocket = new this.#opts.WebSocket(url);
    websocket.binaryType = "arraybuffer";
    websocket.name = name;
    return websocket;
  }

  #use(transport) {
    this.transport = transport;
    transport.onmessage = ({ data }) => this.#receive(data);
    transport.onclose = (cause) =>
      this.drop("transport close", new Error("transport close", { cause }));
    transport.onerror = ({ message }) =>
      this.drop("transport error", new Error(message || `${transport.name} error`));
  }

  #receive(data) {
    if (typeof data !== "string") return this.dispatch("message", data);
    switch (data[0]) {
      case "0": return this.#open(data.slice(1));
      case "1": return this.drop("transport close");
      case "2": return this.#ping(data.slice(1));
      case "4": return this.dispatch("message", data.slice(1));
      case "6": return undefined;  // noop
    }
    return this.drop("transport error", new Error(`no Engine.IO packet: ${data.slice(0, 40)}`));
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
    const offers = this.#opts.upgrade && this.readyState === "open" ? upgrades : [];
    if (offers.includes("websocket") && this.#transports.includes("websocket")) this.#probe();
  }

  #ping(payload) {
    this.#expect("ping timeout");
    this.transport.send(`3${payload}`);
    this.dispatch("ping");
  }

  /* The moment is kept besides the timer, which stands still while a laptop sleeps: what is
     emitted on waking must not go into a dead connection. */
  #expect(reason, patience = this.#patience) {
    clearTimeout(this.#timer);
    this.#deadline = Date.now() + patience;
    if (patience < Infinity)
      this.#timer = setTimeout(() => this.drop(reason), patience);
  }

  checkHeartbeat() {
    if (Date.now() > this.#deadline) this.drop("ping timeout");
  }

  send(frame) { this.transport.send(typeof frame === "string" ? `4${frame}` : frame); }

  /* 2probe ->, <- 3probe, pause: the POST arrives, the GET is answered; 5 ->, then what was sent
     meanwhile. An earlier 5 would lose what that GET brings; packets would overtake that POST. */
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

  /* The page is left. If the browser brings it back, the Manager reconnects. */
  #gone = () => this.drop("transport close");

  close() { this.drop("forced close"); }

  drop(reason, error = new Error(reason)) {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.("pagehide", this.#gone);
    this.#abandon();
    silence(this.transport);
    this.transport.close();
    this.dispatch("close", reason, error);
  }
}

/* ---- 5. Manager ---- */

/* Milliseconds before reconnecting, for attempt 0, 1, 2...; `random` is in [0, 1). Doubled, to
   spare a server that comes back; spread, so that a thousand clients do not come at once. */
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

/* Events: open, ping, error, close, reconnect, reconnect_attempt,
   reconnect_error, reconnect_failed. */
class Manager extends Emitter {
  readyState = "closed";  // then opening, open; waiting: to reconnect
  engine = null;
  nsps = {};
  #attempts = 0;
  #timer;
  #mayReconnect = false;

  constructor(uri, opts) {
    super();
    this.uri = uri;
    this.opts = { ...DEFAULTS, ...opts };
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
    this.#mayReconnect = this.opts.reconnection;
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
    this.#mayReconnect = false;
    this.#attempts = 0;
    clearTimeout(this.#timer);
    this.readyState = "closed";
    this.engine?.close();
  }

  packet(packet) { for (const frame of encodePacket(packet)) this.engine.send(frame); }

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
    const failed = this.readyState === "opening";
    this.readyState = "closed";
    for (const socket of this.#active) socket.closed(reason, error);
    this.dispatch(...failed ? ["error", error] : ["close", reason, error]);
    if (failed && this.#attempts) this.dispatch("reconnect_error", error);
    if (this.#mayReconnect && this.readyState === "closed") this.#reconnect();
  }

  #reconnect() {
    if (this.#attempts >= this.opts.reconnectionAttempts) {
      this.#attempts = 0;
      return this.dispatch("reconnect_failed");
    }
    this.readyState = "waiting";
    this.#timer = setTimeout(() => {
      this.dispatch("reconnect_attempt", this.#attempts);
      if (this.readyState === "waiting") this.open();
    }, backoff(this.#attempts++, this.opts, Math.random()));
  }
}

/* ---- 6. Socket ---- */

/* What is emitted without a connection waits in sendBuffer for the next one. */
class Socket extends Emitter {
  connected = false;
  active = false;  // wants to be connected
  recovered = false;
  id;
  sendBuffer = [];
  receiveBuffer = [];
  #acks = new Map();  // id -> what to do with the answer
  #nextId = 0;
  #flags = {};  // of the next emit
  #any = [];
  #pid;  // these two are for connection state recovery
  #offset;

  constructor(io, nsp, opts = {}) {
    super();
    this.io = io;
    this.nsp = nsp;
    this.auth = opts.auth;
  }

  get disconnected() { return !this.connected; }

  get volatile() { return this.#flag({ volatile: true }); }
  timeout(milliseconds) { return this.#flag({ timeout: milliseconds }); }
  #flag(flag) { Object.assign(this.#flags, flag); return this; }

  onAny(listener) { this.#any = [...this.#any, listener]; return this; }
  offAny(listener) {
    this.#any = listener ? this.#any.filter((known) => known !== listener) : [];
    return this;
  }

  connect() {
    const isNew = !this.active;
    this.active = true;
    if (this.io.readyState === "closed") this.io.open();
    else if (this.io.readyState === "open" && isNew) this.opened();
    return this;
  }

  disconnect() {
    if (this.connected) this.#packet({ type: DISCONNECT });
    this.#leave("io client disconnect");
    return this;
  }

  send(...args) { return this.emit("message", ...args); }

  emit(event, ...args) {
    if (RESERVED_EVENTS.includes(event)) throw new Error(`"${event}" is a reserved event name`);
    const { volatile, timeout } = this.#flags;
    this.#flags = {};
    this.io.engine?.checkHeartbeat();
    const packet = { type: EVENT, data: [event, ...args] };
    if (typeof args.at(-1) === "function") this.#expectAck(packet, timeout);
    // Volatile: only while nothing older still waits to leave.
    if (volatile && (!this.connected || this.io.engine.transport.bufferedAmount)) return this;
    if (this.connected) this.#packet(packet);
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

  #packet(packet) { this.io.packet({ nsp: this.nsp, ...packet }); }

  /* With a deadline, or a promise, `ack` gets an error or null before the answer. */
  #expectAck(packet, timeout) {
    const ack = packet.data.pop();
    const id = packet.id = this.#nextId++;
    const settle = (error, ...answer) => {
      clearTimeout(timer);
      this.#acks.delete(id);
      this.sendBuffer = this.sendBuffer.filter((waiting) => waiting.id !== id);
      if (timeout || ack.withError) this.call([ack], [error, ...answer]);
      else if (!error) this.call([ack], answer);
    };
    const timer = timeout && setTimeout(settle, timeout, new Error("operation has timed out"));
    this.#acks.set(id, settle);
  }

  /* ---- what the Manager calls ---- */

  opened() {
    const connect = (auth) => {
      const data = this.#pid ? { pid: this.#pid, offset: this.#offset, ...auth } : auth;
      this.#packet({ type: CONNECT, data });
    };
    if (typeof this.auth === "function") this.auth(connect);
    else connect(this.auth);
  }

  closed(reason, error) {
    if (!this.connected) return this.dispatch("connect_error", error);
    this.connected = false;
    this.id = undefined;
    this.dispatch("disconnect", reason, error);
    for (const [id, settle] of this.#acks)  // what waits in sendBuffer is not lost yet
      if (!this.sendBuffer.some((packet) => packet.id === id))
        settle(new Error("socket has been disconnected"));
  }

  receive(packet) {
    switch (packet.type) {
      case CONNECT: return this.#connected(packet.data);
      case DISCONNECT: return this.#leave("io server disconnect");
      case EVENT: return this.connected ? this.#event(packet) : this.receiveBuffer.push(packet);
      case ACK: return this.#acks.get(packet.id)?.(null, ...packet.data);
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
    this.recovered = Boolean(pid) && pid === this.#pid;
    this.#pid = pid;
    this.connected = true;
    for (const packet of this.receiveBuffer.splice(0)) this.#event(packet);
    for (const packet of this.sendBuffer.splice(0)) this.#packet(packet);
    this.dispatch("connect");
  }

  #refused(data) {
    this.active = false;
    const error = Object.assign(new Error(data.message ?? data), { data: data.data });
    this.dispatch("connect_error", error);
    this.io.left();
  }

  #event({ id, data }) {
    this.call(this.#any, data);
    const [event, ...args] = data;
    this.dispatch(event, ...args, ...id === undefined ? [] : [this.#reply(id)]);
    if (this.#pid && typeof args.at(-1) === "string") this.#offset = args.at(-1);
  }

  /* To the session that asked: in the next one this number is another question. */
  #reply(id) {
    const session = this.id;
    let answered = false;
    return (...data) => {
      if (answered || this.id !== session) return;
      answered = true;
      this.#packet({ type: ACK, id, data });
    };
  }
}

/* ---- 7. io ---- */

const location = globalThis.location ?? new URL("http://localhost");
const managers = new Map();

/* /chat/socket.io/socket.io.js comes from a server at /chat/socket.io/. */
const script = new URL(globalThis.document?.currentScript?.src || "no:script");
const scriptPath = /^(.*\/)socket\.io\.js$/.exec(script.pathname)?.[1];

/* `url`: an address, a namespace of this page's server ("/news"), or both. */
function io(url, options) {
  if (url && typeof url === "object") return io("/", url);
  const address = url || "/";
  const target = new URL(/^(\w+:)?\//.test(address) ? address : `//${address}`, location.href);
  const nsp = decodeURI(target.pathname);
  const opts = { query: Object.fromEntries(target.searchParams), ...options };
  opts.path ??= (target.origin === script.origin && scriptPath) || DEFAULTS.path;
  if (opts.forceNew || opts.multiplex === false)
    return new Manager(target.origin, opts).socket(nsp, opts);
  const key = target.origin + opts.path;
  if (!managers.has(key) || managers.get(key).nsps[nsp])
    managers.set(key, new Manager(target.origin, opts));
  return managers.get(key).socket(nsp, opts);
}

/* The face of 2011, less the transports of that year. */
io.Socket = function LegacySocket(host, { port, transports, ...opts } = {}) {
  const target = new URL("/", location.href);
  if (host) target.hostname = host;
  if (port) target.port = port;
  return io(target.href, { ...opts, autoConnect: false, forceNew: true });
};
io.Socket.prototype = Socket.prototype;

io.connect = io;
io.Manager = Manager;
io.protocol = 5;
io.wire = { encodePacket, Decoder, backoff };

if (typeof module === "object") module.exports = io;
else globalThis.io = io;
})();
