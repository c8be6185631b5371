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

// A paragraph in which what stands between backticks is code.
function prose(text, className) {
  const made = element("p", undefined, className);
  made.append(...text.split("`").map((part, index) => (index % 2 ? element("code", part) : part)));
  return made;
}

function link(url) {
  const made = element("a", url);
  made.href = url;
  return made;
}

// A button that shows and hides the code of `url`, which /qr/`name` draws, in `text`.
function codeButton(url, name, text) {
  const button = element("button", "QR code");
  button.type = "button";
  button.setAttribute("aria-expanded", String(shown.has(url)));
  button.setAttribute("aria-label", `QR code of ${url}`);
  button.addEventListener("click", () => {
    if (!shown.delete(url)) shown.add(url);
    before = "";
    look();
  });
  if (shown.has(url)) {
    const code = element("img", undefined, "qr");
    code.src = `/qr/${name}`;
    code.alt = `QR code of ${url}`;
    text.append(code);
  }
  return button;
}

function portItem(port) {
  const item = element("li", undefined, port.ready === false ? "waiting" : "ready");
  const text = element("div");
  text.append(link(port.url), element("p", port.state));
  if (port.advice) text.append(prose(port.advice, "advice"));
  item.append(text);
  if (port.lan) {
    const phone = element("p", "On a phone: ", "phone");
    phone.append(link(port.lan));
    text.append(phone);
    item.append(codeButton(port.lan, new URL(port.url).hostname.split(".")[0], text));
  }
  return item;
}

function sandboxSection(sandbox) {
  const section = element("section");
  const heading = element("h2", sandbox.id);
  heading.append(element("small", sandbox.address));
  section.append(heading);
  if (sandbox.ports.length) {
    const list = element("ul");
    list.append(...sandbox.ports.map(portItem));
    section.append(list);
  }
  const any = element("p", "Any port: ", "any");
  any.append(element("code", sandbox.template));
  section.append(any);
  return section;
}

// `phone`: null without --lan, empty while there is no local network.
function phoneText(phone, command) {
  if (phone === null) return [element("code", `${command} dev --lan 3000`), " lets phones of your network in"];
  if (!phone) return ["this machine has no address in a local network just now"];
  const text = element("div");
  text.append("first ", link(phone), ", to trust the certificate ");
  text.append(codeButton(phone, "phone", text));
  return [text];
}

function show(told) {
  const { sandboxes, inspector, command, phone } = told;
  byId("dev").textContent = `${command} dev 3000 shop=5173`;
  byId("add").textContent = `${command} sandboxes add shop ${sandboxes[0]?.address ?? "::1"}`;
  byId("inspector").href = inspector;
  byId("phone").replaceChildren(...phoneText(phone, command));
  byId("sandboxes").replaceChildren(...sandboxes.map(sandboxSection));
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
