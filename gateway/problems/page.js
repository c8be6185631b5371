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
    if (at("bar").className !== mood) at("bar").className = mood;
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
    } catch (error) {
      if (!navigator.onLine) say("You are offline. Still trying", "lost");
      else if (error.name === "TimeoutError") say(`No answer within ${PATIENCE / 1000} s. Still trying`, "lost");
      // Some workers fail whatever they cannot keep. What they do not fail is what the app lives on: being loaded.
      else if (navigator.serviceWorker?.controller && method === "GET") {
        return load("The gateway does not answer, or the app's service worker does not let it. Loading", "lost", 5);
      } else say("The gateway does not answer. Still trying", "lost");
    } finally {
      asking = false;
    }
    schedule();
  };
  const schedule = () => {
    const waited = Date.now() - since;
    if (waited >= HOUR) return stop("Not asking any more, after an hour.");
    const pace = waited < MINUTE ? 1 : waited < 10 * MINUTE ? 5 : 15;
    wait(1000 * Math.max(pace, Math.min(retryAfter, 60)));
  };
  // Nobody is told anything by a page that nobody sees, so it does not ask: the timer is set once it is seen.
  const wait = (delay) => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") timer = setTimeout(poll, delay);
  };
  const start = (delay) => {
    since = Date.now();
    wait(delay);
    // What was said last stays until there is an answer: a word that comes and goes is a flicker.
    if (stopped || !at("bar").className) say(told().waiting, "waiting");
    stopped = false;
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
  // Where a browser lets a frame keep nothing, the entry of the history outlives a reload; apps keep theirs in it, too.
  const kept = (value) => {
    try {
      if (value) sessionStorage[VAIN] = value;
      return sessionStorage[VAIN];
    } catch {
      if (value) history.replaceState({...history.state, [VAIN]: value}, "");
      return history.state?.[VAIN];
    }
  };
  // How often in a row this tab has loaded the app and met this page: the app comes and goes.
  const inVain = () => {
    const now = Date.now(), [last, times] = (kept() || "0 0").split(" ");
    const again = now - last < 2 * MINUTE ? +times + 1 : 0;
    kept(`${now} ${again}`);
    return again;
  };
  // In `least` seconds; later, the more often that was in vain.
  const load = async (why, mood, least = 0) => {
    over = true;
    const pause = Math.min(Math.max(2 ** inVain() - 1, least), 60);
    try {
      await forget();
    } catch {
      // A frame of another site may have no caches.
    }
    say(pause ? `${why} in ${pause} s` : "The app is up. Loading it", mood);
    setTimeout(() => location.reload(), 1000 * pause);
  };
  const ready = () => {
    if (method === "GET") return load("The app comes and goes. Loading it", "up");
    over = true;
    say(`The app is up. This page answered a ${method}, which is sent again only if you say so.`, "up");
    resend.hidden = false;
  };
  // Makes `old` say what `fresh` says and touches nothing else: what is opened, selected or focused stays so.
  const patch = (old, fresh) => {
    if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    for (const {name, value} of fresh.attributes || []) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const {name} of [...old.attributes || []]) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    const olds = [...old.childNodes], news = [...fresh.childNodes];
    news.forEach((child, index) => index < olds.length ? patch(olds[index], child) : old.append(child));
    olds.slice(news.length).forEach((child) => child.remove());
  };
  // Another reason: the parts that tell it, as the gateway writes them for a page.
  const renew = async () => {
    const answer = await ask("text/html");
    if (!answer.headers.has("X-Gateway-Error")) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["what", "facts"]) patch(at(id), page.getElementById(id));
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
    const wake = () => {
      if (document.visibilityState === "hidden") clearTimeout(timer);
      else if (!over) start(0);
    };
    addEventListener("visibilitychange", wake);
    addEventListener("online", wake);
    // Out of the back/forward cache, as it was left: perhaps on its way to the app.
    addEventListener("pageshow", ({persisted}) => {
      if (!persisted) return;
      over = false;
      wake();
    });
  } else if (resend) {
    resend.hidden = false;
  }
})();
