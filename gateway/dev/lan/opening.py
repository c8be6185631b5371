"""Makes what `--lan` asks for, and puts into words what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.dev.keys import is_terminal
from gateway.dev.lan.certificate import LanCertificate
from gateway.dev.lan.lan import Lan, LanPlace
from gateway.dev.lan.names import LanNames, machine_name
from gateway.dev.lan.telling import Told, lines
from gateway.dev.options import Exposed

NOBODY = "this machine has no address in a local network; as soon as it has one, the apps are announced there"


def open_lan(
    certificate: LanCertificate,
    exposed: Sequence[Exposed],
    port: int,
    say: Callable[[str], None],
    remark: Callable[[str], None],
) -> Lan:
    """`say` is called with lines, `remark` with a sentence."""

    def told(what: Told | None) -> None:
        if what is None:
            remark(NOBODY)
        else:
            say(lines(what, draws=is_terminal()))

    place = LanPlace(LanNames(machine_name(), exposed), port, {each.port for each in exposed})
    return Lan(certificate, place, told, remark)
