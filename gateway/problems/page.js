// The page while it is open: it asks the gateway whether the app is there, says what it hears, and makes way for the
// app in place: nothing is redirected, so the URL, its fragment and the history stay as they are. The gateway answers
// a request with X-Gateway-Probe itself, so asking never reaches an app. It may reach an app's service worker, which
// keeps what it gets: it asks by OPTIONS, whose answers no cache of a worker can hold (Service Workers, Cache.put).
(() => {
  "use strict";
  const MINUTE = 60e3, HOUR = 60 * MINUTE, FIRST = 700, PATIENCE = 15e3, VAIN = "gateway-in-vain";
  const at = (id) => document.getElementById(id);
  const method = document.body.dataset.method;
  const again = at("again"), resend = at("resend");
  // Written by the gateway: the reason, what is waited for, what was met. It comes anew with every other reason.
  const told = () => at("what").dataset;
  let since, heard, timer, known, retryAfter = 0, asking = false, stopped = false, over = false;

  const say = (text, mood) => {
    // A screen reader announces what changes here: the news, not every second.
    if (at("state").textContent !== text) at("state").textContent = text;
    at("bar").className = mood;
    tick();
  };
  const tick = () => {
    const seconds = Math.floor((Date.now() - heard) / 1000);
    const when = seconds < 1 ? "just now" : `${seconds} s ago`;
    at("ago").textContent = at("bar").className === "waiting" ? `${told().met || "asked"} ${when}` : "";
  };

  const ask = (form) => fetch(location.origin + location.pathname + location.search, {
    method: "OPTIONS",
    headers: {"X-Gateway-Probe": "1", Accept: form},
    cache: "no-store",
    redirect: "manual",
    credentials: "same-origin",
    signal: AbortSignal.timeout && AbortSignal.timeout(PATIENCE),
  });
  // How long a dial took differs every time and is no news.
  const meaning = ({reason, observed}) => reason + observed.join().replace(/[\d.]+ ms/g, "");

  const poll = async () => {
    if (asking || over) return;
    asking = true;
    try {
      const answer = await ask("application/problem+json");
      if (answer.headers.get("X-Gateway-Probe") === "ready") return ready();
      // A service worker, or a proxy in between.
      if (!answer.headers.has("X-Gateway-Error")) return stop("Something other than the gateway answers here.");
      const problem = await answer.json(), news = meaning(problem);
      if (known ? known !== news : told().reason !== problem.reason) await renew();
      known = news;
      heard = Date.now();
      retryAfter = Number(answer.headers.get("Retry-After")) || 0;
      say(told().waiting || "Still not there, still asking", "waiting");
    } catch {
      say(navigator.onLine ? "The gateway does not answer. Still trying" : "You are offline. Still trying", "lost");
    } finally {
      asking = false;
    }
    schedule();
  };
  const schedule = () => {
    const waited = Date.now() - since;
    if (waited >= HOUR) return stop("Not asking any more, after an hour.");
    const pace = document.visibilityState === "hidden" ? 30 : waited < MINUTE ? 1 : waited < 10 * MINUTE ? 5 : 15;
    clearTimeout(timer);
    timer = setTimeout(poll, 1000 * Math.max(pace, Math.min(retryAfter, 60)));
  };
  const start = (delay) => {
    stopped = false;
    since = Date.now();
    clearTimeout(timer);
    timer = setTimeout(poll, delay);
    say(told().waiting, "waiting");
  };
  const stop = (text) => {
    stopped = true;
    say(text, "stopped");
    again.textContent = "Try again";
  };
  // A worker may have kept this page for the app's: it would be shown for ever.
  const forget = async () => {
    for (const name of await caches.keys()) {
      const cache = await caches.open(name), page = [location.href, {ignoreVary: true}];
      const kept = await cache.match(...page);
      if (kept?.headers.has("X-Gateway-Error")) await cache.delete(...page);
    }
  };
  // How often in a row this tab has loaded the app and met this page: the app comes and goes.
  const inVain = () => {
    const now = Date.now(), [last, times] = (sessionStorage[VAIN] || "0 0").split(" ");
    const again = now - last < 2 * MINUTE ? +times + 1 : 0;
    sessionStorage[VAIN] = `${now} ${again}`;
    return again;
  };
  const ready = async () => {
    let pause = 0;
    over = true;
    if (method === "GET") {
      try {
        pause = Math.min(2 ** inVain() - 1, 60);
        await forget();
      } catch {
        // A frame of another site has neither storage nor caches.
      }
      say(pause ? `The app comes and goes. Loading it in ${pause} s` : "The app is up. Loading it", "up");
      setTimeout(() => location.reload(), 1000 * pause);
    } else {
      say(`The app is up. This page answered a ${method}, which is sent again only if you say so.`, "up");
      resend.hidden = false;
    }
  };
  // Another reason: the parts that tell it, as the gateway writes them for a page.
  const renew = async () => {
    const answer = await ask("text/html");
    if (!answer.headers.has("X-Gateway-Error")) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["what", "facts"]) at(id).replaceWith(page.getElementById(id));
    document.title = page.title;
  };

  const copy = async (button) => {
    const code = button.previousElementSibling, label = button.firstChild;
    let done = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      // A frame may not write to the clipboard: then the line is selected, and a keystroke copies it.
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    label.data = at("copied").textContent = done ? "Copied" : "Selected";
    setTimeout(() => {
      label.data = "Copy";
      at("copied").textContent = "";
    }, 2000);
  };

  document.documentElement.className = "js";
  addEventListener("click", (event) => {
    const button = event.target.closest("a, button");
    if (!button) return;
    if (button.className === "copy") copy(button);
    else if (button === resend) location.reload();
    else if (button === again && stopped) start(0);
    else if (button === again && method === "GET") location.reload();
    else return;
    event.preventDefault();
  });
  // A frame without an origin of its own (sandbox="allow-scripts") may not ask: what answers then is the app.
  if (told().waiting && self.origin !== "null") {
    heard = Date.now();
    start(FIRST);
    setInterval(tick, 1000);
    // Somebody looks, or the network is back: no reason to wait.
    const wake = () => document.visibilityState === "visible" && !over && start(0);
    addEventListener("visibilitychange", wake);
    addEventListener("online", wake);
  } else if (resend) {
    resend.hidden = false;
  }
})();
