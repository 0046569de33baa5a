"use strict";
/* The page of the wire: what `wirepage` tells, drawn. One subject is looked at, a
   connection ("c5") or a session ("s2"); all else is a line in the list. */

const $ = (id) => document.getElementById(id);
const MAX_ROWS = 400;
const NEXT = "s0";              // the session that is yet to begin
const KINDS = { HTTP: "http", WebSocket: "websocket", "Engine.IO": "engine", "Socket.IO": "socket" };

const socket = io({ path: `${location.pathname.replace(/[^/]*$/, "")}socket.io/` });
const connections = new Map();  // by number
let subject = "";               // what is looked at
let items = [];                 // its timeline
let late = [];                  // what came during a pause
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
    const count = `${members.length} connection${members.length > 1 ? "s" : ""}`;
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
  const title = `${one.number} · ${one.speaks} · ${one.peer}`;
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
  choose(null);
  $("subject").textContent = key[0] === "s" ? `session ${key.slice(1)}` : `connection ${key.slice(1)}`;
  if (key === NEXT) {
    socket.emit("hold", NEXT, true);
    $("subject").textContent = "waiting: open the application, or reload it";
  }
  drawTimeline();
  drawHeld(answer.held);
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
  if (item.end) return element("li", "end", `connection ${item.connection}: ${item.end}`);
  const layers = [...walk(item.layer)];
  const inmost = cores(item.layer);
  const inner = inmost.at(-1);
  const line = element("li", `${item.from} ${kindOf(inner.layer)} ${inner.fault ? "wrong" : ""}`);
  const time = element("time", "", item.at === undefined ? "" : `${(item.at / 1000).toFixed(3)} s`);
  const arrow = element("div", "arrow");
  const chips = element("div", "chips");
  if (subject[0] === "s") chips.append(element("span", "chip where", `connection ${item.connection}`));
  for (const layer of layers) {
    chips.append(element("span", `chip ${kindOf(layer.layer)}`, layer.layer));
  }
  if (inner.fault) chips.append(element("span", "chip fault", "wrong"));
  chips.append(element("span", "chip where", sizeOf(item.size)));
  arrow.append(element("span", "said", inmost.map((one) => brief(one.summary)).join(" · ")), chips);
  line.append(time, arrow);
  line.item = item;
  line.onclick = () => choose(item);
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
  for (const line of $("timeline").children) line.setAttribute("aria-current", String(line.item === item && item !== null));
  if (item) $("anatomy").replaceChildren(layerOf(item.layer));
}

function layerOf(layer) {
  const box = element("article", `layer ${kindOf(layer.layer)}`);
  const head = element("h3", "", layer.layer);
  head.append(element("small", "", layer.section));
  box.append(head, element("p", "", brief(layer.summary)));
  if (layer.fault) box.append(element("p", "fault", `${layer.fault.reason} (${layer.fault.code})`));
  const marks = [];  // for each field, all that lights up with it
  box.append(bytesView(layer, marks), fieldsView(layer, marks));
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
  const width = $("anatomy").clientWidth > 620 ? 16 : 8;
  for (let at = 0; at < bytes.length; at += width) {
    const hex = element("span", "hex");
    const text = element("span", "text");
    bytes.slice(at, at + width).forEach((byte, index) => {
      const owners = layer.fields.flatMap((one, n) => (one.start <= at + index && at + index < one.end ? [n] : []));
      const printable = byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·";
      for (const [where, shown] of [[hex, byte.toString(16).padStart(2, "0")], [text, printable]]) {
        const mark = element("b", owners.length && owners[0] % 2 ? "odd" : "", shown);
        if (owners.length) mark.dataset.field = owners.join(" ");
        if (layer.fault && layer.fault.at === at + index) mark.classList.add("guilty");
        for (const owner of owners) (marks[owner] ||= []).push(mark);
        where.append(mark);
      }
    });
    view.append(element("i", "", at.toString(16).padStart(4, "0")), hex, text);
  }
  return view;
}

function fieldsView(layer, marks) {
  const table = element("table", "fields");
  layer.fields.forEach((field, number) => {
    const line = table.insertRow();
    line.dataset.field = String(number);
    const name = line.insertCell();
    name.textContent = field.name;
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
  if (holding !== before) drawConnections();
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
  if (subject) look(subject);
});
socket.on("disconnect", () => {
  $("state").className = "";
  $("state").textContent = "the server has gone";
});
socket.on("connect_error", (error) => { $("state").textContent = error.message; });
socket.on("connections", (news) => {
  for (const one of news) connections.set(one.number, one);
  drawConnections(news.map((one) => one.number));
});
socket.on("items", (news) => {
  if ($("pause").getAttribute("aria-pressed") === "true") {
    late.push(...news);
    $("pause").textContent = `Go on (${late.length})`;
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
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    step(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "n") next();
  else if (event.key === "p") $("pause").click();
  else if (event.key === "/") { event.preventDefault(); $("filter").focus(); }
});
drawConnections();
