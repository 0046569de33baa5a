// Loads a page anew when its application has changed, and shows why a changed one does not start:
//   <script src="/__reload__/reload.js"></script>
// It is there with --reload only. Without, the browser finds nothing, and the page is as it was.
"use strict";

{
  const STYLE = `
    :host { position: fixed; inset: 0; z-index: 2147483647; display: grid; place-items: center; padding: 1rem;
            color-scheme: light dark; background: #14110fa6; font: 1rem/1.5 system-ui, sans-serif; }
    section { --card: #fffdfb; --ink: #25201c; --soft: #6d645c; --line: #e8e1d8; --well: #f4eee7; --accent: #b8262d;
              box-sizing: border-box; width: min(64rem, 100%); max-height: 100%; overflow: auto; padding: 1.2rem 1.5rem;
              border-top: .3rem solid var(--accent); border-radius: .6rem; background: var(--card); color: var(--ink);
              box-shadow: 0 1rem 4rem #0008; }
    header { display: flex; gap: 1rem; align-items: start; justify-content: space-between; }
    h1 { margin: 0; font-size: 1.15rem; }
    p { margin: .2rem 0 0; color: var(--soft); font-size: .875rem; }
    button { flex: none; padding: .3rem .9rem; border: 1px solid var(--line); border-radius: .5rem; background: none;
             color: inherit; font: inherit; font-size: .875rem; cursor: pointer; }
    pre { margin: 1rem 0 0; padding: 1rem; overflow: auto; border-radius: .5rem; background: var(--well);
          font: .875rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; tab-size: 4; }
    strong { color: var(--accent); }
    @media (prefers-color-scheme: dark) {
      section { --card: #1d1916; --ink: #f0e9e2; --soft: #a2978c; --line: #4a413a; --well: #14110f; --accent: #ef676c; }
    }`;
  // What is wrong, and where: ours, or the last line of a traceback; and a line of carets.
  const GUILTY = /: (error|warning) RBR\d+|^error: |^\w[\w.]*(Error|Exception|Exit|Interrupt)\b|^[\s|]*[\^~]+\s*$/;

  const news = new URL("news", document.currentScript.src);
  news.protocol = news.protocol.replace("http", "ws");
  let version = null;
  let overlay = null;

  const element = (name, text = "", inner = []) => {
    const made = document.createElement(name);
    made.textContent = text;
    made.append(...inner);
    return made;
  };

  const hide = () => {
    overlay?.remove();
    overlay = null;
  };

  // In a shadow, so that neither the page's styles nor its policy for them reach it.
  const show = (fault) => {
    hide();
    if (!fault) return;
    const lines = fault.split("\n").map((line) => element(GUILTY.test(line) ? "strong" : "span", `${line}\n`));
    const button = element("button", "Hide");
    button.addEventListener("click", hide);
    const words = element("div", "", [
      element("h1", "The changed application does not start"),
      element("p", "What you see behind this is the one of before. Mend the file, and this goes away."),
    ]);
    const section = element("section", "", [element("header", "", [words, button]), element("pre", "", lines)]);
    section.setAttribute("role", "alert");
    overlay = element("redbarrel-fault");
    const shadow = overlay.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    shadow.adoptedStyleSheets = [sheet];
    shadow.append(section);
    document.documentElement.append(overlay);
  };

  // A browser that loads a page anew still takes its parts from what it has kept of them.
  const reload = async () => {
    const isPart = ({ name, initiatorType }) =>
      ["css", "img", "link", "script"].includes(initiatorType) && new URL(name).origin === location.origin;
    const parts = performance.getEntriesByType("resource").filter(isPart);
    const signal = AbortSignal.timeout(20_000);
    await Promise.allSettled(parts.map(({ name }) => fetch(name, { cache: "reload", signal })));
    location.reload(true); // for Firefox, which has stylesheets in its memory besides
  };

  const hear = ({ data }) => {
    const told = JSON.parse(data);
    version ??= told.version;
    if (told.version === version) show(told.fault);
    else reload();
  };

  const listen = () => {
    const socket = new WebSocket(news);
    socket.onmessage = hear;
    // 1012: there is another one already.
    socket.onclose = ({ code }) => setTimeout(listen, code === 1012 ? 0 : 1000);
  };

  document.addEventListener("keydown", ({ key }) => key === "Escape" && hide());
  listen();
}
