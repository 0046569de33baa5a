// A screenshot made small: 256 colours, which is plenty for a page, in a third of the bytes.
"use strict";

const zlib = require("node:zlib");

const SIGNATURE = Buffer.from("89504e470d0a1a0a", "hex");

const chunks = function* (png) {
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    yield [png.toString("latin1", at + 4, at + 8), png.subarray(at + 8, at + 8 + length)];
    at += 12 + length;
  }
};

const paeth = (a, b, c) => {
  const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
};

// Width, height, bytes of a pixel, and the pixels: a PNG of 8 bits a sample, not interlaced
// (RFC 2083, sections 4.1.1 and 6).
const decode = (png) => {
  const parts = [...chunks(png)];
  const header = parts.find(([kind]) => kind === "IHDR")[1];
  const [width, height, size] = [header.readUInt32BE(0), header.readUInt32BE(4), header[9] === 6 ? 4 : 3];
  const data = zlib.inflateSync(Buffer.concat(parts.filter(([kind]) => kind === "IDAT").map(([, body]) => body)));
  const stride = width * size;
  const pixels = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = data[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const left = x < size ? 0 : pixels[y * stride + x - size];
      const above = y ? pixels[(y - 1) * stride + x] : 0;
      const corner = y && x >= size ? pixels[(y - 1) * stride + x - size] : 0;
      const guess = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
      pixels[y * stride + x] = data[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return { width, height, size, pixels };
};

const chunk = (kind, body) => {
  const whole = Buffer.alloc(body.length + 12);
  whole.writeUInt32BE(body.length, 0);
  whole.write(kind, 4, "latin1");
  body.copy(whole, 8);
  whole.writeUInt32BE(crc32(whole.subarray(4, body.length + 8)), body.length + 8);
  return whole;
};

const CRC = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
const crc32 = (bytes) => {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
};

// The colours that fill most, and of each the next of them.
const shrink = (png) => {
  const { width, height, size, pixels } = decode(png);
  const counts = new Map();
  const colour = (i) => (pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2];
  for (let i = 0; i < pixels.length; i += size) counts.set(colour(i), (counts.get(colour(i)) ?? 0) + 1);
  const palette = [];
  const apart = (a, b) => [16, 8, 0].reduce((sum, shift) => sum + (((a >> shift) & 255) - ((b >> shift) & 255)) ** 2, 0);
  const wanted = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  // First those that differ much; if that are few, finer ones.
  for (const least of [400, 150, 40, 0])
    for (const one of wanted)
      if (palette.length < 256 && palette.every((known) => apart(one, known) > least)) palette.push(one);
  const nearest = new Map();
  for (const one of wanted)
    nearest.set(one, palette.reduce((best, known, i) => (apart(one, known) < apart(one, palette[best]) ? i : best), 0));
  const rows = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) rows[y * (width + 1) + 1 + x] = nearest.get(colour((y * width + x) * size));
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8); // 8 bits, of a palette
  const table = Buffer.from(palette.flatMap((one) => [one >> 16, (one >> 8) & 255, one & 255]));
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", header),
    chunk("PLTE", table),
    chunk("IDAT", zlib.deflateSync(rows, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
};

module.exports = { shrink };
