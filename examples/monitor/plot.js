/* plot.js: what happens over time, on canvases. Nothing in it knows what is measured.

     Past   points in rings of fixed size, coarser the older: its memory never grows
     View   the part of the past that is looked at
     Plot   a diagram of some columns: lines, or areas on top of each other
     Heat   a strip for each column, the darker the more

   A page makes one Past, one View, and draws each Plot with that View. */
"use strict";

/* ---- the past ---- */

/* Rows of numbers; the oldest makes room. NaN is what nobody knows. */
class Ring {
  length = 0;
  #first = 0;

  constructor(capacity, width) {
    this.capacity = capacity;
    this.width = width;
    this.data = new Float64Array(capacity * width);
  }

  push(row) {
    if (this.length === this.capacity) this.#first = (this.#first + 1) % this.capacity;
    else this.length += 1;
    const start = this.start(this.length - 1);
    for (let i = 0; i < this.width; i += 1) this.data[start + i] = row[i] ?? NaN;
  }

  /* Where a row begins in `data`; row 0 is the oldest, and its time stands first. */
  start(row) { return ((this.#first + row) % this.capacity) * this.width; }
  time(row) { return this.data[this.start(row)]; }

  /* Forget what came at a moment or later. */
  cut(time) { while (this.length && this.time(this.length - 1) >= time) this.length -= 1; }
}

class Past {
  /* `sizes`: for each tier, the finest first, how many samples make one point; `points`: how
     many of those are kept; `interval`: seconds between two samples. */
  constructor(width, interval, sizes, points) {
    this.width = width;
    this.spans = sizes.map((size) => size * interval);
    this.rings = points.map((count) => new Ring(count, width));
    this.#mean = new Float64Array(width);
  }

  #mean;

  /* Put what a server knows behind what is known already: after a restart it knows little, and
     after a pause more than we do. `tiers` are lists of rows. */
  refill(tiers, now) {
    tiers.forEach((rows, i) => {
      this.rings[i].cut(rows.length ? rows[0][0] : now);
      for (const row of rows) this.rings[i].push(row);
    });
  }

  /* Take a sample in. Where a span of a coarser tier has ended, its mean becomes a point: the
     server does the same, so that who comes later sees what we see. `zero` is the server's
     first moment, from which it counts its spans, in milliseconds. */
  add(row, zero) {
    const [finest, ...coarser] = this.rings;
    coarser.forEach((ring, i) => {
      const of = (time) => Math.floor(Math.round((time - zero) * 1000) / 1000 / this.spans[i + 1]);
      const before = finest.length && of(finest.time(finest.length - 1));
      if (finest.length && before !== of(row[0])) this.#pushMean(ring, (time) => of(time) === before);
    });
    finest.push(row);
  }

  #pushMean(ring, belongs) {
    const [finest] = this.rings;
    let first = finest.length;
    while (first > 0 && belongs(finest.time(first - 1))) first -= 1;
    for (let column = 0; column < this.width; column += 1) {
      let sum = 0, count = 0;
      for (let row = first; row < finest.length; row += 1) {
        const value = finest.data[finest.start(row) + column];
        if (!Number.isNaN(value)) [sum, count] = [sum + value, count + 1];
      }
      this.#mean[column] = sum / count;  // NaN of none
    }
    ring.push(this.#mean);
  }
}

/* ---- the view ---- */

const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];

class View {
  from = 0;  // seconds since 1970, at the left edge and at the right one
  to = 1;
  count = 0;  // points in sight
  gap = Infinity;  // two points further apart than this are not joined
  #data = new Float64Array(0);

  /* Look at the points from `from` to `to`: those of the tier that reaches so far back, and at
     its end what is too new for it, from the finer ones. */
  look(past, from, to, tier) {
    const room = past.rings.reduce((sum, ring) => sum + ring.capacity, 0) * past.width;
    if (this.#data.length < room) this.#data = new Float64Array(room);
    Object.assign(this, { from, to, width: past.width, count: 0, gap: 2.5 * past.spans[tier] });
    let known = -Infinity;
    for (let i = tier; i >= 0; i -= 1) {
      const ring = past.rings[i];
      for (let row = 0; row < ring.length; row += 1) {
        const time = ring.time(row);
        const isOut = time <= known || (row + 1 < ring.length && ring.time(row + 1) < from);
        if (isOut || time > to + past.spans[tier]) continue;
        const start = ring.start(row);
        this.#data.set(ring.data.subarray(start, start + past.width), this.count * past.width);
        this.count += 1;
      }
      if (ring.length) known = Math.max(known, ring.time(ring.length - 1) + past.spans[i] / 2);
    }
  }

  time(point) { return this.#data[point * this.width]; }
  value(point, column) { return this.#data[point * this.width + column]; }
  x(time, width) { return ((time - this.from) / (this.to - this.from)) * width; }

  /* The point next to a moment, or -1 where there is none. */
  at(time) {
    let best = -1, distance = this.gap / 2;
    for (let point = 0; point < this.count; point += 1) {
      const away = Math.abs(this.time(point) - time);
      if (away <= distance) [best, distance] = [point, away];
    }
    return best;
  }

  /* Round times, a hand's breadth apart: [seconds since 1970, text]. */
  ticks(width) {
    const wanted = ((this.to - this.from) / width) * 95;
    const step = TICKS.find((tick) => tick >= wanted) ?? 7200;
    const shift = new Date(this.to * 1000).getTimezoneOffset() * 60;
    const found = [];
    for (let t = Math.ceil((this.from - shift) / step) * step + shift; t < this.to; t += step)
      found.push([t, clock(t, step < 60)]);
    return found;
  }
}

/* 14:03:20, as people here write it. Making a format is slow, so there are two of them. */
const clocks = [{}, { second: "2-digit" }].map((more) =>
  new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...more }));
const clock = (time, seconds = true) => clocks[Number(seconds)].format(time * 1000);

/* ---- diagrams ---- */

const BOTTOM = 18;  // pixels, for the times
const FONT = "11px system-ui, sans-serif";

/* The next of 1, 2, 5, 10, 20, 50 ... above. */
function above(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

/* Two canvases, one upon the other: following the pointer must not draw all lines anew. */
class Sheet {
  constructor(host) {
    this.host = host;
    [this.below, this.over] = ["below", "over"].map((name) => {
      const canvas = Object.assign(document.createElement("canvas"), { className: name, ariaHidden: "true" });
      host.append(canvas);
      return canvas.getContext("2d");
    });
    this.fit();
  }

  /* As large as the host, in the pixels of the screen. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.host;
    Object.assign(this, { width, height });
    for (const { canvas } of [this.below, this.over]) {
      canvas.width = width * devicePixelRatio;
      canvas.height = height * devicePixelRatio;
    }
  }

  /* A canvas, wiped. */
  wiped(context) {
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    return context;
  }
}

class Plot extends Sheet {
  /* `series`: [{ column, colour, fill }]; `stacked`: each upon the one before; `max`: the top
     of the scale, unless what is in sight needs more, `fixed`: even then; `text`: of a value;
     `top`: pixels kept free above. */
  constructor(host, { series, stacked = false, max = 1, fixed = false, text = String, top = 6 }) {
    super(host);
    Object.assign(this, { series, stacked, max, fixed, text, top });
  }

  y(value) {
    return this.height - BOTTOM - (value / this.scale) * (this.height - BOTTOM - this.top);
  }

  draw(view, colours, marks) {
    const context = this.wiped(this.below);
    this.scale = this.fixed ? this.max : above(Math.max(this.max, this.#highest(view)));
    this.#grid(context, view, colours);
    for (const mark of marks) this.#mark(context, view.x(mark.time, this.width), mark.colour);
    const order = this.series.map((_, i) => i);
    if (this.stacked) order.reverse();  // or the line of an empty one would hide that below it
    for (const i of order) this.#series(context, view, i, colours);
    this.#labels(context, colours);
  }

  /* Where a series is drawn: a stacked one stands upon those before it. */
  level(view, point, i) { return this.#below(view, point, i) + view.value(point, this.series[i].column); }

  #below(view, point, i) {
    let sum = 0;
    for (let k = 0; this.stacked && k < i; k += 1) sum += view.value(point, this.series[k].column) || 0;
    return sum;
  }

  #highest(view) {
    let highest = 0;
    for (let point = 0; point < view.count; point += 1)
      for (let i = 0; i < this.series.length; i += 1)
        highest = Math.max(highest, this.level(view, point, i) || 0);
    return highest;
  }

  #grid(context, view, colours) {
    context.font = FONT;
    context.textBaseline = "alphabetic";
    context.lineWidth = 1;
    context.strokeStyle = colours.line;
    context.fillStyle = colours.soft;
    context.beginPath();
    for (const part of [0, 0.5, 1]) {
      const y = Math.round(this.y(part * this.scale)) + 0.5;
      context.moveTo(0, y);
      context.lineTo(this.width, y);
    }
    for (const [time, text] of view.ticks(this.width)) {
      const x = Math.round(view.x(time, this.width)) + 0.5;
      context.moveTo(x, this.top);
      context.lineTo(x, this.height - BOTTOM + 4);
      const half = context.measureText(text).width / 2;
      if (x > half && x < this.width - half) context.fillText(text, x - half, this.height - 3);
    }
    context.stroke();
  }

  #mark(context, x, colour) {
    if (x < 0 || x > this.width) return;
    context.globalAlpha = 0.6;
    context.strokeStyle = colour;
    context.setLineDash([2, 3]);
    context.beginPath();
    context.moveTo(x, this.top);
    context.lineTo(x, this.height - BOTTOM);
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  #series(context, view, i, colours) {
    const { colour, fill = 0 } = this.series[i];
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.strokeStyle = context.fillStyle = colours[colour];
    for (let point = 0; point < view.count;) point = this.#run(context, view, i, point, fill);
  }

  /* Draw the points from one on that follow each other without a gap; the next one behind. */
  #run(context, view, i, first, fill) {
    let point = first;
    context.beginPath();
    for (; point < view.count; point += 1) {
      const value = this.level(view, point, i);
      const isGap = point > first && view.time(point) - view.time(point - 1) > view.gap;
      if (Number.isNaN(value) || isGap) break;
      context.lineTo(view.x(view.time(point), this.width), this.y(Math.min(value, this.scale)));
    }
    if (point === first) return first + 1;  // this one is not known
    context.stroke();
    if (fill) {
      for (let back = point - 1; back >= first; back -= 1)
        context.lineTo(view.x(view.time(back), this.width), this.y(this.#below(view, back, i)));
      context.globalAlpha = fill;
      context.fill();
      context.globalAlpha = 1;
    }
    return point;
  }

  /* The scale, on top of the lines, which would cross it out. */
  #labels(context, colours) {
    context.fillStyle = colours.soft;
    context.strokeStyle = colours.card;
    context.lineWidth = 3;
    for (const part of [0.5, 1]) {
      const text = this.text(part * this.scale), y = this.y(part * this.scale) + 12;
      context.strokeText(text, 4, y);
      context.fillText(text, 4, y);
    }
  }

  /* Where somebody points: a line, the time, a dot on each series. */
  point(view, time, colours) {
    const context = this.wiped(this.over);
    if (time === null) return;
    const found = view.at(time), shown = found < 0 ? time : view.time(found);
    const x = view.x(shown, this.width);
    context.lineWidth = 1;
    context.strokeStyle = colours.ink;
    context.beginPath();
    context.moveTo(x, this.top);
    context.lineTo(x, this.height - BOTTOM);
    context.stroke();
    this.#pill(context, x, clock(shown), colours);
    this.series.forEach(({ colour }, i) => {
      const value = found < 0 ? NaN : this.level(view, found, i);
      if (Number.isNaN(value)) return;
      context.fillStyle = colours[colour];
      context.strokeStyle = colours.card;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(x, this.y(Math.min(value, this.scale)), 4, 0, 7);
      context.fill();
      context.stroke();
    });
  }

  #pill(context, x, text, colours) {
    context.font = FONT;
    const width = context.measureText(text).width + 12;
    const left = Math.min(Math.max(0, x - width / 2), this.width - width);
    context.fillStyle = colours.ink;
    context.beginPath();
    context.roundRect(left, this.height - BOTTOM + 2, width, BOTTOM - 2, 4);
    context.fill();
    context.fillStyle = colours.card;
    context.fillText(text, left + 6, this.height - 4);
  }
}

/* For many columns of one kind: a strip each, of boxes that are the darker the higher. */
class Heat extends Sheet {
  constructor(host, { columns, colour, max }) {
    super(host);
    Object.assign(this, { columns, colour, max });
  }

  draw(view, colours) {
    const context = this.wiped(this.below);
    const height = this.height / this.columns.length;
    const space = Math.min(1, height / 4);
    // Two boxes that share a pixel would show their seam.
    const round = (x) => Math.round(x * devicePixelRatio) / devicePixelRatio;
    context.fillStyle = colours.line;
    this.columns.forEach((_, i) => context.fillRect(0, i * height, this.width, height - space));
    context.fillStyle = colours[this.colour];
    for (let point = 1; point < view.count; point += 1) {
      const left = round(view.x(view.time(point - 1), this.width));
      const right = round(view.x(view.time(point), this.width));
      if (view.time(point) - view.time(point - 1) > view.gap) continue;
      this.columns.forEach((column, i) => {
        context.globalAlpha = Math.min(1, (view.value(point, column) || 0) / this.max);
        context.fillRect(left, i * height, right - left, height - space);
      });
    }
    context.globalAlpha = 1;
  }

  point(view, time, colours) {
    const context = this.wiped(this.over);
    if (time === null) return;
    context.fillStyle = colours.ink;
    context.fillRect(view.x(time, this.width) - 0.5, 0, 1, this.height);
  }
}
