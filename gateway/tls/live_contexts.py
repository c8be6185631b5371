"""The contexts in use, exchanged under listeners that need not know.

The first context stays for ever the entry: listeners were given it, and its ticket keys are those of all workers. While
all are served the same kinds of certificates that it holds, a renewal is loaded right into it, and a handshake runs no
Python. Where names need different certificates, or a kind has to leave (a context forgets none), new contexts are made,
and a callback chooses among them. Open connections keep what they have; a context goes with its last connection.

A load that fails leaves a context without a key. So whatever is to be served is first loaded into a new context, the
very octets; if the load into the entry fails even so (no descriptor, no memory), the new one is served instead.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.tls.choice import ANY
from gateway.tls.context import ContextOptions, choose_context, make_context
from gateway.tls.errors import CertificateError

if TYPE_CHECKING:
    from gateway.tls.choice import CertificateSet
    from gateway.tls.pair import Certificate


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be served for each name, and a context for each set that has none yet."""

    sets: Mapping[str, CertificateSet]
    contexts: Mapping[CertificateSet, ssl.SSLContext]


class LiveContexts:
    """The entry, and the contexts beside it."""

    __slots__ = ("_beside", "_held", "_options", "entry")

    def __init__(self, sets: Mapping[str, CertificateSet], options: ContextOptions) -> None:
        """Raises CertificateError."""
        self._options = options
        self.entry = make_context(sets[ANY], options)
        self._held: dict[str, Certificate | None] = {each.kind: each for each in sets[ANY]}
        # kind -> what the entry holds of it; None: a load has failed
        self._beside: Mapping[CertificateSet, ssl.SSLContext] = {}
        self.use(self.prepare(sets))

    def __repr__(self) -> str:
        how = "chosen by name" if self.entry.sni_callback else "one for all"
        return f"<LiveContexts {', '.join(self._held)} {how}, {len(self._beside)} beside>"

    def prepare(self, sets: Mapping[str, CertificateSet]) -> Prepared:
        """Makes what `use` needs; changes nothing, and may run in another thread. Raises CertificateError."""
        distinct = dict.fromkeys(sets.values())
        if self._holds(sets[ANY]):
            del distinct[sets[ANY]]
        beside = self._beside
        return Prepared(sets, {each: beside.get(each) or make_context(each, self._options) for each in distinct})

    def use(self, prepared: Prepared) -> None:
        """Serves what was prepared, from the next handshake on. Between two handshakes only: in the loop's thread."""
        sets, contexts = prepared.sets, dict(prepared.contexts)
        everybody = sets[ANY]
        if self._load(everybody):
            contexts[everybody] = self.entry
        by_name = {name: contexts[chosen] for name, chosen in sets.items()}
        needs_choice = any(context is not self.entry for context in by_name.values())
        self.entry.sni_callback = choose_context(by_name) if needs_choice else None
        self._beside = {chosen: context for chosen, context in contexts.items() if context is not self.entry}

    def _holds(self, certificates: CertificateSet) -> bool:
        """Whether the entry holds these and no others."""
        return self._held == {each.kind: each for each in certificates}

    def _load(self, certificates: CertificateSet) -> bool:
        """Has the entry hold these and no others; False if it cannot."""
        if not self._held.keys() <= {each.kind for each in certificates}:
            return False
        for each in certificates:
            if self._held.get(each.kind) != each:
                self._held[each.kind] = None
                try:
                    each.load_into(self.entry)
                except CertificateError:
                    return False
                self._held[each.kind] = each
        return True
