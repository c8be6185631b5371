"use strict";
// Shows what /events tells. Everything in it may be a stranger's: it is put in as text, and never as markup.

const POINTS = 60;
const histories = new Map();
let stale = 0;

const byId = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function count(value) {
  if (value >= 1e7) return `${(value / 1e6).toFixed(1)} M`;
  return value >= 10000 ? `${(value / 1000).toFixed(1)} k` : String(Math.round(value * 10) / 10);
}

// `1 event`, `2 events`.
const counted = (number, noun, plural = `${noun}s`) => `${number} ${Number(number) === 1 ? noun : plural}`;

function octets(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h` : counted(Math.floor(minutes / 1440), "day");
}

const ago = (time) => `${duration(Math.max(0, Date.now() / 1000 - time))} ago`;

// --- tiles ----------------------------------------------------------------------------------------------------------

function tile(name, value, shown) {
  let known = histories.get(name);
  if (!known) {
    const item = element("li");
    const number = element("span", "", "value");
    const chart = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    chart.setAttribute("viewBox", `0 0 ${POINTS - 1} 20`);
    chart.setAttribute("preserveAspectRatio", "none");
    chart.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    chart.append(line);
    item.append(element("span", name, "name"), number, chart);
    byId("tiles").append(item);
    known = { number, line, points: [] };
    histories.set(name, known);
  }
  known.number.textContent = shown;
  known.points.push(value ?? 0);
  if (known.points.length > POINTS) known.points.shift();
  const top = Math.max(...known.points, 1e-9);
  const first = POINTS - known.points.length;
  known.line.setAttribute("points", known.points.map((each, at) => `${first + at},${19 - (each / top) * 18}`).join(" "));
}

function showTiles(told) {
  const { status, rates, latency } = told;
  if (!rates) return; // the first look: nothing to compare it with
  tile("requests/s", rates.requests, count(rates.requests));
  tile("failures/s", rates.failures, count(rates.failures));
  tile("answers within (50 %)", latency.duration.p50, duration(latency.duration.p50));
  tile("answers within (90 %)", latency.duration.p90, duration(latency.duration.p90));
  tile("answers within (99 %)", latency.duration.p99, duration(latency.duration.p99));
  tile("first octet within (99 %)", latency.first_byte.p99, duration(latency.first_byte.p99));
  tile("sent/s", rates.sent, octets(rates.sent));
  tile("received/s", rates.received, octets(rates.received));
  tile("new connections/s", rates.connections, count(rates.connections));
  tile("event loop late (99 %)", latency.loop_lag.p99, duration(latency.loop_lag.p99));
  tile("in flight", status.requests.in_flight, count(status.requests.in_flight));
  tile("connections", status.connections.downstream, count(status.connections.downstream));
  const tunnels = status.tunnels.websocket + status.tunnels.other;
  tile("tunnels", tunnels, count(tunnels));
}

// --- tables ---------------------------------------------------------------------------------------------------------

function table(id, heads, rows, none) {
  const made = byId(id);
  made.replaceChildren();
  if (!rows.length) {
    const row = element("tr");
    row.append(element("td", none));
    made.append(row);
    return;
  }
  const head = element("tr");
  for (const [at, each] of heads.entries()) {
    const cell = element("th", each, rows[0][at].className === "number" ? "number" : "");
    cell.scope = "col";
    head.append(cell);
  }
  made.append(head);
  for (const cells of rows) {
    const row = element("tr");
    row.append(...cells);
    made.append(row);
  }
}

const text = (value, className) => element("td", value, className);
const number = (value) => element("td", value, "number");

function failure(each, totals) {
  const what = text(each.title);
  what.append(element("small", `${each.method} ${each.host}${each.path}`));
  if (each.detail) what.append(element("small", each.detail));
  return [
    text(each.reason, "code"), number(count(totals[each.reason] ?? 0)), number(String(each.status)),
    number(ago(each.time)), what, text(each.request_id, "code"),
  ];
}

// Reasons whose latest failure was met by a process that has ended: only counts outlive it.
function unseen(status) {
  const seen = new Set(status.failures.map((each) => each.reason));
  return Object.entries(status.requests.failures).filter(([reason]) => !seen.has(reason)).map(([reason, total]) => [
    text(reason, "code"), number(count(total)), number(""), number(""), text("The latest was met by a process that has ended."),
    text(""),
  ]);
}

function worker(each, slot) {
  if (!each) return [text(String(slot)), text("does not answer", "bad"), text(""), text(""), text(""), text("")];
  return [
    text(String(each.worker)), text(each.state, each.state === "ready" ? "" : "wait"), number(String(each.pid)),
    number(String(each.generation ?? "")), number(count(each.connections)), number(count(each.exchanges ?? 0)),
  ];
}

function certificate(each) {
  const days = each.days_left;
  const left = days < 0 ? "expired" : counted(days, "day");
  return [text(each.name, "code"), text(each.not_after), text(left, days < 3 ? "bad" : days < 21 ? "wait" : "")];
}

function rest(pairs) {
  const list = byId("rest");
  list.replaceChildren();
  for (const [name, value, className] of pairs) list.append(element("dt", name), element("dd", value, className));
}

// --- all of it ------------------------------------------------------------------------------------------------------

function show(told) {
  const { status } = told;
  const state = byId("state");
  const why = [...(status.certificates ?? []), ...(status.failing ?? [])];
  const silent = status.workers.filter((each) => !each).length;
  if (silent) why.unshift(`no answer from ${silent} of ${counted(status.workers.length, "worker")}`);
  const sentence = `${status.status}${why.length ? `: ${why.join("; ")}` : ""}`;
  if (state.textContent !== sentence) state.textContent = sentence; // it is read aloud when it changes
  state.className = status.status === "ready" ? "good" : "bad";
  document.title = `gateway: ${status.status}`;
  byId("version").textContent = status.version;
  byId("facts").textContent = `up ${duration(status.uptime_seconds)} · ${counted(count(status.requests.total), "request")} since`;
  showTiles(told);
  table("failures", ["reason", "total", "status", "when", "what", "request id"],
    [...status.failures.map((each) => failure(each, status.requests.failures)), ...unseen(status)], "None so far.");
  table("busiest", ["sandbox", "requests", "octets"],
    status.busiest.map((each) => [text(each.id, "code"), number(count(each.requests)), number(octets(each.octets))]),
    "Nobody has asked for anything lately.");
  table("workers", ["worker", "state", "pid", "generation", "connections", "exchanges"], status.workers.map(worker), "");
  table("certificates", ["file", "valid until", "left"], status.certificate_files.map(certificate), "None: no TLS listener.");
  const { directory, reload, limits, counters } = status;
  const restarts = Object.entries(status.worker_restarts).filter(([, total]) => total);
  const pairs = [
    ["directory", directory.available ? `${directory.backend}: answers` : `${directory.backend}: ${directory.error}`,
      directory.available ? "" : "bad"],
    ["records remembered", count(directory.remembered)],
    ["workers that died", restarts.length ? restarts.map(([cause, total]) => `${count(total)} (${cause})`).join(", ") : "none",
      restarts.length ? "wait" : ""],
    ["lines of the access log dropped", count(status.access_log_dropped), status.access_log_dropped ? "bad" : ""],
  ];
  if (reload) {
    pairs.push(["generation", String(reload.generation)]);
    pairs.push(["last reload", reload.ended ? `${ago(reload.ended)}, ${reload.successful ? "successful" : reload.error}` : "none",
      reload.successful ? "" : "bad"]);
  }
  for (const [name, value] of Object.entries(limits)) {
    const hits = (counters.connections_refused[name] ?? 0) + (counters.exchanges_refused[name] ?? 0);
    pairs.push([`limits.${name}`, `${value}, reached ${counted(count(hits), "time")}`, hits ? "wait" : ""]);
  }
  rest(pairs);
}

function connect() {
  const source = new EventSource("/events");
  source.onmessage = (event) => { stale = 0; show(JSON.parse(event.data)); };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}

setInterval(() => {
  stale += 1;
  if (stale > 5) {
    byId("state").textContent = "no news from the gateway for some seconds: what stands here is old";
    byId("state").className = "bad";
  }
}, 1000);
connect();
