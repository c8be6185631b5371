"""Names that lead nowhere, and addresses that may not be dialed. Nothing has to run for them."""

from __future__ import annotations

from gateway.errors import Reason
from tests.interop.situations import Says, Where, situation
from tests.interop.situations.stage import DENIED, DOMAIN, UNINFORMED, Stage

NOBODY = "nobody"


@situation(
    "a sandbox that nobody registered",
    Says(
        Reason.DESTINATION_NOT_FOUND,
        "There is no sandbox “nobody”",
        "no record for nobody",
        "Check the sandbox id for typing errors.",
        port="",
    ),
    command=True,
)
def _(stage: Stage) -> Where:
    return Where(NOBODY, 5000)


@situation(
    "a sandbox that was deleted",
    Says(
        Reason.DESTINATION_NOT_FOUND,
        "There is no sandbox “{sandbox}”",
        "no record for {sandbox}",
        "Check the sandbox id for typing errors.",
        port="",
    ),
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    stage.machine.gateway("patient").api("DELETE", f"sandboxes/{box.id}")
    return box.where(5000)


@situation(
    "the list of sandboxes is away",
    Says(
        Reason.DIRECTORY_UNAVAILABLE,
        "The list of sandboxes cannot be read right now",
        "Redis at 127.0.0.1:{redis}, database 0: Error 111 connecting to 127.0.0.1:{redis}. Connection refused",
        "Try again in a few seconds.",
        port="",
    ),
    gateway=UNINFORMED,
)
def _(stage: Stage) -> Where:
    return Where(NOBODY, 5000, facts={"redis": str(stage.machine.gateway(UNINFORMED).redis_port)})


@situation(
    "a port that the operator has closed",
    Says(
        Reason.PORT_DENIED,
        f"Port {DENIED} is not exposed by this platform",
        f"port {DENIED} is in upstream.deny_ports",
        "Let your app listen on another port and use that one in the hostname.",
        port="denied",
    ),
)
def _(stage: Stage) -> Where:
    return stage.own().where(DENIED)


def prohibited(seen: str) -> Says:
    return Says(
        Reason.DESTINATION_IP_PROHIBITED,
        "The sandbox's address is not one this gateway may dial",
        seen,
        "The gateway's own port is never forwarded to itself: use the port of an app.",
        port="prohibited",
    )


@situation("the gateway's own port", prohibited("[{address}]:{port} is this gateway's own listener"))
def _(stage: Stage) -> Where:
    return stage.own().where(stage.machine.gateway("patient").tls_port)


for name, host, reason, title, seen, fix in (
    (
        "a name without a port",
        f"shop.{DOMAIN}",
        Reason.INVALID_HOSTNAME,
        "The hostname does not name a sandbox",
        "“shop” is not <port>-<sandbox-id>",
        "Put the port your app listens on first, then a hyphen, then the sandbox id.",
    ),
    (
        "an id that ends in a hyphen",
        f"5000-shop-.{DOMAIN}",
        Reason.INVALID_HOSTNAME,
        "The hostname does not name a sandbox",
        "“5000-shop-” is not <port>-<sandbox-id>",
        "Put the port your app listens on first, then a hyphen, then the sandbox id.",
    ),
    (
        "a port above 65535",
        f"65536-own.{DOMAIN}",
        Reason.INVALID_PORT,
        "The hostname does not carry a valid port",
        "“65536” is not a port between 1 and 65535",
        f"Use the port your app listens on, for example 5000-<sandbox-id>.{DOMAIN}.",
    ),
    (
        "a port with a zero before it",
        f"05000-own.{DOMAIN}",
        Reason.INVALID_PORT,
        "The hostname does not carry a valid port",
        "“05000” is not a port between 1 and 65535",
        f"Use the port your app listens on, for example 5000-<sandbox-id>.{DOMAIN}.",
    ),
    (
        "another domain",
        "5000-own.elsewhere.example",
        Reason.UNKNOWN_DOMAIN,
        "This gateway does not serve that domain",
        "5000-own.elsewhere.example ends in none of the domains served here",
        "Check the spelling of the domain.",
    ),
):

    @situation(name, Says(reason, title, seen, fix, port=""))
    def _(stage: Stage, host: str = host) -> Where:
        return Where(NOBODY, 5000, host=host)
