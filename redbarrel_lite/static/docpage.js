// The trying on the page `__doc__`: a form for each service, a console for each socket.
// The page is whole without it; what needs it is hidden until it runs.
"use strict";
{
  const MAX_SHOWN = 200_000; // characters of an answer; a stream may never end

  // A proxy may have put the application below a url of its own, which is not in the file.
  const own = `${document.body.dataset.root}/__doc__`;
  const here = location.pathname.replace(/\/+$/, "");
  const prefix = here.endsWith(own) ? here.slice(0, -own.length) : "";

  const element = (name, text = "", className = "") =>
    Object.assign(document.createElement(name), { textContent: text, className });

  // A url from its parts: texts, and pairs of a name and whether its value may hold slashes.
  const filled = (parts, values) =>
    prefix + parts.map((part) => {
      if (typeof part === "string") return part;
      const [name, slashes] = part;
      const value = values[name] ?? "";
      return slashes ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
    }).join("");

  const matches = (form) =>
    Object.fromEntries([...form.querySelectorAll("[data-name]")].map((input) => [input.dataset.name, input.value]));

  // -- services

  const headersOf = (text) => {
    const headers = new Headers();
    for (const line of text.split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0 && line.slice(colon + 1).trim()) headers.append(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
      else if (colon < 1 && line.trim()) throw new Error(`“${line}” is not a header: write Name: value`);
    }
    return headers;
  };

  const requestOf = (form, signal) => {
    const { method, query, headers, body } = form.elements;
    const url = filled(JSON.parse(form.dataset.url), matches(form)) + (query.value && `?${query.value.replace(/^\?/, "")}`);
    const options = { method: method.value, headers: headersOf(headers.value), signal, cache: "no-store" };
    if (takesBody(form) && body.value) {
      options.body = body.value;
      if (!options.headers.has("content-type")) options.headers.set("content-type", form.dataset.type);
    }
    return [url, options];
  };

  const takesBody = (form) => !["GET", "HEAD"].includes(form.elements.method.value);

  const isText = (type) => /^(text\/|application\/(.*[+/])?(json|xml|javascript|ecmascript|x-www-form-urlencoded)\b|image\/svg)/.test(type);

  // The body as it comes, so that a stream is seen to stream.
  const read = async (response, show) => {
    const type = response.headers.get("content-type") ?? "text/plain";
    const decoder = new TextDecoder();
    let text = "";
    let size = 0;
    const reader = response.body?.getReader();
    while (reader) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (!isText(type)) continue;
      text += decoder.decode(value, { stream: true });
      show(text);
      if (text.length > MAX_SHOWN) {
        await reader.cancel();
        return `${text.slice(0, MAX_SHOWN)}\n… and so on`;
      }
    }
    if (!isText(type)) return size ? `(${size} bytes of ${type})` : "";
    text += decoder.decode();
    if (!/json/.test(type)) return text;
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  };

  const tryService = (form) => {
    const answer = form.parentElement.querySelector(".answer");
    const [line, headers, body] = ["-line", "-headers", "-body"].map((name) => answer.querySelector(`.answer${name}`));
    const button = form.querySelector("button");
    let running = null;

    const send = async () => {
      const started = performance.now();
      try {
        const response = await fetch(...requestOf(form, running.signal));
        const took = Math.round(performance.now() - started);
        const status = element("b", `${response.status} ${response.statusText}`.trim(), `status s${Math.floor(response.status / 100)}`);
        line.replaceChildren(status, `${took} ms${response.redirected ? `, redirected to ${response.url}` : ""}`);
        headers.textContent = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
        body.textContent = await read(response, (text) => (body.textContent = text));
      } catch (error) {
        const stopped = error.name === "AbortError";
        line.append(...(stopped ? [" stopped"] : [element("b", "No answer", "status s5"), error.message]));
      }
    };

    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (running) return running.abort();
      running = new AbortController();
      answer.hidden = false;
      for (const part of [line, headers, body]) part.textContent = "";
      button.textContent = "Stop";
      await send();
      running = null;
      button.textContent = "Send";
    });
    const showBody = () => (form.elements.body.parentElement.hidden = !takesBody(form));
    form.elements.method.addEventListener("change", showBody);
    showBody();
  };

  // -- sockets: each `open` returns { send(event, args, wantsReply), close() } and tells of
  // what happens through `on`: opened(what), heard(event, text), closed(why), failed(why).

  const scripts = new Map(); // the promise of each client script, by its url
  const script = (url) => {
    if (!scripts.has(url)) {
      scripts.set(url, new Promise((loaded, failed) => {
        const tag = element("script");
        tag.src = url;
        tag.onload = loaded;
        tag.onerror = () => {
          scripts.delete(url);
          failed(new Error(`${url} can’t be loaded`));
        };
        document.head.append(tag);
      }));
    }
    return scripts.get(url);
  };

  const shown = (value) => JSON.stringify(value, (_, one) =>
    one instanceof ArrayBuffer || ArrayBuffer.isView(one) ? `(${one.byteLength} bytes)` : one) ?? "undefined";

  const openSocketIo = async (form, url, on) => {
    const path = `${url.replace(/\/+$/, "")}/`;
    const { namespace, auth } = form.elements;
    const options = { path, forceNew: true, reconnection: false };
    if (auth.value.trim()) options.auth = JSON.parse(auth.value);
    await script(`${path}socket.io.js`);
    const socket = globalThis.io(new URL(namespace.value || "/", location.origin).href, options);
    socket.on("connect", () => on.opened(`connected as ${socket.id}`));
    socket.on("connect_error", (error) => on.failed(error.message));
    socket.on("disconnect", (reason) => on.closed(reason));
    socket.onAny((event, ...args) => on.heard(event, args.filter((one) => typeof one !== "function").map(shown).join(", ")));
    return {
      send: (event, args, wantsReply) => {
        const list = JSON.parse(`[${args}]`);
        if (wantsReply) list.push((...reply) => on.heard(`${event} acknowledged`, reply.map(shown).join(", ")));
        socket.emit(event, ...list);
      },
      close: () => socket.disconnect(),
    };
  };

  const openWebSocket = (url, query, on, hear, write) => {
    const target = new URL(url + query, location.href);
    target.protocol = target.protocol.replace("http", "ws");
    const socket = new WebSocket(target);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => on.opened("connected");
    socket.onclose = ({ code, reason }) => on.closed(`closed with ${code}${reason && `, ${reason}`}`);
    socket.onerror = () => on.failed("no connection");
    socket.onmessage = ({ data }) => hear(data, socket);
    return { send: (_, args) => socket.send(write(args)), close: () => socket.close() };
  };

  const said = (data) => (typeof data === "string" ? data : `(${data.byteLength} bytes)`);

  const OPEN = {
    socketio: openSocketIo,
    websocket: async (_, url, on) =>
      openWebSocket(url, "", on, (data) => on.heard("", said(data)), (text) => text),
    // Engine.IO 4: a packet's type is its first character; a ping is answered, a message shown.
    engineio: async (_, url, on) => {
      const hear = (data, socket) => {
        if (data === "2") socket.send("3");
        else if (typeof data !== "string" || data[0] === "4") on.heard("", said(typeof data === "string" ? data.slice(1) : data));
      };
      return openWebSocket(url, "?EIO=4&transport=websocket", on, hear, (text) => `4${text}`);
    },
  };

  const trySocket = (box) => {
    const [form, sending] = [".connect", ".send"].map((name) => box.querySelector(name));
    const [log, state, button, fields] = [
      box.querySelector("[role=log]"), form.querySelector(".state"), form.querySelector("button"), sending.querySelector("fieldset"),
    ];
    let socket = null;

    const note = (kind, event, text) => {
      const row = element("li", "", kind);
      const words = element("span");
      words.append(...(event ? [element("b", event), ` ${text}`] : [text]));
      row.append(element("span", { in: "←", out: "→", note: "·" }[kind]), words, element("time", new Date().toLocaleTimeString()));
      log.append(row);
      log.scrollTop = log.scrollHeight;
    };
    const show = (text, kind = "") => {
      state.textContent = text;
      state.className = `state ${kind}`;
      fields.disabled = kind !== "open";
      button.textContent = socket ? "Disconnect" : "Connect";
    };
    const on = {
      opened: (what) => {
        note("note", "", what);
        show(what, "open");
      },
      heard: (event, text) => note("in", event, text),
      closed: (why) => {
        socket = null;
        note("note", "", `disconnected: ${why}`);
        if (state.matches(".fault")) show(state.textContent, "fault");
        else show("not connected");
      },
      failed: (why) => {
        socket?.close();
        socket = null;
        note("note", "", `failed: ${why}`);
        show(why, "fault");
      },
    };

    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (socket) return socket.close();
      show("connecting …");
      button.disabled = true;
      try {
        socket = await OPEN[form.dataset.protocol](form, filled(JSON.parse(form.dataset.url), {}), on);
        button.textContent = "Disconnect";
      } catch (error) {
        on.failed(error.message);
      }
      button.disabled = false;
    });
    sending.addEventListener("submit", (event) => {
      event.preventDefault();
      const { event: name, args, ack } = sending.elements;
      try {
        socket.send(name?.value, args.value, ack?.checked);
        note("out", name?.value, args.value);
      } catch (error) {
        note("note", "", `not sent: ${error.message}`);
      }
    });
  };

  for (const box of document.querySelectorAll(".try")) {
    box.hidden = false;
    const service = box.querySelector("form.service");
    if (service) tryService(service);
    if (box.querySelector("form.connect")) trySocket(box);
  }
}
