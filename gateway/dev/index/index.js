"use strict";
// Shows what /index.json tells, every second. Names in it are put in as text, and never as markup.

const INTERVAL = 1000;
const byId = (id) => document.getElementById(id);
const shown = new Set(); // URLs whose code is open
let before = "";

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function portItem(port, hasCodes) {
  const item = element("li", undefined, port.ready === false ? "waiting" : "ready");
  const text = element("div");
  const link = element("a", port.url);
  link.href = port.url;
  text.append(link, element("p", port.state));
  if (port.advice) text.append(element("p", port.advice, "advice"));
  item.append(text);
  if (hasCodes) {
    const button = element("button", "QR code");
    button.type = "button";
    button.setAttribute("aria-expanded", String(shown.has(port.url)));
    button.setAttribute("aria-label", `QR code of ${port.url}`);
    button.addEventListener("click", () => {
      if (!shown.delete(port.url)) shown.add(port.url);
      before = "";
      look();
    });
    item.append(button);
    if (shown.has(port.url)) {
      const code = element("img", undefined, "qr");
      code.src = `/qr/${new URL(port.url).hostname.split(".")[0]}`;
      code.alt = `QR code of ${port.url}`;
      text.append(code);
    }
  }
  return item;
}

function sandboxSection(sandbox, hasCodes) {
  const section = element("section");
  const heading = element("h2", sandbox.id);
  heading.append(element("small", sandbox.address));
  section.append(heading);
  if (sandbox.ports.length) {
    const list = element("ul");
    list.append(...sandbox.ports.map((port) => portItem(port, hasCodes)));
    section.append(list);
  }
  const any = element("p", "Any port: ", "any");
  any.append(element("code", sandbox.template));
  section.append(any);
  return section;
}

function show(told) {
  const { sandboxes, inspector, command, qr } = told;
  byId("dev").textContent = `${command} dev 3000 shop=5173`;
  byId("add").textContent = `${command} sandboxes add shop ${sandboxes[0]?.address ?? "::1"}`;
  byId("inspector").href = inspector;
  byId("sandboxes").replaceChildren(...sandboxes.map((sandbox) => sandboxSection(sandbox, qr)));
}

async function look() {
  const state = byId("state");
  try {
    const answer = await fetch("/index.json", { cache: "no-store" });
    const text = await answer.text();
    if (text !== before) {
      show(JSON.parse(text));
      before = text;
    }
    state.textContent = "live";
    state.className = "";
  } catch {
    state.textContent = "no news from the gateway: has it ended?";
    state.className = "bad";
  }
}

async function follow() {
  await look();
  setTimeout(follow, document.hidden ? 5 * INTERVAL : INTERVAL);
}

follow();
