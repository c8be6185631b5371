"""The problem page in a real browser: it makes way for the app by itself, and everybody can read it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.errors import Failure, GatewayError, Reason
from gateway.hostname import Target
from tests.interop.harness import require
from tests.support.devtools import DevTools
from tests.support.problem_site import Site, ipv4_only, problem_site, refused
from tests.support.process import poll

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DEEP = "/some/page?q=a%20b&c=%2F#part-2"

# Notes every delay the page asks for.
NOTE_DELAYS = """
const real = setTimeout;
self.delays = [];
self.setTimeout = (call, delay, ...rest) => (delays.push(delay), real(call, delay, ...rest));
"""
# The same, and no time passes but on the page's clock; the answers come from here, because an hour has 400 of them.
HURRY = """
const real = setTimeout, now = Date.now;
let ahead = 0;
self.delays = [];
Date.now = () => now() + ahead;
self.setTimeout = (call, delay) => (delays.push(delay), real(() => { ahead += delay; call(); }, 0));
const problem = {reason: "connection_refused", observed: []};
const init = {status: 502, headers: {"X-Gateway-Error": problem.reason}};
self.fetch = () => Promise.resolve(new Response(JSON.stringify(problem), init));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevTools]:
    require("chromium", "chromedriver")
    with DevTools(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def site() -> Iterator[Site]:
    with problem_site(refused()) as site:
        yield site


def state(browser: DevTools) -> str:
    return str(browser.evaluate("return document.getElementById('state').textContent"))


def wait_for_state(browser: DevTools, part: str) -> str:
    """What it says, once `part` is in it."""

    def look() -> str | None:
        said = state(browser)
        return said if part in said else None

    return poll(look, f"the page says “{part}”", 10)


def delays(browser: DevTools) -> list[int]:
    found: list[int] = browser.evaluate("return delays")
    return found


def submit(browser: DevTools, url: str, **typed: str) -> None:
    """Sends a form by POST, from a page of the same site."""
    browser.evaluate(
        "const form = Object.assign(document.createElement('form'), {method: 'post', action: arguments[0]});"
        "for (const [name, value] of Object.entries(arguments[1]))"
        "  form.append(Object.assign(document.createElement('input'), {name, value}));"
        "document.body.append(form); form.submit()",
        url,
        typed,
    )


# --- it recovers by itself ----------------------------------------------------------------------------------------


def test_the_page_becomes_the_app(browser: DevTools, site: Site) -> None:
    browser.open(site.url(DEEP))
    entries = browser.evaluate("return history.length")
    assert "Nothing reachable listens on port 5000" in browser.text
    site.wait_for(2, probes=True)
    assert state(browser) == "Waiting for port 5000 to accept connections"
    site.error = None
    up = time.monotonic()
    assert site.wait_for(2, probes=False).at - up < 4, "it asks every second; a busy browser takes its time"
    poll(lambda: browser.title == "The app", "the app is shown", 10)
    assert browser.url == site.url(DEEP)
    assert browser.evaluate("return history.length") == entries
    assert "GET /some/page?q=a%20b&c=%2F" in browser.text
    assert [asked.status for asked in site.asked if asked.probes][-1] == 204
    assert all(asked.path == "/some/page?q=a%20b&c=%2F" for asked in site.asked)


def test_it_asks_for_the_document_and_never_for_the_app(browser: DevTools, site: Site) -> None:
    browser.open(site.url())
    site.wait_for(3, probes=True)
    probes = [asked for asked in site.asked if asked.probes]
    assert {(asked.method, asked.accept, asked.status) for asked in probes} == {
        ("OPTIONS", "application/problem+json", 502)
    }
    assert len(site.asked) - len(probes) == 1


def test_another_reason_is_told_in_place(browser: DevTools, site: Site) -> None:
    browser.open(site.url())
    browser.evaluate("self.stillHere = true")
    site.wait_for(1, probes=True)
    site.error = ipv4_only()
    poll(lambda: "listens on IPv4 only" in browser.text, "the other reason is shown", 10)
    assert browser.evaluate("return stillHere") is True
    assert "listens on IPv4 only" in browser.title
    assert "the process is python3 (pid 4711)" in browser.text
    assert (
        browser.evaluate("return document.querySelector('section a').href") == "https://3000-abc123.sandbox.localhost/"
    )
    wait_for_state(browser, "over IPv6")
    shown = [asked for asked in site.asked if asked.accept == "text/html"]
    # A dial takes another time at every attempt; that alone is no news.
    site.error = ipv4_only()
    site.error.observed = (refused(17.3).detail, *site.error.observed[1:])
    count = len([asked for asked in site.asked if asked.probes])
    site.wait_for(count + 2, probes=True)
    assert [asked for asked in site.asked if asked.accept == "text/html"] == shown
    assert len(shown) == 1


def test_what_comes_after_a_connection_is_tried_again_by_hand_only(browser: DevTools, site: Site) -> None:
    site.error = GatewayError(Reason.CONNECTION_TERMINATED, "the app closed the connection")
    with browser.before_every_page(NOTE_DELAYS + "self.fetch = () => delays.push('fetch')"):
        browser.open(site.url(DEEP))
        assert delays(browser) == []
    assert state(browser) == ""
    site.error = None
    browser.evaluate("document.getElementById('again').click()")
    site.wait_for(2, probes=False)
    poll(lambda: browser.title == "The app", "the app is shown", 10)
    assert browser.url == site.url(DEEP)


def test_a_post_is_never_sent_again_by_itself(browser: DevTools, site: Site) -> None:
    site.error = None
    browser.open(site.url())
    site.error = refused()
    submit(browser, site.url("/order"))
    poll(lambda: "Nothing reachable listens" in browser.text, "the problem is shown", 10)
    assert browser.evaluate("return getComputedStyle(document.getElementById('resend')).display") == "none"
    site.error = None
    assert "This page answered a POST" in wait_for_state(browser, "The app is up")
    assert "Send the POST again" in browser.text
    assert len([asked for asked in site.asked if asked.method == "POST"]) == 1
    browser.evaluate("document.getElementById('again').click()")
    poll(lambda: browser.title == "The app", "the app is shown", 10)
    assert "GET /order" in browser.text
    assert len([asked for asked in site.asked if asked.method == "POST"]) == 1


@pytest.mark.parametrize("waits", [True, False])
def test_a_post_is_sent_again_when_somebody_says_so(browser: DevTools, site: Site, waits: bool) -> None:
    """ChromeDriver's browser does not ask once more whether the form is to be sent again."""
    site.error = None
    browser.open(site.url())
    site.error = refused() if waits else GatewayError(Reason.CONNECTION_TERMINATED, "the app closed the connection")
    submit(browser, site.url("/order"), card="typed once")
    poll(lambda: site.error and site.error.reason.row.title[:8] in browser.text, "the problem is shown", 10)
    site.error = None
    poll(lambda: "Send the POST again" in browser.text, "the button is shown", 10)
    browser.evaluate("document.getElementById('resend').click()")
    poll(lambda: browser.title == "The app", "the app is shown", 10)
    assert "POST /order" in browser.text
    assert "card=typed+once" in browser.text


def test_a_post_sent_again_may_lead_to_another_site(browser: DevTools, site: Site) -> None:
    """To a login, or a shop's bank: a policy's form-action holds for redirects, too."""
    site.error = None
    browser.open(site.url())
    site.error = GatewayError(Reason.CONNECTION_TERMINATED, "the app closed the connection")
    submit(browser, site.url("/order"))
    poll(lambda: "Send the POST again" in browser.text, "the button is shown", 10)
    site.error = None
    with problem_site(None) as elsewhere:
        site.leads_to = elsewhere.url("/paid").replace("5000-", "3000-")
        browser.evaluate("document.getElementById('resend').click()")
        poll(lambda: browser.url == site.leads_to, "the other site is shown", 10)


def test_an_answer_of_somebody_else_stops_it(browser: DevTools, site: Site) -> None:
    browser.open(site.url())
    site.app_is_probed = True
    site.error = None
    wait_for_state(browser, "Something other than the gateway answers here.")
    assert "Nothing reachable listens" in browser.text
    assert browser.evaluate("return document.getElementById('again').textContent") == "Try again"


# --- under an app's service worker --------------------------------------------------------------------------------

CACHE_FIRST = """
const answer = async (request) => {
  const kept = await caches.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  const copy = answer.clone();
  caches.open("v1").then((cache) => cache.put(KEY, copy));
  return answer;
};
"""
NETWORK_FIRST = """
const answer = async (request) => {
  try {
    const answer = await fetch(request);
    const copy = answer.clone();
    caches.open("v1").then((cache) => cache.put(KEY, copy));
    return answer;
  } catch {
    return caches.match(request);
  }
};
"""
AWAITING = """
const answer = async (request) => {
  const cache = await caches.open("v1");
  const kept = FIRST && await cache.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  await cache.put(KEY, answer.clone());
  return answer;
};
"""
"""Fails whatever it cannot keep: what is not asked by GET, and what varies by everything."""
WORKER = """
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
"""
REGISTER = """
return navigator.serviceWorker.register("/worker.js").then(() => navigator.serviceWorker.ready)
  .then(() => navigator.serviceWorker.controller || new Promise((resolve) =>
    navigator.serviceWorker.addEventListener("controllerchange", resolve)))
  .then(() => true);
"""
FORGET_WORKER = """
return navigator.serviceWorker.getRegistration().then((worker) => worker.unregister())
  .then(() => caches.delete("v1"));
"""


@pytest.mark.parametrize("key", ["request", "request.url"])
@pytest.mark.parametrize("worker", [CACHE_FIRST, NETWORK_FIRST], ids=["cache first", "network first"])
def test_a_service_worker_keeps_nothing_of_ours_for_the_apps(browser: DevTools, worker: str, key: str) -> None:
    """It keeps whatever it gets, and the page for a dead app is what it gets first."""
    with problem_site(None) as site:
        site.worker = WORKER + worker.replace("KEY", key)
        browser.open(site.url())
        assert browser.evaluate(REGISTER)
        site.error = refused()
        browser.open(site.url(DEEP))
        assert "Nothing reachable listens on port 5000" in browser.text
        site.wait_for(3, probes=True)
        site.error = None
        poll(lambda: browser.title == "The app", "the app is shown", 10)
        browser.open(site.url(DEEP))
        assert browser.title == "The app"
        browser.evaluate(FORGET_WORKER)


@pytest.mark.parametrize("key", ["request", "request.url"])
@pytest.mark.parametrize("first", ["true", "false"], ids=["cache first", "network first"])
def test_a_service_worker_that_fails_what_it_cannot_keep_is_outlived(browser: DevTools, first: str, key: str) -> None:
    """It answers no question of the page's, so the page is loaded anew, less and less often."""
    with problem_site(None) as site:
        site.worker = WORKER + AWAITING.replace("FIRST", first).replace("KEY", key)
        browser.open(site.url())
        assert browser.evaluate(REGISTER)
        site.error = refused()
        browser.open(site.url(DEEP))
        assert wait_for_state(browser, "service worker").endswith("Loading in 5 s")
        site.error = None
        poll(lambda: browser.title == "The app", "the app is shown", 20)
        browser.open(site.url(DEEP))
        assert browser.title == "The app"
        browser.evaluate(FORGET_WORKER)


def test_an_app_that_comes_and_goes_is_loaded_less_and_less_often(browser: DevTools, site: Site) -> None:
    site.flickers = True
    browser.open(site.url())
    site.wait_for(3, probes=False)
    assert wait_for_state(browser, "comes and goes") == "The app comes and goes. Loading it in 3 s"
    site.flickers = False
    site.error = None
    poll(lambda: browser.title == "The app", "the app is shown", 20)
    [_, second, third, fourth] = [asked.at for asked in site.asked if not asked.probes]
    assert third - second > 1
    assert fourth - third > 3


def test_gone_back_to_it_looks_anew(browser: DevTools, site: Site) -> None:
    """Chromium keeps no page of ours in its back/forward cache: it is not to be stored, and no success."""
    elsewhere = site.url("/elsewhere").replace("5000-", "3000-")
    browser.open(site.url(DEEP))
    site.wait_for(1, probes=True)
    browser.open(elsewhere)
    browser.back()
    assert "Nothing reachable listens on port 5000" in browser.text
    count = probes(site)
    site.wait_for(count + 1, probes=True)
    browser.open(elsewhere)
    site.error = None
    browser.back()
    poll(lambda: browser.title == "The app", "the app is shown", 10)
    assert browser.url == site.url(DEEP)


def test_a_browser_that_has_kept_it_is_told_at_once(browser: DevTools, site: Site) -> None:
    """As left: on its way to the app, which has died meanwhile."""
    with browser.before_every_page(NOTE_DELAYS):
        site.flickers = True
        browser.open(site.url())
        wait_for_state(browser, "comes and goes. Loading it in 3 s")
        site.flickers = False
        before = probes(site)
        browser.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        site.wait_for(before + 1, probes=True)
        assert 0 in delays(browser)


# --- in a frame ---------------------------------------------------------------------------------------------------

NOTHING_IS_KEPT = """
for (const name of ["sessionStorage", "localStorage", "caches"])
  Object.defineProperty(self, name, {get() { throw new DOMException("", "SecurityError"); }});
"""
"""What a browser does to the frames of other sites if whoever sits there has told it so."""


@contextmanager
def framed(browser: DevTools, site: Site, attributes: str = "") -> Iterator[None]:
    """Inside, the site is shown, and meant, in a frame of a page of another site."""
    with problem_site(None) as around:
        browser.open(f"http://127.0.0.1:{around.port}/")
        browser.evaluate(
            "document.body.insertAdjacentHTML('beforeend',"
            " `<iframe id=shown ${arguments[1]} width=600 height=600 src='${arguments[0]}'></iframe>`)",
            site.url(DEEP),
            attributes,
        )
        site.wait_for(1, probes=False)
        with browser.inside("document.getElementById('shown')"):
            poll(lambda: "Nothing reachable listens" in browser.text, "the page is shown", 10)
            yield
        assert browser.url == f"http://127.0.0.1:{around.port}/"


def test_in_a_frame_of_another_site_it_becomes_the_app(browser: DevTools, site: Site) -> None:
    with framed(browser, site):
        site.wait_for(2, probes=True)
        site.error = None
        poll(lambda: "GET /some/page?q=a%20b&c=%2F" in browser.text, "the app is shown", 10)


def test_a_frame_that_may_ask_nothing_says_nothing_and_is_loaded_by_hand(browser: DevTools, site: Site) -> None:
    with framed(browser, site, 'sandbox="allow-scripts"'):
        assert browser.evaluate("return self.origin") == "null"
        assert state(browser) == ""
        assert browser.evaluate("return document.getElementById('again').textContent") == "Reload"
        poll(lambda: site.quiet_for > 2, "the page is silent for two of its seconds", 20)
        assert probes(site) == 0
        site.error = None
        browser.evaluate("document.getElementById('again').click()")
        poll(lambda: "GET /some/page" in browser.text, "the app is shown", 10)


def test_an_app_that_comes_and_goes_raises_no_storm_where_nothing_is_kept(browser: DevTools, site: Site) -> None:
    """In such a frame; shown as a page of its own, because what this browser runs before a page it runs there."""
    site.flickers = True
    with browser.before_every_page(NOTHING_IS_KEPT):
        browser.open(site.url())
        site.wait_for(3, probes=False)
        wait_for_state(browser, "comes and goes. Loading it in 3 s")
        # What the app itself has put there is the app's.
        browser.evaluate("history.replaceState({...history.state, scroll: 7}, '')")
        site.wait_for(4, probes=False)
        wait_for_state(browser, "comes and goes. Loading it in 7 s")
        assert browser.evaluate("return history.state.scroll") == 7


# --- nothing moves that says nothing new --------------------------------------------------------------------------

WATCH = """
self.changes = [];
new MutationObserver((seen) => changes.push(...seen.map(({target, type, attributeName}) =>
  `${type} ${attributeName} of ${target.id || target.nodeName}`).filter((change) => !change.endsWith("of ago"))))
  .observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
"""


def test_a_look_that_finds_the_same_touches_nothing(browser: DevTools, site: Site) -> None:
    browser.open(site.url())
    site.wait_for(1, probes=True)
    poll(lambda: "refused" in browser.text.partition("What the gateway saw")[0], "it says when", 10)
    browser.evaluate(WATCH)
    for milliseconds in (7.1, 0.3):
        site.error = refused(milliseconds)
        site.wait_for(probes(site) + 2, probes=True)
    assert browser.evaluate("return changes") == []


def test_what_is_opened_selected_or_focused_stays_so_when_something_else_is_told(browser: DevTools, site: Site) -> None:
    site.error = ipv4_only()
    browser.open(site.url())
    site.wait_for(1, probes=True)
    browser.evaluate(
        "document.querySelector('details').open = true;"
        "document.querySelector('.copy').focus();"
        "getSelection().selectAllChildren(document.querySelector('.fixes code'));"
        "self.kept = [document.activeElement, document.querySelector('h1'), getSelection().toString()]"
    )
    site.error.observed = (refused().detail, "the process is python3 (pid 4712)", "it has been there before")
    poll(lambda: "pid 4712" in browser.text, "the other process is named", 10)
    assert "it has been there before" in browser.text
    kept = "[document.activeElement, document.querySelector('h1'), getSelection().toString()]"
    assert browser.evaluate(f"return {kept}.every((now, index) => now === kept[index])") is True
    assert browser.evaluate("return document.querySelector('details').open") is True
    site.error = refused()
    poll(lambda: "Nothing reachable listens on port 5000" in browser.text, "the other reason is told", 10)
    assert "pid 4712" not in browser.text
    assert browser.evaluate("return document.getElementById('what').dataset.reason") == "connection_refused"
    wait_for_state(browser, "Waiting for port 5000 to accept connections")


# --- how often ----------------------------------------------------------------------------------------------------


def test_it_asks_less_and_less_often_and_stops_after_an_hour(browser: DevTools, site: Site) -> None:
    with browser.before_every_page(HURRY):
        browser.open(site.url())
        wait_for_state(browser, "Not asking any more")
        taken = [delay for delay in delays(browser) if delay >= 700]
        assert taken[0] == 700
        paces = taken[1:]
        assert paces == sorted(paces)
        assert set(paces) == {1000, 5000, 15000}
        assert paces.count(1000) == pytest.approx(60, abs=1)
        assert paces.count(5000) == pytest.approx(9 * 60 / 5, abs=2)
        assert paces.count(15000) == pytest.approx(50 * 60 / 15, abs=2)
        assert browser.evaluate("return document.getElementById('again').textContent") == "Try again"
        browser.evaluate("delays.length = 0; document.getElementById('again').click()")
        poll(lambda: delays(browser)[:3] == [0, 1000, 1000], "it begins anew", 10)
    assert len(site.asked) == 1


def probes(site: Site) -> int:
    return len([asked for asked in site.asked if asked.probes])


def test_unseen_it_asks_nothing_and_seen_again_it_asks_at_once(browser: DevTools, site: Site) -> None:
    with browser.before_every_page(NOTE_DELAYS):
        browser.open(site.url())
        site.wait_for(1, probes=True)
        with browser.another_tab():
            poll(lambda: site.quiet_for > 4, "the page is silent for four of its seconds", 20)
            before = probes(site)
        site.wait_for(before + 1, probes=True)
        assert 0 in delays(browser), "seen again, it does not wait"
        site.error = None
        poll(lambda: browser.title == "The app", "the app is shown", 10)


def test_opened_unseen_it_asks_once_it_is_seen(browser: DevTools, site: Site) -> None:
    see = "Object.defineProperty(document, 'visibilityState', {value: '%s', configurable: true});"
    with browser.before_every_page(see % "hidden"):
        browser.open(site.url())
        poll(lambda: site.quiet_for > 3, "the page is silent for three of its seconds", 20)
        assert probes(site) == 0
        browser.evaluate(see % "visible" + "document.dispatchEvent(new Event('visibilitychange', {bubbles: true}))")
        site.wait_for(2, probes=True)


def test_it_waits_as_long_as_the_gateway_asks(browser: DevTools, site: Site) -> None:
    site.retry_after = 7
    with browser.before_every_page(NOTE_DELAYS):
        browser.open(site.url())
        poll(lambda: 7000 in delays(browser), "the page waits seven seconds", 10)
        assert 1000 not in delays(browser)


def test_a_lost_network_is_told_and_outlived(browser: DevTools, site: Site) -> None:
    def network(**conditions: object) -> None:
        rates = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        browser.send("Network.emulateNetworkConditions", **rates, **conditions)

    browser.send("Network.enable")
    browser.open(site.url())
    network(offline=True)
    try:
        assert wait_for_state(browser, "offline") == "You are offline. Still trying"
    finally:
        network(offline=False)
    wait_for_state(browser, "Waiting for port 5000")
    site.error = None
    poll(lambda: browser.title == "The app", "the app is shown", 10)


def test_who_is_slow_is_not_called_gone(browser: DevTools, site: Site) -> None:
    """A dial may take as long as upstream.connect_timeout says."""
    slow = (
        "const [name] = arguments; self.fetch = () => Promise.reject(new DOMException('', name));"
        "dispatchEvent(new Event('online'))"
    )
    browser.open(site.url())
    site.wait_for(1, probes=True)
    browser.evaluate(slow, "TimeoutError")
    assert wait_for_state(browser, "No answer") == "No answer within 15 s. Still trying"
    browser.evaluate(slow, "TypeError")
    assert wait_for_state(browser, "The gateway") == "The gateway does not answer. Still trying"


# --- for everybody ------------------------------------------------------------------------------------------------


def test_a_line_is_copied_with_the_keyboard(browser: DevTools, site: Site) -> None:
    browser.open(site.url())
    for name in ("clipboard-read", "clipboard-write"):
        browser.send("Browser.setPermission", permission={"name": name}, setting="granted", origin=site.url()[:-1])
    browser.send("Emulation.setFocusEmulationEnabled", enabled=True)
    browser.evaluate("document.querySelector('.copy').focus()")
    browser.press("Enter")
    poll(lambda: "Copied" in browser.evaluate("return document.activeElement.textContent"), "the button says so", 10)
    assert browser.evaluate("return document.getElementById('copied').textContent") == "Copied"
    assert browser.evaluate("return navigator.clipboard.readText()") == "flask run --host=:: --port=5000"


def test_without_the_clipboard_the_line_is_selected(browser: DevTools, site: Site) -> None:
    browser.open(site.url())
    browser.evaluate(
        "navigator.clipboard.writeText = () => Promise.reject(new Error('not in this frame'));"
        "document.querySelectorAll('.copy')[1].click()"
    )
    poll(lambda: browser.evaluate("return getSelection().toString()"), "the line is selected", 10)
    assert browser.evaluate("return getSelection().toString()") == 'app.run(host="::", port=5000)'


def test_without_scripts_it_can_be_read_and_loaded_again(browser: DevTools, site: Site) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(site.url())
        document = browser.send("DOM.getDocument")["root"]["nodeId"]

        def box(selector: str) -> Any:
            node = browser.send("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
            return browser.send("DOM.getContentQuads", nodeId=node)["quads"]

        [quad] = box("#again")
        assert box(".fixes code")
        assert box(".copy") == []
        site.error = None
        x, y = quad[0] + 5, quad[1] + 5
        for kind in ("mousePressed", "mouseReleased"):
            browser.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        site.wait_for(2, probes=False)
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert not [asked for asked in site.asked if asked.probes]


def test_the_policy_is_kept_and_keeps_others_out(browser: DevTools, site: Site) -> None:
    with browser.before_every_page(
        "self.broken = []; addEventListener('securitypolicyviolation', (event) => broken.push(event.blockedURI))"
    ):
        browser.open(site.url())
        site.wait_for(1, probes=True)
        # The browser itself asks for the icon, which the page does not need.
        assert [uri for uri in browser.evaluate("return broken") if not uri.endswith("/favicon.ico")] == []
        browser.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'self.run = true'}));"
            "document.body.append(Object.assign(document.createElement('style'), {textContent: 'h1 {color: red}'}))"
        )
        poll(lambda: browser.evaluate("return broken").count("inline") == 2, "both are refused", 10)
        assert browser.evaluate("return self.run === undefined") is True


LOOKS = [
    (1280, 800, "light", {}),
    (375, 720, "dark", {}),
    (320, 568, "light", {}),
    (1280, 800, "dark", {"forced_colors": "active"}),
    (720, 1000, "dark", {"media": "print"}),
]
LONGEST = Target(65535, "sandbox-" * 7 + "x", "sandbox.localhost")
"""Its label has 63 octets, as many as DNS allows."""


def everything(reason: Reason) -> GatewayError:
    """A failure of which everything is known, in long words and from right to left."""
    return Failure(
        reason,
        "the answer begins with “שלום עולם 220 مرحبا FTP”",
        observed=("connect to [fd00::5]:65535: " + "x" * 200, "the process is /home/משתמש/אפליקציה/שרת (pid 4711)"),
        process="python3",
        open_ports=(3000, 8000),
    ).error()


@pytest.mark.parametrize(("width", "height", "scheme", "more"), LOOKS)
def test_everybody_can_use_every_page(
    browser: DevTools, width: int, height: int, scheme: str, more: dict[str, str]
) -> None:
    require("axe-core")
    assert len(LONGEST.host.partition(".")[0]) == 63
    browser.emulate(width, height, scheme, **more)
    try:
        with problem_site(None, LONGEST) as site:
            for reason in Reason:
                site.error = everything(reason)
                browser.open(site.url())
                dark = browser.evaluate("return matchMedia('(prefers-color-scheme: dark)').matches")
                assert dark is (scheme == "dark")
                browser.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
                assert browser.evaluate("return document.documentElement.scrollWidth") <= width, reason
                assert browser.violations() == [], reason
            site.error = None
            browser.open(site.url())
            site.error = refused()
            submit(browser, site.url("/order"))
            poll(lambda: "Nothing reachable listens" in browser.text, "the problem is shown", 10)
            site.error = None
            if "media" not in more:
                poll(lambda: "Send the POST again" in browser.text, "the button is shown", 10)
            assert browser.violations() == []
    finally:
        browser.emulate(1280, 800, "light")


def test_on_paper_it_is_light_and_whole(browser: DevTools, site: Site) -> None:
    browser.open(site.url())
    site.wait_for(1, probes=True)
    browser.emulate(720, 1000, "dark", media="print")
    try:
        shown = "return [...document.querySelectorAll(arguments[0])].filter((node) => node.checkVisibility()).length"
        assert browser.evaluate(shown, "details code") == browser.evaluate(
            "return document.querySelectorAll('details code').length"
        )
        assert browser.evaluate(shown, "button, .button, #state, summary") == 0, "what paper cannot do"
        assert browser.evaluate("return getComputedStyle(document.body).color") == "rgb(28, 33, 38)"
    finally:
        browser.emulate(1280, 800, "light")


def test_a_path_from_right_to_left_is_read_in_its_order(browser: DevTools, site: Site) -> None:
    site.error = GatewayError(Reason.HTTP_PROTOCOL_ERROR, "file /home/אבג/דהו/x.py")
    browser.open(site.url())
    left = (
        "const text = document.querySelector('.seen li'), walker = document.createTreeWalker(text, 4);"
        "for (let node; node = walker.nextNode();) if (node.data.includes(arguments[0])) {"
        "  const range = document.createRange(), at = node.data.indexOf(arguments[0]);"
        "  range.setStart(node, at); range.setEnd(node, at + arguments[0].length);"
        "  return range.getBoundingClientRect().left; }"
    )
    places = [browser.evaluate(left, part) for part in ("/home/", "אבג", "דהו", "/x.py")]
    assert places == sorted(places)
    assert len(set(places)) == 4


def test_the_judge_of_the_test_above_judges(browser: DevTools, site: Site) -> None:
    require("axe-core")
    browser.open(site.url())
    browser.evaluate("document.querySelector('#again').textContent = ''; document.documentElement.lang = ''")
    assert {violation.partition(":")[0] for violation in browser.violations()} >= {"link-name", "html-has-lang"}


def test_nothing_moves_for_who_wants_no_motion(browser: DevTools, site: Site) -> None:
    running = "return document.getAnimations().length"
    browser.emulate(1280, 800, "light")
    browser.open(site.url())
    assert browser.evaluate(running) == 1
    browser.emulate(1280, 800, "light", prefers_reduced_motion="reduce")
    assert browser.evaluate(running) == 0
