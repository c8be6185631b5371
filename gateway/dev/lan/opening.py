"""Makes what `--lan` asks for, and puts into words what comes of it."""

from __future__ import annotations

from collections.abc import Callable

from gateway.dev.keys import is_terminal
from gateway.dev.lan.certificate import LanCertificate
from gateway.dev.lan.lan import Lan
from gateway.dev.lan.names import LanPlace
from gateway.dev.lan.telling import Told, lines

NOBODY = "this machine has no address in a local network; as soon as it has one, the apps are announced there"


def open_lan(
    certificate: LanCertificate, place: LanPlace, say: Callable[[str], None], remark: Callable[[str], None]
) -> Lan:
    """`say` is called with lines, `remark` with a sentence."""

    def told(what: Told | None) -> None:
        if what is None:
            remark(NOBODY)
        else:
            say(lines(what, draws=is_terminal()))

    return Lan(certificate, place, told, remark)
