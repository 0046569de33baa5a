/* The other end for the client's tests: a real HTTP and WebSocket server on a free port that
   speaks just enough Engine.IO 4 to be scripted, and writes down all it gets.

     const peer = await Peer.start({ pingInterval: 50 });
     peer.session.send('42["x"]'); await peer.got('3'); peer.log; peer.stop(); */

"use strict";

const { createHash } = require("node:crypto");
const { EventEmitter, once } = require("node:events");
const { createServer } = require("node:http");

const SEPARATOR = "\x1e";
const HANDSHAKE = { upgrades: [], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 };

class Session extends EventEmitter {
  queue = [];
  waiting = null;  // the response to the GET that waits

  constructor(sid) { super(); this.sid = sid; }

  send(...packets) {
    if (this.websocket) return packets.forEach((packet) => this.websocket.send(packet));
    this.queue.push(...packets);
    this.flush();
  }

  flush() {
    if (!this.waiting || this.queue.length === 0) return;
    this.waiting.end(this.queue.splice(0).join(SEPARATOR));
    this.waiting = null;
  }
}

class Peer extends EventEmitter {
  log = [];        // {method, transport, sid, body | packet}
  faults = [];     // what no client may do
  sessions = [];
  holdPosts = null;  // a promise that POSTs wait for
  onpacket = null;   // (packet, session) may answer; true says that nothing else need

  static async start(options = {}, port = 0) {
    const peer = new Peer();
    peer.handshake = { ...HANDSHAKE, ...options };
    peer.http = createServer((request, response) => peer.#answer(request, response));
    peer.http.on("upgrade", (request, socket) => peer.#upgrade(request, socket));
    peer.http.listen(port, "127.0.0.1");
    await once(peer.http, "listening");
    peer.port = peer.http.address().port;
    peer.url = `http://127.0.0.1:${peer.port}`;
    return peer;
  }

  get session() { return this.sessions.at(-1); }
  get packets() { return this.log.flatMap(({ packet, body }) => packet ?? body?.split(SEPARATOR) ?? []); }
  requests(method) { return this.log.filter((entry) => entry.method === method); }

  stop() {
    this.http.close();
    this.http.closeAllConnections();
    for (const { websocket } of this.sessions) websocket?.socket.destroy();
  }

  /* Waits until a packet like this has come; `wanted` is text or a regular expression. */
  async got(wanted, count = 1) {
    const fits = (packet) => wanted instanceof RegExp ? wanted.test(packet) : wanted === packet;
    while (this.packets.filter(fits).length < count) await once(this, "packet");
    return this.packets.filter(fits)[count - 1];
  }

  #packet(packet, session) {
    this.emit("packet", packet, session);
    if (this.onpacket?.(packet, session)) return;
    const [connect, nsp] = /^40(\/[^,]*,)?/.exec(packet) ?? [];
    if (connect) session.send(`40${nsp ?? ""}{"sid":"socket-${this.sessions.length}"}`);
  }

  async #answer(request, response) {
    const { searchParams, pathname } = new URL(request.url, this.url);
    const query = Object.fromEntries(searchParams);
    const session = this.sessions.find(({ sid }) => sid === query.sid);
    const entry = { method: request.method, pathname, query, sid: query.sid };
    this.log.push(entry);
    this.emit("request", entry);
    if (this.page) return response.end(this.page);
    if (this.refuse) return response.writeHead(400).end(this.refuse);
    if (this.silent) return;
    if (request.method === "GET" && !query.sid) return this.#open(response);
    if (!session) return response.writeHead(400).end('{"code":1,"message":"Session ID unknown"}');
    if (request.method === "GET") {
      if (session.waiting) this.faults.push("a GET while another waits");
      session.waiting = response;
      return session.flush();
    }
    if (session.posting) this.faults.push("a POST while another is on its way");
    session.posting = true;
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    entry.body = Buffer.concat(chunks).toString();
    await this.holdPosts;
    session.posting = false;
    response.end("ok");
    for (const packet of entry.body.split(SEPARATOR)) this.#packet(packet, session);
  }

  #open(target) {
    const session = new Session(`engine-${this.sessions.length + 1}`);
    this.sessions.push(session);
    target.end(`0${JSON.stringify({ sid: session.sid, ...this.handshake })}`);
  }

  #upgrade(request, socket) {
    const query = Object.fromEntries(new URL(request.url, this.url).searchParams);
    this.log.push({ method: "WEBSOCKET", query, sid: query.sid });
    if (this.refuseWebSocket) return socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    const accept = createHash("sha1").update(
      `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
                 `Sec-WebSocket-Accept: ${accept.digest("base64")}\r\n\r\n`);
    const websocket = new Frames(socket);
    let session = this.sessions.find(({ sid }) => sid === query.sid);
    if (!session) {
      this.#open({ end: (packet) => websocket.send(packet) });
      session = this.session;
      session.websocket = websocket;
    }
    websocket.onmessage = (packet) => {
      this.log.push({ method: "FRAME", sid: query.sid, packet: [packet] });
      if (packet === "2probe") return this.onprobe ? this.onprobe(websocket) : websocket.send("3probe");
      if (packet === "5") session.websocket = websocket;
      this.#packet(packet, session);
    };
  }
}

/* RFC 6455, as much of it as a test's server needs: whole frames below 64 KiB. */
class Frames {
  constructor(socket) {
    this.socket = socket;
    let bytes = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("data", (data) => {
      bytes = Buffer.concat([bytes, data]);
      for (let end; (end = this.#frame(bytes)); ) bytes = bytes.subarray(end);
    });
  }

  #frame(bytes) {
    if (bytes.length < 6) return 0;
    const long = (bytes[1] & 127) === 126;
    const length = long ? bytes.readUInt16BE(2) : bytes[1] & 127;
    const start = (long ? 4 : 2) + 4;
    if (bytes.length < start + length) return 0;
    const key = bytes.subarray(start - 4, start);
    const payload = Buffer.from(bytes.subarray(start, start + length).map((b, i) => b ^ key[i % 4]));
    const opcode = bytes[0] & 15;
    if (opcode === 8) this.socket.end(Buffer.from([0x88, 0]));
    else this.onmessage(opcode === 1 ? payload.toString() : payload);
    return start + length;
  }

  send(packet) {
    const payload = Buffer.from(packet);
    const head = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255];
    this.socket.write(Buffer.concat([
      Buffer.from([typeof packet === "string" ? 0x81 : 0x82, ...head]), payload]));
  }
}

module.exports = { Peer };
