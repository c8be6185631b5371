"use strict";
// Shows what /inspector/exchanges tells. Everything in it is a stranger's: it is put in as text, and never as markup.
// What an app has sent is shown as text, as octets, or as an image, which is the one thing that cannot act.

const MOST_ROWS = 500;
const MOST_NODES = 3000; // of a JSON tree, opened at once
const MOST_TEXT = 256 * 1024; // characters of a body that are put on the page
const MOST_HEX = 4096; // octets

const exchanges = new Map(); // by number, those in the list
const rows = new Map(); // by number, their elements
let version = -1; // of what is shown
let total = 0;
let authority = ""; // path of the certificate that curl is to trust
let chosen = 0; // number of the exchange that is looked at
let details = null; // … and what is known of it
let lastMessage = 0; // the last of its messages on the page
let paused = false;
let loading = false;
let stale = false; // the list on the page has gaps

const byId = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function put(into, ...children) {
  into.replaceChildren(...children.filter((each) => each !== null));
}

// A sentence of ours, in which `…` is code.
function sentence(name, text) {
  const made = element(name);
  text.split("`").forEach((part, at) => made.append(at % 2 ? element("code", part) : part));
  return made;
}

// `1 event`, `2 events`.
const counted = (number, noun, plural = `${noun}s`) => `${number} ${Number(number) === 1 ? noun : plural}`;

function octets(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function duration(ms) {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  return ms < 120000 ? `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s` : `${Math.floor(ms / 60000)} min`;
}

const clock = (time) => new Date(time * 1000).toLocaleTimeString(undefined, { hour12: false });

async function ask(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.ok) return answer;
  let said = `${answer.status} ${answer.statusText}`;
  try { said = (await answer.json()).detail || said; } catch { /* it is no problem+json */ }
  throw new Error(said);
}

const act = (path, method, body) =>
  ask(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });

// --- the list -------------------------------------------------------------------------------------------------------

const LEFT = "downstream_closed"; // the visitor's doing, and nobody's failure
const isFailed = (each) => each.reason !== "" && each.reason !== LEFT;
const hasFailed = (call) => call !== null && call.code !== 0; // of gRPC, whatever HTTP says

function matches(each) {
  const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const status = byId("status").value;
  const kind = byId("kind").value;
  if (kind && each.kind !== kind) return false;
  if (status === "failed" && !isFailed(each)) return false;
  if (status === "live" && !each.live) return false;
  if (status === "call" && !hasFailed(each.call)) return false;
  if (/^[0-9]$/.test(status) && Math.floor(each.status / 100) !== Number(status)) return false;
  const text = `${each.method} ${each.host}${each.target} ${each.status} ${each.reason} ${each.type} ${each.call?.text ?? ""}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function statusClass(each) {
  if (isFailed(each)) return "failed";
  if (each.reason) return "s0";
  return `s${Math.min(5, Math.floor((each.call?.like ?? each.status) / 100))}`;
}

function fill(row, each) {
  const what = element("span", undefined, "what");
  what.append(element("b", each.method), ` ${each.target}`);
  what.title = each.target;
  const more = element("span", undefined, "more");
  more.append(element("span", each.host.split(".")[0]));
  if (each.replay_of) more.append(element("span", `replay of #${each.replay_of}`));
  if (each.messages) more.append(element("span", counted(each.messages, each.kind === "events" ? "event" : "message")));
  else if (each.sent) more.append(element("span", octets(each.sent)));
  if (each.call) more.append(element("span", each.call.text, statusClass({ ...each, reason: "" })));
  if (each.hint) more.append(element("span", "hint", "s4"));
  if (isFailed(each)) more.append(element("span", each.reason, "why"));
  else if (each.reason) more.append(element("span", "visitor left"));
  more.append(element("span", clock(each.time), "clock"));
  put(
    row,
    element("span", each.status ? String(each.status) : "···", `code ${statusClass(each)}`),
    what,
    element("span", each.live ? "under way" : duration(each.duration), "took"),
    more,
  );
}

function show(each) {
  let row = rows.get(each.number);
  if (!row) {
    row = element("li", undefined, "new");
    row.id = `exchange-${each.number}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", "false");
    row.addEventListener("click", () => { choose(each.number); openPane(); });
    rows.set(each.number, row);
    const list = byId("list");
    let before = list.firstChild; // the newest is on top, and nearly always this one
    while (before && Number(before.id.slice(9)) > each.number) before = before.nextSibling;
    list.insertBefore(row, before);
  }
  exchanges.set(each.number, each);
  fill(row, each);
  row.hidden = !matches(each);
}

function drop(number) {
  rows.get(number)?.remove();
  rows.delete(number);
  exchanges.delete(number);
}

function tidy() {
  if (rows.size > MOST_ROWS) {
    const numbers = [...rows.keys()].sort((a, b) => a - b);
    for (const number of numbers.slice(0, rows.size - MOST_ROWS)) if (number !== chosen) drop(number);
  }
  let seen = 0;
  for (const row of rows.values()) seen += row.hidden ? 0 : 1;
  byId("empty").hidden = seen > 0;
  byId("empty").textContent = rows.size
    ? "Nothing of this kind."
    : "No request yet. Open your app by its public URL, and what happens appears here.";
  const gone = total - rows.size;
  byId("count").textContent =
    (seen === rows.size ? `${seen} shown` : `${seen} of ${rows.size} shown`) + (gone > 0 ? `, ${total} in all` : "");
}

async function load() {
  if (loading) return;
  loading = true;
  try {
    const told = await (await ask("/inspector/exchanges")).json();
    authority = told.gateway.authority;
    version = told.version;
    total = told.total;
    stale = false;
    const kept = new Set(told.exchanges.map((each) => each.number));
    for (const number of [...rows.keys()]) if (!kept.has(number)) drop(number);
    for (const each of told.exchanges) show(each);
    tidy();
    if (chosen && kept.has(chosen)) refresh();
  } catch (error) {
    tell(`no news from the gateway: ${error.message}`, "bad");
  } finally {
    loading = false;
  }
}

function apply(told) {
  if (paused) { stale = true; return; }
  if (told.version <= version) return;
  if (told.after > version || told.left_out) stale = true;
  version = told.version;
  total = told.total;
  for (const number of [...rows.keys()]) if (number <= told.cleared && !exchanges.get(number).live) drop(number);
  for (const each of told.exchanges) show(each);
  tidy();
  tell(told.left_out ? `live: too many to show each, ${told.left_out} left out` : "live", "good");
  if (stale && !told.left_out) load(); // the rush is over: what was left out is shown now
  else if (told.exchanges.some((each) => each.number === chosen)) refresh();
}

function tell(text, className) {
  const state = byId("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = className;
}

function listen() {
  const source = new EventSource("/inspector/events");
  source.addEventListener("hello", () => { tell(paused ? "paused" : "live", paused ? "" : "good"); if (!paused) load(); });
  source.addEventListener("message", (event) => apply(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      tell("no news from the gateway", "bad");
      setTimeout(listen, 2000);
    } else {
      lostSince = lostSince || Date.now();
      setTimeout(() => { if (lostSince && Date.now() - lostSince > 2500) tell("no news from the gateway: has it ended?", "bad"); }, 3000);
    }
  });
  source.addEventListener("open", () => { lostSince = 0; });
}
let lostSince = 0;

// --- one exchange ---------------------------------------------------------------------------------------------------

function choose(number) {
  if (chosen) rows.get(chosen)?.setAttribute("aria-selected", "false");
  chosen = number;
  const row = rows.get(number);
  row?.setAttribute("aria-selected", "true");
  row?.scrollIntoView({ block: "nearest" });
  byId("list").setAttribute("aria-activedescendant", row ? row.id : "");
  details = null;
  byId("said").textContent = "";
  put(byId("explained"));
  refresh();
}

function openPane() {
  document.body.classList.add("one");
  byId("pane").scrollTop = 0;
}

function closePane() {
  document.body.classList.remove("one");
  byId("list").focus();
}

let refreshing = false;
async function refresh() {
  if (!chosen || refreshing) return;
  refreshing = true;
  const number = chosen;
  try {
    const after = details ? lastMessage : 0;
    const told = await (await ask(`/inspector/exchanges/${number}?after=${after}`)).json();
    if (number === chosen) render(told);
  } catch (error) {
    if (number === chosen) byId("said").textContent = error.message;
  } finally {
    refreshing = false;
    if (number !== chosen) refresh();
  }
}

function render(told) {
  const before = details;
  details = told;
  byId("nothing").hidden = true;
  byId("shown").hidden = false;
  const same = before && before.live === told.live && before.status === told.status && before.reason === told.reason;
  byId("pane-title").textContent = `${told.method} ${told.target}`;
  renderFacts(told);
  put(byId("timing"), timing(told));
  renderMessages(told, Boolean(before));
  if (same && (told.live || before.duration === told.duration)) return;
  const why = told.replayable === "yes" ? "" : told.replayable;
  byId("replay").disabled = Boolean(why);
  byId("replay").title = why || "Key: r";
  byId("edit").disabled = !told.request;
  byId("curl").disabled = !told.request;
  byId("explain").disabled = told.host === "-";
  put(byId("trouble"), trouble(told));
  put(byId("request"), side(told, "request", "Request"));
  put(byId("response"), side(told, "response", "Response"));
}

function renderFacts(told) {
  const facts = [
    `#${told.number}`,
    told.live ? "under way" : told.status ? `${told.status} ${told.response?.phrase ?? ""}`.trim() : "no answer",
    told.call ? told.call.text : "",
    told.host,
    told.protocol,
    `from ${told.remote}`,
    told.app ? `to ${told.app}${told.reused ? ", over a connection at hand" : ""}` : "",
    told.replay_of ? `replay of #${told.replay_of}` : "",
    clock(told.time),
    told.request_id ? `id ${told.request_id}` : "",
  ];
  byId("facts").textContent = facts.filter(Boolean).join(" · ");
}

const PARTS = [
  ["queue", "queue"],
  ["dial", "dial"],
  ["first_byte", "first byte"],
  ["rest", "rest"],
];

function timing(told) {
  const sum = PARTS.reduce((all, [name]) => all + told.timing[name], 0);
  const bar = element("div", undefined, "bar");
  const legend = element("ul", undefined, "legend");
  for (const [name, title] of PARTS) {
    const ms = told.timing[name];
    const part = element("span", undefined, name);
    part.style.flexGrow = String(Math.max(ms, sum / 1000));
    if (ms > 0) bar.append(part);
    const item = element("li");
    item.append(element("i", undefined, name), `${title} `, element("b", ms > 0 ? duration(ms) : "–"));
    legend.append(item);
  }
  const card = element("div", undefined, "card");
  const inside = element("div");
  bar.setAttribute("aria-hidden", "true");
  inside.append(bar, legend);
  card.append(title("Time", told.live ? `${duration(sum)} so far` : duration(sum)), inside);
  return card;
}

function title(text, ...notes) {
  const made = element("h3", text);
  for (const note of notes) if (note) made.append(element("small", note));
  return made;
}

// What went wrong, or may: the gateway's own words, and its page where there was one.
function trouble(told) {
  const hint = told.hint;
  const call = hasFailed(told.call) ? told.call : null;
  if (!told.reason && !told.detail && !hint && !call) return null;
  const card = element("div", undefined, `card ${isFailed(told) || call?.like >= 500 ? "bad-card" : "hint-card"}`);
  card.append(title(told.reason || (told.detail ? "The answer was broken off" : call ? call.text : "Hint")));
  if (told.detail) card.append(element("p", told.detail));
  if (call && told.reason) card.append(element("p", `The caller was told ${call.text}.`));
  else if (call) card.append(element("p", call.message || "without a message"));
  if (hint) card.append(element("p", hint));
  const isPage = field(told.response?.fields, "x-gateway-error") && told.type === "text/html";
  if (isPage) {
    const frame = element("iframe");
    frame.title = "The page that was shown";
    frame.setAttribute("sandbox", "");
    frame.src = `/inspector/exchanges/${told.number}/problem`;
    card.append(frame);
  }
  return card;
}

function field(fields, name) {
  return fields?.find(([key]) => key.toLowerCase() === name)?.[1] ?? "";
}

function side(told, name, heading) {
  const half = told[name];
  if (!half) return null;
  const card = element("div", undefined, "card");
  const body = half.body;
  const cut = body.kept < body.size ? `, the first ${octets(body.kept)} are kept` : "";
  card.append(title(heading, body.size ? `${octets(body.size)}${cut}` : "no body", body.type.split(";")[0], body.encoding));
  if (name === "response") {
    for (const each of told.interim) card.append(fieldTable(`Interim answer ${each.status}`, each.fields));
  }
  card.append(fieldTable(name === "request" ? "Fields of the request" : "Fields of the response", half.fields));
  if (half.added?.length) card.append(fieldTable("Added for the app", half.added, false));
  if (half.trailers.length) card.append(fieldTable(`Trailers of the ${name}`, half.trailers));
  const follows = told.kind === "websocket" && told.status === 101; // its octets are shown as messages
  if (body.size && !follows) card.append(bodyView(told, name, body));
  return card;
}

function fieldTable(name, fields, isOpen = true) {
  const made = element("details", undefined, "fields");
  made.open = isOpen;
  const table = element("table");
  for (const [key, value] of fields) {
    const row = element("tr");
    const heading = element("th", key);
    heading.scope = "row";
    row.append(heading, element("td", value));
    table.append(row);
  }
  const frame = element("div", undefined, "table");
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", name);
  frame.append(table);
  made.append(element("summary", `${name} (${fields.length})`), frame);
  return made;
}

// --- bodies ---------------------------------------------------------------------------------------------------------

function bodyView(told, name, body) {
  const view = element("div");
  const content = element("div", "…", "content");
  const bar = element("div", undefined, "views");
  const note = element("span");
  const path = `/inspector/exchanges/${told.number}/${name}/body`;
  const modes = [["readable", "Readable"], ["text", "Text"], ["sent", "As sent"]];
  const buttons = modes.map(([mode, label]) => {
    const button = element("button", label);
    button.type = "button";
    button.addEventListener("click", () => turn(mode));
    return button;
  });
  content.tabIndex = 0;
  content.setAttribute("role", "region");
  content.setAttribute("aria-label", `Body of the ${name}`);
  async function turn(mode) {
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(modes[at][0] === mode)));
    try {
      const answer = await ask(mode === "sent" ? path : `${path}?decoded`);
      note.textContent = answer.headers.get("X-Note") || "";
      put(content, shownAs(mode, new Uint8Array(await answer.arrayBuffer()), body));
    } catch (error) {
      content.textContent = error.message;
    }
  }
  const save = element("a", "Save", "button");
  save.href = path;
  save.download = `${name}-${told.number}`;
  bar.append(...buttons, note);
  view.append(bar, content);
  turn("readable");
  return view;
}

function shownAs(mode, data, body) {
  const type = body.type.split(";")[0].trim().toLowerCase();
  if (mode === "readable") {
    if (type.startsWith("image/")) return picture(data, type);
    if (type === "multipart/form-data") return parts(data, body.type) ?? plain(data);
    if (type === "application/x-www-form-urlencoded") return form(data);
    const text = decode(data);
    if (text !== null && (/[/+]json$/.test(type) || /^\s*[[{]/.test(text))) return json(text, body) ?? plain(data);
  }
  return mode === "sent" ? (decode(data) === null || body.encoding ? hex(data) : plain(data)) : plain(data);
}

// The text of octets; null if they are none. The end may be cut inside a character.
function decode(data) {
  for (let cut = 0; cut < 4 && cut <= data.length; cut += 1) {
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(data.subarray(0, data.length - cut));
      return /[\u0000-\u0008\u000e-\u001a]/.test(text) ? null : text;
    } catch { /* one octet less */ }
  }
  return null;
}

function plain(data) {
  const text = decode(data);
  if (text === null) return hex(data);
  return element("pre", text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}…` : text);
}

function hex(data) {
  const lines = [];
  for (let at = 0; at < Math.min(data.length, MOST_HEX); at += 16) {
    const part = [...data.subarray(at, at + 16)];
    const numbers = part.map((each) => each.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const letters = part.map((each) => (each >= 32 && each < 127 ? String.fromCharCode(each) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${numbers}  ${letters}`);
  }
  if (data.length > MOST_HEX) lines.push(`… ${octets(data.length - MOST_HEX)} more`);
  return element("pre", lines.join("\n"), "hex");
}

function picture(data, type) {
  const image = element("img");
  image.alt = `image, ${octets(data.length)}`;
  image.src = URL.createObjectURL(new Blob([data], { type })); // in an <img> not even SVG runs scripts or loads anything
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  image.addEventListener("error", () => { URL.revokeObjectURL(image.src); image.replaceWith(plain(data)); });
  return image;
}

function form(data) {
  const table = element("table");
  for (const [name, value] of [...new URLSearchParams(decode(data) ?? "")].slice(0, 500)) {
    const row = element("tr");
    row.append(element("th", name), element("td", value));
    table.append(row);
  }
  return table;
}

// RFC 7578: the parts of a form, each with its own fields.
function parts(data, type) {
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1];
  if (!boundary) return null;
  const latin = Array.from(data, (each) => String.fromCharCode(each)).join("");
  const all = element("div");
  let at = latin.indexOf(`--${boundary}`);
  while (at >= 0 && all.childElementCount < 100) {
    const begin = latin.indexOf("\r\n", at) + 2;
    const next = latin.indexOf(`\r\n--${boundary}`, begin - 2);
    const end = next < 0 ? latin.length : next;
    const split = latin.indexOf("\r\n\r\n", begin);
    if (begin < 2 || split < 0 || split > end) break;
    const part = element("div", undefined, "part");
    const head = decode(data.subarray(begin, split)) ?? "";
    const inside = data.subarray(split + 4, end);
    const kind = /^content-type:\s*([^;\r\n]+)/im.exec(head)?.[1]?.toLowerCase() ?? "text/plain";
    part.append(element("pre", head, "faint"), kind.startsWith("image/") ? picture(inside, kind) : plain(inside));
    all.append(part);
    at = next < 0 ? -1 : next + 2;
  }
  return all.childElementCount ? all : null;
}

function json(text, body) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (body.kept < body.size) return null; // its end is missing
    const made = element("div");
    made.append(element("p", `This is no valid JSON: ${error.message}`, "failed"), element("pre", text.slice(0, MOST_TEXT)));
    return made;
  }
  const tree = element("div", undefined, "tree");
  tree.append(node(null, value, 0));
  return tree;
}

function scalar(value) {
  const kind = typeof value === "string" ? "string" : typeof value === "number" ? "number" : "word";
  return element("span", JSON.stringify(value), kind);
}

function node(key, value, depth) {
  const isFolded = value !== null && typeof value === "object";
  const name = key === null ? [] : [element("span", typeof key === "number" ? String(key) : JSON.stringify(key), "key"), ": "];
  if (!isFolded) {
    const made = element("div");
    made.append(...name, scalar(value));
    return made;
  }
  const isList = Array.isArray(value);
  const entries = isList ? value.map((each, at) => [at, each]) : Object.entries(value);
  const made = element("details");
  const summary = element("summary");
  const many = isList ? counted(entries.length, "entry", "entries") : counted(entries.length, "member");
  summary.append(...name, isList ? "[ " : "{ ", element("span", many, "faint"), isList ? " ]" : " }");
  made.append(summary);
  let filled = false;
  const fillIn = () => {
    if (filled) return;
    filled = true;
    made.append(...entries.slice(0, MOST_NODES).map(([each, inner]) => node(each, inner, depth + 1)));
    if (entries.length > MOST_NODES) made.append(element("div", `… ${entries.length - MOST_NODES} more`, "faint"));
  };
  made.addEventListener("toggle", fillIn);
  if (depth < 2 && entries.length <= 50) { fillIn(); made.open = true; }
  return made;
}

// --- messages -------------------------------------------------------------------------------------------------------

function renderMessages(told, goesOn) {
  const box = byId("messages");
  if (!told.messages) { put(box); lastMessage = 0; return; }
  let list = goesOn ? box.querySelector("ol") : null;
  if (!list) {
    const card = element("div", undefined, "card");
    list = element("ol");
    list.tabIndex = 0;
    list.setAttribute("aria-label", "Messages");
    card.append(element("h3"), list);
    put(box, card);
    lastMessage = 0;
  }
  const follow = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
  for (const each of told.latest) {
    if (each.number <= lastMessage) continue;
    list.append(messageRow(each));
    lastMessage = each.number;
  }
  while (list.childElementCount > MOST_ROWS) list.firstElementChild.remove();
  const name = told.kind === "events" ? "Events" : "Messages";
  const shown = list.childElementCount;
  put(box.querySelector("h3"), name, element("small", shown < told.messages ? `the last ${shown} of ${told.messages}` : String(shown)));
  if (follow) list.scrollTop = list.scrollHeight;
}

function messageRow(each) {
  const row = element("li", undefined, each.from);
  const arrow = element("span", each.from === "app" ? "↓" : "↑");
  arrow.title = each.from === "app" ? "from the app" : "from the visitor";
  const label = each.kind === "text" || each.kind === "event" ? "" : `${each.kind} `;
  const content = element("div");
  if (label || each.note) content.append(element("span", `${label}${each.note} `, "faint"));
  if (each.base64) content.append(hex(Uint8Array.from(atob(each.base64), (letter) => letter.charCodeAt(0))));
  else if (each.text) content.append(element("pre", each.text));
  row.append(arrow, element("span", `+${duration(each.at)}`), element("span", octets(each.size)), content);
  return row;
}

// --- actions --------------------------------------------------------------------------------------------------------

async function replay(edited) {
  const told = await (await act(`/inspector/exchanges/${details.number}/replay`, "POST", edited)).json();
  show(told);
  tidy();
  choose(told.number);
  byId("said").textContent = `Sent again, as #${told.number}.`;
}

async function replayAsItWas() {
  if (byId("replay").disabled || !details) return;
  try { await replay({}); } catch (error) { byId("said").textContent = error.message; }
}

// Pseudo-fields of HTTP/2, and what stands in their place in HTTP/1.1: whoever sends the request again says them itself.
const isMadeAnew = (name) => name.startsWith(":") || ["host", "content-length"].includes(name.toLowerCase());

async function edit() {
  if (byId("edit").disabled || !details) return;
  const { request, method, target } = details;
  byId("edit-method").value = method;
  byId("edit-target").value = target;
  const kept = request.fields.filter(([name]) => !isMadeAnew(name));
  byId("edit-fields").value = kept.map(([name, value]) => `${name}: ${value}`).join("\n");
  let text = "";
  if (request.body.size) {
    const answer = await ask(`/inspector/exchanges/${details.number}/request/body`);
    text = decode(new Uint8Array(await answer.arrayBuffer()));
  }
  const isText = text !== null && request.body.kept === request.body.size;
  byId("edit-body").value = isText ? text : "";
  byId("edit-body").disabled = !isText;
  byId("edit-body").placeholder = isText ? "" : "Not text, or not kept whole: sent as it was.";
  byId("edit-said").textContent = "";
  byId("editor").showModal();
}

async function sendEdited(event) {
  if (event.submitter?.value !== "send") return;
  event.preventDefault();
  const lines = byId("edit-fields").value.split("\n").filter((line) => line.trim());
  const edited = {
    method: byId("edit-method").value.trim(),
    target: byId("edit-target").value.trim(),
    fields: lines.map((line) => [line.split(":", 1)[0].trim(), line.slice(line.indexOf(":") + 1).trim()]),
  };
  if (!byId("edit-body").disabled) edited.body = byId("edit-body").value;
  try {
    await replay(edited);
    byId("editor").close();
  } catch (error) {
    byId("edit-said").textContent = error.message;
  }
}

// For a shell: nothing between single quotes means anything but a single quote.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// HTTP/1.1's, which curl speaks, whatever the browser has; without a body, so that curl shows the answer as it comes.
function handshake(fields) {
  const words = ["--http1.1", "--include", "--no-buffer", "-H", quoted("Connection: Upgrade"), "-H", quoted("Upgrade: websocket")];
  if (field(fields, "sec-websocket-key")) return words; // over HTTP/2 there is none
  const key = String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)));
  return [...words, "-H", quoted(`Sec-WebSocket-Key: ${btoa(key)}`)];
}

async function curlCommand() {
  const { request, method, host, target, number, kind } = details;
  const words = ["curl", "--globoff", "--path-as-is"];
  if (authority) words.push("--cacert", quoted(authority));
  const left = new Set(["accept-encoding", "upgrade"]);
  if (field(request.fields, "accept-encoding")) words.push("--compressed");
  if (kind === "websocket") words.push(...handshake(request.fields)); // what is said in it is no body
  else if (method === "HEAD") words.push("--head");
  else if (method !== (request.body.size ? "POST" : "GET")) words.push("-X", quoted(method));
  words.push(quoted(`https://${host}${target}`));
  for (const [name, value] of request.fields) {
    if (!isMadeAnew(name) && !left.has(name.toLowerCase())) words.push("-H", quoted(value ? `${name}: ${value}` : `${name};`));
  }
  let before = "";
  if (request.body.kept && kind !== "websocket") {
    const answer = await ask(`/inspector/exchanges/${number}/request/body`);
    const data = new Uint8Array(await answer.arrayBuffer());
    const text = decode(data);
    if (text !== null && !text.includes("\r")) words.push("--data-raw", quoted(text));
    else {
      before = `echo ${btoa(Array.from(data, (each) => String.fromCharCode(each)).join(""))} | base64 -d | `;
      words.push("--data-binary", "@-");
    }
    if (request.body.kept < request.body.size) before = `# only the first ${counted(request.body.kept, "octet")} of the body\n${before}`;
    if (!field(request.fields, "content-type")) words.push("-H", quoted("Content-Type:"));
  }
  return before + words.join(" ");
}

async function copyAsCurl() {
  if (byId("curl").disabled || !details) return;
  try {
    const command = await curlCommand();
    await navigator.clipboard.writeText(command);
    byId("said").textContent = "Copied.";
  } catch (error) {
    byId("said").textContent = `Not copied: ${error.message}`;
  }
}

const MARKS = { ok: "✓", failed: "✕", warning: "!", skipped: "–" };

async function explain() {
  if (byId("explain").disabled || !details) return;
  const box = byId("explained");
  const card = element("div", undefined, "card");
  card.append(title("Explain"), element("p", "looking …"));
  put(box, card);
  card.scrollIntoView({ block: "nearest" });
  try {
    const url = `https://${details.host}${details.target}`;
    const report = await (await ask(`/inspector/explain?url=${encodeURIComponent(url)}`)).json();
    const steps = element("ol", undefined, "steps");
    for (const step of report.steps) {
      const item = element("li", undefined, step.verdict);
      const mark = element("span", MARKS[step.verdict]);
      mark.title = step.verdict;
      item.append(mark, element("span", step.name), element("span", step.detail), element("span", duration(step.milliseconds)));
      steps.append(item);
    }
    const inside = element("div");
    inside.append(steps);
    put(card, title("Explain", "as it is now"), sentence("p", report.conclusion), inside);
    if (report.fix.length) {
      const fixes = element("ul");
      for (const fix of report.fix.slice(0, 8)) fixes.append(sentence("li", fix));
      card.append(fixes);
    }
    card.scrollIntoView({ block: "nearest" });
  } catch (error) {
    put(card, title("Explain"), element("p", error.message));
  }
}

function setPaused(value) {
  paused = value;
  byId("pause").setAttribute("aria-pressed", String(value));
  tell(value ? "paused" : "live", value ? "" : "good");
  if (!value) load();
}

async function clear() {
  try {
    await act("/inspector/exchanges", "DELETE");
    await load();
  } catch (error) {
    tell(error.message, "bad");
  }
}

// --- keys -----------------------------------------------------------------------------------------------------------

function step(by) {
  const shown = [...byId("list").children].filter((row) => !row.hidden);
  if (!shown.length) return;
  const at = shown.findIndex((row) => row.id === `exchange-${chosen}`);
  const next = at < 0 ? 0 : Math.min(Math.max(at + by, 0), shown.length - 1);
  choose(Number(shown[next].id.slice(9)));
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "/": () => byId("words").focus(),
  r: replayAsItWas,
  e: edit,
  c: copyAsCurl,
  x: explain,
  p: () => setPaused(!paused),
  "?": () => byId("keys").showModal(),
  Escape: closePane,
};
const LIST_KEYS = {
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  Home: () => step(-MOST_ROWS),
  End: () => step(MOST_ROWS),
  Enter: () => { if (chosen) { openPane(); byId("pane").focus(); } },
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const inField = event.target.matches("input, textarea, select");
  if (inField) {
    if (event.key === "Escape") byId("list").focus();
    return;
  }
  const inList = event.target === byId("list") || event.target === document.body;
  const action = KEYS[event.key] ?? (inList ? LIST_KEYS[event.key] : undefined);
  if (!action) return;
  event.preventDefault();
  action();
}

function filterChanged() {
  for (const [number, row] of rows) row.hidden = !matches(exchanges.get(number));
  tidy();
}

document.addEventListener("keydown", pressed);
for (const id of ["words", "status", "kind"]) byId(id).addEventListener("input", filterChanged);
byId("filter").addEventListener("submit", (event) => event.preventDefault());
byId("pause").addEventListener("click", () => setPaused(!paused));
byId("clear").addEventListener("click", clear);
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("back").addEventListener("click", closePane);
byId("replay").addEventListener("click", replayAsItWas);
byId("edit").addEventListener("click", edit);
byId("editor").addEventListener("submit", sendEdited);
byId("curl").addEventListener("click", copyAsCurl);
byId("explain").addEventListener("click", explain);
listen();
