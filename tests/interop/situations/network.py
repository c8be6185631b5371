"""Sandboxes that are not reached: nobody there, firewalls, routes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from gateway.errors import Reason
from tests.interop.situations import HASTY, Says, Where, situation
from tests.interop.situations.raw import late
from tests.interop.situations.stage import Box, Stage, answer
from tests.support.namespaces import Namespace
from tests.support.process import free_port

OK = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
NOTHING_LISTENS = Says(
    Reason.CONNECTION_REFUSED,
    "Nothing reachable listens on port {port}",
    "connect to [{address}]:{port}: Connection refused after {ms} ms",
    "Bind to `::` (all IPv6 addresses), port {port}, not to 127.0.0.1, 0.0.0.0 or, if the sandbox has its own address, "
    "localhost (::1).",
    port="refused",
)


LATE = late("no answer within 0.7 s")


def unroutable(seen: str) -> Says:
    return Says(
        Reason.DESTINATION_IP_UNROUTABLE,
        "There is no route to sandbox {sandbox}",
        f"connect to [{{address}}]:{{port}}: {seen}",
        "Is the sandbox running? A stopped one loses its address.",
        port="unroutable",
    )


SILENCE = Says(
    Reason.CONNECTION_TIMEOUT,
    "Sandbox {sandbox} does not answer",
    "connect to [{address}]:{port}: no answer within 0.7 s",
    "Is the sandbox running, or paused?",
    port="timeout",
)


@situation("nothing listens in the sandbox", NOTHING_LISTENS, command=True)
def _(stage: Stage) -> Where:
    return stage.sandbox().where(free_port())


@situation("nothing listens on this machine", NOTHING_LISTENS)
def _(stage: Stage) -> Where:
    return stage.own().where(free_port())


def rule(network: Namespace, hook: str, what: str) -> None:
    """One rule of nftables; of a table that goes with the network."""
    network.nft(f"table inet {hook} {{\n chain {hook} {{\n type filter hook {hook} priority 0;\n {what}\n }}\n}}\n")


def filtered(box: Box, verdict: str) -> Where:
    """An app that works, behind a rule for its port."""
    port = box.app(OK)
    rule(box.network, "input", f"tcp dport {port} {verdict}")
    return box.where(port)


def filtered_here(stage: Stage, verdict: str) -> Where:
    """An app that works, in a sandbox that the gateway's own machine has a rule for."""
    box = stage.sandbox()
    port = box.app(OK)
    rule(stage.machine.network, "output", f"ip6 daddr {box.address} {verdict}")
    stage.stack.callback(stage.machine.network.nft, "delete table inet output\n")
    return Where(box.id, port, box.address, facts={"here": box.here})


PORT_IS_SILENT = Says(
    Reason.CONNECTION_TIMEOUT,
    "Port {port} of sandbox {sandbox} does not answer",
    "connect to [{address}]:{port}: no answer within 0.7 s",
    "Is the app stuck, or stopped in a debugger? In the sandbox, see its queue: `ss -ltn sport = :{port}`. If Recv-Q "
    "is more than Send-Q, it is.",
    also=("the sandbox is up: it refuses connections to ports 3000, 3001, 4200, 5000, 5173, 8000, 8080, 8888",),
    port="timeout",
)


@situation("a firewall in the sandbox drops", PORT_IS_SILENT, needs=("nft",), gateway=HASTY)
def _(stage: Stage) -> Where:
    return filtered(stage.sandbox(), "drop")


@situation("a sandbox that is paused", SILENCE, needs=("nft",), gateway=HASTY)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    port = box.app(OK)
    rule(box.network, "prerouting", "drop")
    return box.where(port)


@situation(
    "a sandbox that lost its address",
    unroutable(
        "No route to host after {ms} ms: the gateway's own machine ([{here}]) answered “address unreachable” (ICMPv6)"
    ),
)
def _(stage: Stage) -> Where:
    """The neighbour is asked for three times; this machine asks fast."""
    box = stage.sandbox()
    port = box.app(OK)
    box.network.ip("address flush dev eth0")
    stage.machine.network.ip(f"ntable change name ndisc_cache dev {stage.cable(box)} retrans 50")
    return Where(box.id, port, box.address, facts={"here": box.here})


@situation("a firewall in the sandbox rejects with a reset", NOTHING_LISTENS, needs=("nft",))
def _(stage: Stage) -> Where:
    return filtered(stage.sandbox(), "reject with tcp reset")


def rejected(seen: str, reason: Reason = Reason.DESTINATION_IP_UNROUTABLE) -> Says:
    return Says(
        reason,
        "A firewall or a route rejects connections to port {port}",
        f"connect to [{{address}}]:{{port}}: {seen}",
        "Was it [{address}] itself that answered? Then allow TCP port {port} in the sandbox's own firewall: "
        "`firewall-cmd --add-port={port}/tcp`, `ufw allow {port}/tcp`; all rules: `nft list ruleset`",
        port="rejected",
    )


for kind, error, answered in (
    ("port-unreachable", "Connection refused", "port unreachable"),
    ("admin-prohibited", "Permission denied", "communication with destination administratively prohibited"),
    ("no-route", "Network is unreachable", "no route to destination"),
    ("addr-unreachable", "No route to host", "address unreachable"),
    ("policy-fail", "Permission denied", "source address failed ingress/egress policy"),
    ("reject-route", "Permission denied", "reject route to destination"),
):

    @situation(
        f"a firewall in the sandbox rejects: {kind}",
        rejected(
            f"{error} after {{ms}} ms: [{{address}}] itself answered “{answered}” (ICMPv6)",
            Reason.CONNECTION_REFUSED if kind == "port-unreachable" else Reason.DESTINATION_IP_UNROUTABLE,
        ),
        needs=("nft",),
    )
    def _(stage: Stage, kind: str = kind) -> Where:
        return filtered(stage.sandbox(), f"reject with icmpv6 type {kind}")


@situation(
    "a firewall of the gateway's machine rejects",
    rejected(
        "Permission denied after {ms} ms: the gateway's own machine ([{here}]) answered "
        "“communication with destination administratively prohibited” (ICMPv6)"
    ),
    needs=("nft",),
)
def _(stage: Stage) -> Where:
    return filtered_here(stage, "reject with icmpv6 type admin-prohibited")


@situation(
    "a prohibit route", rejected("Permission denied after {ms} ms: a firewall, a prohibit route or a policy forbids it")
)
def _(stage: Stage) -> Where:
    box = stage.somewhere("fd00:7:fff:a::5")
    stage.machine.network.ip(f"route add prohibit {box.address}/128")
    stage.stack.callback(stage.machine.network.ip, f"route delete prohibit {box.address}/128")
    return box.where(5000)


@situation("the gateway's own firewall drops", SILENCE, needs=("nft",), gateway=HASTY)
def _(stage: Stage) -> Where:
    return filtered_here(stage, "drop")


for kind, seen in {
    "unreachable": "No route to host after {ms} ms",
    "blackhole": "Invalid argument after {ms} ms: a blackhole route takes what is sent there (see: ip -6 route)",
    "throw": "Network is unreachable after {ms} ms",
}.items():

    @situation(f"an {kind} route".replace("an b", "a b").replace("an t", "a t"), unroutable(seen))
    def _(stage: Stage, kind: str = kind) -> Where:
        box = stage.somewhere(f"fd00:7:fff:{len(kind):x}::5")
        stage.machine.network.ip(f"route add {kind} {box.address}/128")
        stage.stack.callback(stage.machine.network.ip, f"route delete {kind} {box.address}/128")
        return box.where(5000)


# --- firewalls that refuse in the app's name, or take a part only -----------------------------------------------------


def this_process() -> dict[str, str]:
    """Its apps are this process's."""
    return {"process": Path("/proc/self/comm").read_text().strip(), "pid": str(os.getpid())}


BY_NOW = "something listens on [{address}]:{port} by now: it has just begun to, or a firewall refuses in its place"


@situation(
    "a firewall of this machine resets in the place of an app that listens",
    replace(NOTHING_LISTENS, also=(BY_NOW, "the process is {process} (pid {pid})")),
    needs=("nft",),
)
def _(stage: Stage) -> Where:
    box = stage.own()
    port = box.app(OK)
    rule(box.network, "input", f"tcp dport {port} reject with tcp reset")
    stage.stack.callback(box.network.nft, "delete table inet input\n")
    return Where(box.id, port, box.address, facts=this_process())


@situation(
    "an app at another address of this machine",
    replace(
        NOTHING_LISTENS,
        also=(
            "something listens on [{other}]:{port} but not on [{address}]:{port}",
            "the process is {process} (pid {pid})",
        ),
    ),
)
def _(stage: Stage) -> Where:
    box, other = stage.own(), stage.another_own()
    return Where(box.id, other.app(OK, other.address), box.address, facts={"other": other.address} | this_process())


@situation("an app in another network of this machine", NOTHING_LISTENS)
def _(stage: Stage) -> Where:
    """As a container's port that is not published."""
    return stage.own().where(stage.sandbox().app(OK))


@situation("a firewall of the gateway's machine resets", NOTHING_LISTENS, needs=("nft",))
def _(stage: Stage) -> Where:
    return filtered_here(stage, "meta l4proto tcp reject with tcp reset")


@situation("a firewall in the sandbox drops the answers", PORT_IS_SILENT, needs=("nft",), gateway=HASTY)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    port = box.app(OK)
    rule(box.network, "output", f"tcp sport {port} drop")
    return box.where(port)


@situation("a firewall in the sandbox that knows SSH only", SILENCE, needs=("nft",), gateway=HASTY)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    port = box.app(OK)
    rule(
        box.network,
        "input",
        "policy drop; ct state established accept; meta l4proto ipv6-icmp accept; tcp dport 22 accept",
    )
    return box.where(port)


@situation("a firewall that drops what is larger than a handshake", LATE, needs=("nft",), gateway=HASTY)
def _(stage: Stage) -> Where:
    """Where packets of full size do not fit on the way there, it is the same."""
    return filtered(stage.sandbox(), "meta length > 100 drop")


@situation("a sandbox without a route back", SILENCE, gateway=HASTY)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    box.network.ip(f"route add unreachable {box.here}/128")
    return box.where(box.app(OK))


@situation("a cable that is pulled", unroutable("Network is unreachable after {ms} ms"))
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    stage.machine.network.ip(f"link set {stage.cable(box)} down")
    return box.where(box.app(OK))


# --- a router on the way ----------------------------------------------------------------------------------------------


def behind_a_router(stage: Stage, *lines: str) -> Where:
    """A sandbox that another forwards to, whose routes are `lines`."""
    router = stage.sandbox()
    box = stage.somewhere(f"fd00:7:fffe:{next(stage.machine.numbers):x}::5")
    with router.network.inside():
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    router.network.ip(*(line.format(address=box.address, back=router.here) for line in lines))
    stage.machine.network.ip(f"route add {box.address}/128 via {router.address}")
    stage.stack.callback(stage.machine.network.ip, f"route delete {box.address}/128")
    return Where(box.id, 5000, box.address, facts={"router": router.address})


@situation(
    "a router on the way that prohibits",
    rejected(
        "Permission denied after {ms} ms: [{router}], on the way there, answered "
        "“communication with destination administratively prohibited” (ICMPv6)"
    ),
)
def _(stage: Stage) -> Where:
    return behind_a_router(stage, "route add prohibit {address}/128")


@situation(
    "a router on the way that knows no route",
    unroutable(
        "Network is unreachable after {ms} ms: [{router}], on the way there, answered "
        "“no route to destination” (ICMPv6)"
    ),
)
def _(stage: Stage) -> Where:
    return behind_a_router(stage)
