"use strict";
/* The page of the wire: what `wirepage` tells, drawn. One subject is looked at, a
   connection ("c5") or a session ("s2"); all else is a line in the list. */

const $ = (id) => document.getElementById(id);
const MAX_ROWS = 400;
const MAX_ENDED = 60;           // connections that have ended, as the server remembers
const MAX_DRAWN = 1024;         // bytes of a layer, until somebody asks for the rest
const NEXT = "s0";              // the session that is yet to begin
const KINDS = { HTTP: "http", WebSocket: "websocket", "Engine.IO": "engine", "Socket.IO": "socket" };

const socket = io({ path: `${location.pathname.replace(/[^/]*$/, "")}socket.io/` });
const connections = new Map();  // by number
let subject = "";               // what is looked at
let items = [];                 // its timeline
let late = [];                  // what came during a pause, the last of it
let lateCount = 0;
let chosen = null;              // the item whose bytes are shown
let held = { on: false, by: "", waiting: [] };  // of what is looked at
let holding = "";               // what is led step by step, looked at or not
const texts = new WeakMap();    // of items, for the filter
let isPressed = false;          // a line of the list of connections

// -- small things ------------------------------------------------------------------

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A line is short: how long a secret is helps nobody. */
const brief = (summary) => summary.replace(/\*{4,}/g, "…");

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** Where somebody is: on this machine, the port says it all. */
const placeOf = (peer) => peer.replace(/^(127\.0\.0\.1|\[::1\])(?=:)/, "");

const isStacked = () => getComputedStyle(document.querySelector("main")).gridTemplateColumns.split(" ").length === 1;

const protocolOf = (name) => Object.keys(KINDS).find((one) => name.startsWith(one)) || "";
const kindOf = (name) => KINDS[protocolOf(name)] || "other";

function* walk(layer) {
  yield layer;
  for (const inner of layer.inner) yield* walk(inner);
}

/** What says most: the innermost layers, or the one that is wrong. */
function cores(layer) {
  const all = [...walk(layer)];
  const wrong = all.find((one) => one.fault);
  return wrong ? [wrong] : all.filter((one) => !one.inner.length);
}

/** All that is in an item, in any of its layers. */
function textOf(item) {
  const inside = (one) => [one.layer, one.summary, ...one.fields.flatMap(({ name, value }) => [name, value]), new TextDecoder().decode(bytesOf(one.bytes))];
  if (!texts.has(item)) texts.set(item, [...walk(item.layer)].flatMap(inside).join(" ").toLowerCase());
  return texts.get(item);
}

function bytesOf(hex) {
  return Uint8Array.from({ length: hex.length / 2 }, (_, at) => parseInt(hex.substr(at * 2, 2), 16));
}

function sizeOf(bytes) {
  return bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// -- connections -------------------------------------------------------------------

/** Not while somebody presses one of them: a button that is another one when it is let go was not clicked. */
function drawConnections(said = []) {
  if (isPressed) return;
  const sessions = new Map();
  const alone = [];
  for (const one of connections.values()) {
    if (!one.session) alone.push(one);
    else sessions.set(one.session, [...(sessions.get(one.session) || []), one]);
  }
  const rows = [];
  for (const [number, members] of [...sessions].reverse()) {
    const isOpen = members.some((one) => one.open);
    const count = counted(members.length, "connection");
    const isSaid = members.some((one) => said.includes(one.number));
    rows.push(row(`s${number}`, `Session ${number}`, count, "", isOpen, false, isSaid));
    for (const one of members.reverse()) rows.push(rowOf(one, true, said));
  }
  for (const one of alone.reverse()) rows.push(rowOf(one, false, said));
  if (!rows.length) rows.push($("hello").content.cloneNode(true));
  const focused = document.activeElement.dataset.key;
  $("connections").replaceChildren(row(NEXT, "The next session", "", "step by step, from its first byte", false, false, false), ...rows);
  if (focused) document.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
}

function rowOf(one, isInner, said) {
  const title = `${one.number} · ${one.speaks} · ${placeOf(one.peer)}`;
  const count = sizeOf(one.in + one.out);
  return row(`c${one.number}`, title, count, one.label, one.open, isInner, said.includes(one.number));
}

function row(key, title, count, label, isOpen, isInner, isSaid) {
  const made = element("li", `${isOpen ? "open" : ""} ${isInner ? "inner" : ""} ${isSaid ? "news" : ""}`);
  const button = element("button");
  button.dataset.key = key;
  button.setAttribute("aria-current", String(key === subject));
  button.append(element("span", "title", title), element("span", "count", count));
  if (key === holding) button.append(element("span", "label", "held: step by step"));
  else if (label) button.append(element("span", "label", brief(label)));
  if (key !== NEXT) button.append(element("span", "unseen", isOpen ? "open" : "ended"));
  button.title = brief(label || title);
  button.onclick = () => look(key);
  made.append(button);
  return made;
}

async function look(key) {
  if (subject === NEXT && key !== NEXT) socket.emit("hold", NEXT, false);
  if (key === NEXT && holding) socket.emit("hold", holding, false);
  subject = key;
  const answer = await socket.emitWithAck("watch", key);
  items = answer.items;
  late = [];
  lateCount = 0;
  choose(null);
  history.replaceState(null, "", key === NEXT ? location.pathname : `#${key}`);
  $("subject").textContent = key[0] === "s" ? `session ${key.slice(1)}` : `connection ${key.slice(1)}`;
  if (key === NEXT) {
    socket.emit("hold", NEXT, true);
    $("subject").textContent = "waiting: open the application, or reload it";
  }
  drawTimeline();
  drawHeld(answer.held);
  choose(null);
drawConnections();
}

// -- timeline ----------------------------------------------------------------------

function fits(item) {
  if (!item.layer) return true;
  const all = [...walk(item.layer)];
  const wanted = new Set([...document.querySelectorAll("#layers :checked")].map((box) => box.value));
  const protocol = protocolOf(all.at(-1).layer);
  if (protocol && !wanted.has(protocol)) return false;
  const text = $("filter").value.trim().toLowerCase();
  return !text || textOf(item).includes(text);
}

function drawTimeline() {
  $("timeline").replaceChildren(...items.filter(fits).map((item) => lineOf(item)));
  $("timeline").dataset.empty = !subject ? "" : items.length ? "Nothing of it fits the filter." : "Nothing has been said here yet.";
  mark();
  $("timeline").scrollTop = $("timeline").scrollHeight;
}

function addItems(news) {
  items.push(...news);
  items.splice(0, items.length - MAX_ROWS);
  const list = $("timeline");
  keepingEnd(() => {
    for (const item of news.filter(fits)) {
      const line = lineOf(item);
      line.classList.add("new");
      list.append(line);
    }
    while (list.children.length > MAX_ROWS) list.firstChild.remove();
  });
}

/** Whoever sees the end of the timeline goes on to see it, whatever grows in it or below. */
function keepingEnd(change) {
  const list = $("timeline");
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  change();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function lineOf(item) {
  if (item.end) {
    const end = element("li", "end", `connection ${item.connection}: ${item.end}`);
    end.setAttribute("role", "option");
    end.setAttribute("aria-disabled", "true");
    return end;
  }
  const layers = [...walk(item.layer)];
  const inmost = cores(item.layer);
  const inner = inmost.at(-1);
  const line = element("li", `${item.from} ${kindOf(inner.layer)} ${inner.fault ? "wrong" : ""}`);
  const time = element("time", "", item.at === undefined ? "" : `${(item.at / 1000).toFixed(item.at < 1e5 ? 3 : 1)} s`);
  const arrow = element("div", "arrow");
  const chips = element("div", "chips");
  if (subject[0] === "s") time.append(element("small", "", `conn. ${item.connection}`));
  for (const layer of layers) {
    chips.append(element("span", `chip ${kindOf(layer.layer)}`, layer.layer));
  }
  if (inner.fault) chips.append(element("span", "chip fault", "wrong"));
  if (item.layer.missing !== undefined) chips.append(element("span", "chip fault", "unfinished"));
  const words = element("div", "words");
  words.append(
    element("span", "unseen", `from the ${item.from}: `),
    element("span", "said", inmost.map((one) => brief(one.summary)).join(" · ")),
    element("span", "size", sizeOf(item.size)),
  );
  arrow.append(words, chips);
  line.append(time, arrow);
  line.item = item;
  if (item.id !== undefined) line.id = `item${item.id}`;
  line.setAttribute("role", "option");
  line.setAttribute("aria-selected", "false");
  line.onclick = () => {
    choose(item);
    if (isStacked()) $("anatomy").scrollIntoView();
  };
  return line;
}

function step(by) {
  const lines = [...$("timeline").children].filter((line) => line.item);
  const at = lines.findIndex((line) => line.item === chosen);
  const next = lines[at < 0 ? lines.length - 1 : Math.min(Math.max(at + by, 0), lines.length - 1)];
  if (!next) return;
  choose(next.item);
  next.scrollIntoView({ block: "nearest" });
}

// -- anatomy -----------------------------------------------------------------------

function choose(item) {
  chosen = item;
  mark();
  if (item) $("anatomy").replaceChildren(layerOf(item.layer));
  else $("anatomy").replaceChildren($("choose").content.cloneNode(true));
  $("anatomy").scrollTop = 0;
}

/** The line of what is chosen, for eyes and for screen readers. */
function mark() {
  $("timeline").removeAttribute("aria-activedescendant");
  for (const line of $("timeline").children) {
    const isChosen = line.item !== undefined && line.item === chosen;
    if (line.item) line.setAttribute("aria-selected", String(isChosen));
    if (isChosen) $("timeline").setAttribute("aria-activedescendant", line.id);
  }
}

function layerOf(layer) {
  const box = element("article", `layer ${kindOf(layer.layer)}`);
  const head = element("h3", "", layer.layer);
  head.append(element("small", "", layer.section));
  box.append(head, element("p", "", brief(layer.summary)));
  if (layer.fault) box.append(element("p", "fault", `${layer.fault.reason} (${layer.fault.code})`));
  const marks = [];  // for each field, all that lights up with it
  box.append(bytesView(layer, marks), fieldsView(layer, marks));
  if (layer.missing !== undefined) {
    const count = layer.missing === null ? "more bytes" : `${counted(layer.missing, "more byte")}`;
    box.append(element("p", "fault", `… ${count} ${layer.missing === 1 ? "is" : "are"} missing`));
  }
  if (layer.awaits) box.append(element("p", "fault", `… ${layer.awaits}`));
  box.onmouseover = box.onfocusin = (event) => light(event, marks);
  box.onmouseleave = () => marks.flat().forEach((one) => one.classList.remove("on"));
  box.append(...layer.inner.map(layerOf));
  return box;
}

function light(event, marks) {
  const at = event.target.closest("[data-field]")?.dataset.field;
  if (at === undefined) return;
  event.stopPropagation();
  marks.flat().forEach((one) => one.classList.remove("on"));
  // Several fields may share a byte, as bits do: they light up together.
  for (const one of at.split(" ")) marks[one]?.forEach((mark) => mark.classList.add("on"));
}

function bytesView(layer, marks) {
  const bytes = bytesOf(layer.bytes);
  const view = element("div", "bytes");
  const letters = lettersOf(bytes);
  const width = $("anatomy").clientWidth > 620 ? 16 : 8;
  const owners = Array.from(bytes, () => []);
  layer.fields.forEach((one, number) => {
    for (let at = one.start; at < Math.min(one.end, bytes.length); at += 1) owners[at].push(number);
  });
  const draw = (from, to) => {
    for (let at = from; at < to; at += width) {
      const hex = element("span", "hex");
      const text = element("span", "text");
      for (let index = at; index < Math.min(at + width, to); index += 1) {
        for (const [where, shown] of [[hex, bytes[index].toString(16).padStart(2, "0")], [text, letters[index]]]) {
          const mark = element("b", owners[index].length && owners[index][0] % 2 ? "odd" : "", shown);
          if (owners[index].length) mark.dataset.field = owners[index].join(" ");
          if (layer.fault && layer.fault.at === index) mark.classList.add("guilty");
          for (const owner of owners[index]) (marks[owner] ||= []).push(mark);
          where.append(mark);
        }
      }
      view.append(element("i", "", at.toString(16).padStart(4, "0")), hex, text);
    }
  };
  const isWrongBehind = layer.fault && layer.fault.at >= MAX_DRAWN;
  const drawn = isWrongBehind ? bytes.length : Math.min(bytes.length, MAX_DRAWN);
  draw(0, drawn);
  view.setAttribute("role", "img");
  view.setAttribute("aria-label", `${counted(layer.size, "byte")} of ${layer.layer}, in hexadecimal and as text`);
  const both = element("div");
  both.append(view);
  const left = layer.size - bytes.length;
  if (drawn < bytes.length) {
    const more = element("button", "more", `Show ${counted(bytes.length - drawn, "more byte")}`);
    more.onclick = () => {
      draw(drawn, bytes.length);
      more.remove();
    };
    both.append(more);
  }
  if (left) both.append(element("p", "note", `${counted(left, "byte")} behind them are not kept.`));
  return both;
}

/** What each byte is as text: a letter of several stands at its first, and · for what is none. */
function lettersOf(bytes) {
  const letters = Array.from(bytes, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·"));
  try {
    let at = 0;
    for (const letter of new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)) {
      const size = new TextEncoder().encode(letter).length;
      if (size > 1 && /[\p{L}\p{N}\p{P}\p{S}]/u.test(letter)) letters[at] = letter;
      at += size;
    }
  } catch { /* bytes, and no text */ }
  return letters;
}

function fieldsView(layer, marks) {
  const table = element("table", "fields");
  table.setAttribute("aria-label", `What they say: ${layer.layer}`);
  layer.fields.forEach((field, number) => {
    const line = table.insertRow();
    line.dataset.field = String(number);
    line.tabIndex = 0;
    const name = element("th", "", field.name);
    name.scope = "row";
    line.append(name);
    if (field.bits) name.append(element("span", "bits", field.bits));
    const value = line.insertCell();
    value.className = "value";
    value.textContent = field.value;
    const meaning = line.insertCell();
    meaning.textContent = field.meaning;
    meaning.append(element("small", "", field.section));
    (marks[number] ||= []).push(line);
  });
  return table;
}

// -- step by step --------------------------------------------------------------------

function drawHeld(news) {
  held = news;
  const before = holding;
  if (held.on) holding = held.by;
  else if ([held.key, held.by].includes(holding)) holding = "";
  if (holding !== before) choose(null);
drawConnections();
  $("hold").setAttribute("aria-pressed", String(held.on));
  $("next").hidden = !held.on;
  $("next").disabled = !held.waiting.length;
  keepingEnd(() => $("waiting").replaceChildren(...held.waiting.map(lineOf)));
}

async function next() {
  if (held.on && held.waiting.length) await socket.emitWithAck("next", subject);
}

// -- what comes, and what is pressed ---------------------------------------------------

socket.on("connect", () => {
  $("state").className = "live";
  $("state").textContent = "live";
  connections.clear();
  if (subject || /^#[cs][1-9][0-9]*$/.test(location.hash)) look(subject || location.hash.slice(1));
});
socket.on("disconnect", () => {
  $("state").className = "";
  $("state").textContent = "the server has gone";
});
socket.on("connect_error", (error) => { $("state").textContent = error.message; });
socket.on("connections", (news) => {
  const isFirst = !connections.size;
  for (const one of news) connections.set(one.number, one);
  const ended = [...connections.values()].filter((one) => !one.open).sort((a, b) => a.number - b.number);
  for (const one of ended.slice(0, Math.max(ended.length - MAX_ENDED, 0))) connections.delete(one.number);
  drawConnections(isFirst ? [] : news.map((one) => one.number));
});
socket.on("items", (news) => {
  if ($("pause").getAttribute("aria-pressed") === "true") {
    lateCount += news.length;
    late = [...late, ...news].slice(-MAX_ROWS);
    $("pause").textContent = `Go on (${lateCount})`;
  } else addItems(news);
});
socket.on("stepping", (key) => { if (subject === NEXT) { subject = ""; look(key); } });
socket.on("held", (news) => { if (news.key === subject) drawHeld(news); });

$("connections").onpointerdown = () => { isPressed = true; };
$("connections").onkeydown = ({ key }) => { isPressed ||= key === " "; };
for (const end of ["pointerup", "pointercancel", "keyup"]) addEventListener(end, () => {
  if (isPressed) setTimeout(drawConnections);  // behind the click
  isPressed = false;
});

$("hold").onclick = () => { if (subject) socket.emit("hold", held.on ? held.by : subject, !held.on); };
$("next").onclick = next;
$("filter").oninput = drawTimeline;
$("layers").onchange = drawTimeline;
$("pause").onclick = () => {
  const isPaused = $("pause").getAttribute("aria-pressed") === "true";
  $("pause").setAttribute("aria-pressed", String(!isPaused));
  $("pause").textContent = isPaused ? "Pause" : "Go on";
  lateCount = 0;
  if (isPaused) addItems(late.splice(0));
};
$("export").onclick = () => {
  const text = JSON.stringify(items.filter(fits), null, 1);
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `wire-${subject || "nothing"}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
};
addEventListener("keydown", (event) => {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "arrowdown" || key === "arrowup") {
    event.preventDefault();
    step(key === "arrowdown" ? 1 : -1);
  } else if (key === "n") next();
  else if (key === "p") $("pause").click();
  else if (key === "/") { event.preventDefault(); $("filter").focus(); }
});
choose(null);
drawConnections();
