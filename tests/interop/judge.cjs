// What must hold for any page, whatever is on it: measured here, judged by pytest.
"use strict";

// Called in the page.
const look = () => {
  // What flashes or slides has done so.
  for (const animation of document.getAnimations())
    if (animation.effect.getComputedTiming().endTime < Infinity) animation.finish();
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.canvas.width = canvas.canvas.height = 1;

  // Red, green, blue and alpha of a colour upon another, however CSS writes it.
  const painted = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const ground = (element) => {
    const colours = [];
    for (let one = element; one; one = one.parentElement) colours.unshift(getComputedStyle(one).backgroundColor);
    return ["white", ...colours];
  };
  // WCAG 2.2, "relative luminance" and "contrast ratio".
  const luminance = (data) =>
    [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
      const part = data[i] / 255;
      return sum + weight * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    }, 0);
  const ratio = (element) => {
    const behind = ground(element);
    const [a, b] = [luminance(painted([...behind, getComputedStyle(element).color])), luminance(painted(behind))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };

  const isSeen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && element.getBoundingClientRect().width > 1;
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    if (!hasText(element) || !isSeen(element) || element.closest(".silent, [disabled]")) continue;
    const { fontSize, fontWeight } = getComputedStyle(element);
    const size = parseFloat(fontSize), isLarge = size >= 24 || (size >= 18.66 && fontWeight >= 700);
    if (ratio(element) < (isLarge ? 3 : 4.5)) faint.push(`${element.tagName} "${element.textContent.trim().slice(0, 40)}" ${ratio(element).toFixed(2)}`);
  }

  const nameOf = (element) =>
    element.getAttribute("aria-label") || element.labels?.[0]?.textContent.trim() || element.textContent.trim() || element.title;
  const nameless = [...document.querySelectorAll("button, input, select, textarea, a[href], [role=slider], canvas[tabindex]")]
    .filter((element) => isSeen(element) && !nameOf(element))
    .map((element) => element.outerHTML.slice(0, 120));
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  return {
    over: document.documentElement.scrollWidth - innerWidth,
    faint,
    nameless,
    twice: ids.filter((id, i) => ids.indexOf(id) !== i),
    colour: getComputedStyle(document.body).backgroundColor,
    title: document.title,
    // Of what moved by itself: before anybody touched the page. What he asked for may come at any time.
    shift: (globalThis.shifts ?? []).reduce((sum, { startTime, value }) => sum + (startTime < touched ? value : 0), 0),
  };
};

// Called in each page before its own scripts. Only Chromium knows of layout shifts.
const watch = () => {
  globalThis.shifts = [];
  globalThis.touched = Infinity;
  for (const event of ["pointerdown", "keydown", "input"])
    addEventListener(event, () => (globalThis.touched = Math.min(touched, performance.now())), { capture: true });
  if (PerformanceObserver.supportedEntryTypes.includes("layout-shift"))
    new PerformanceObserver((list) => globalThis.shifts.push(...list.getEntries())).observe({ type: "layout-shift", buffered: true });
};

module.exports = { look, watch };
