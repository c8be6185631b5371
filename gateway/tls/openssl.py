"""OpenSSL's own configuration: the groups of a key exchange, and which TLS 1.3 suite goes first.

Anybody can ask for a handshake, so what one may cost is for us to say. By default OpenSSL agrees to finite-field groups
too, and a ClientHello with a constant ffdhe8192 key share then takes 0.1 s of the event loop, a thousand times what
X25519 takes. Python can choose neither groups nor TLS 1.3 suites before 3.15; OpenSSL's configuration file can. It is
read once per process, when `ssl` or `hashlib` is first imported, from where OPENSSL_CONF says. So `configure` must come
before that: this module imports neither, nor anything that does, and `gateway.cli` calls it first.

The file lives in memory and is gone when it has been read; forked workers inherit what was read. What is effective is
measured: see `effective`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

OWN_CALLS = sys.version_info >= (3, 15)
"""Whether Python has calls of its own for both, on each context: `context.server_context` makes them."""

# A hash of 256 bits and a key of 128 are the cheapest that are good, and what browsers put first.
SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")

_NOT_EVERYWHERE = ("X25519MLKEM768", "X25519")
"""Groups that an OpenSSL may lack, the likeliest first: before 3.5, and when it may use FIPS 140 cryptography only."""
_VARIABLE = "OPENSSL_CONF"

obstacle = "OpenSSL was in use before it could be configured"
"""Why `configure` has had no effect; empty once it had."""


def configure(groups: Sequence[str]) -> None:
    """Makes every context of this process agree to `groups` only, in that order, and to `SUITES` in that order.

    What OpenSSL does not know of them is left out. Changes nothing where OPENSSL_CONF is set, or when `ssl` has been
    imported already: see `obstacle`.
    """
    global obstacle
    if _VARIABLE in os.environ:
        obstacle = f"{_VARIABLE}={os.environ[_VARIABLE]} decides"
    elif OWN_CALLS:
        obstacle = ""
    elif not {"_ssl", "_hashlib"} & set(sys.modules):
        try:
            with _file(configuration(groups, _default_file())) as path:
                os.environ[_VARIABLE] = path
                import ssl

                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # by now it has been read
            obstacle = ""
        except OSError as error:  # the gateway does without, and logs it
            obstacle = f"OpenSSL's configuration could not be written ({error})"
        finally:
            os.environ.pop(_VARIABLE, None)


def variants(groups: Sequence[str]) -> list[tuple[str, ...]]:
    """`groups` and what is left of them for an OpenSSL that lacks some, the poorest first.

    A list with an unknown name is refused as a whole, and the one before stays effective.
    """
    found = []
    for count in range(len(_NOT_EVERYWHERE), -1, -1):
        left = tuple(group for group in groups if group not in _NOT_EVERYWHERE[:count])
        if left and left not in found:
            found.append(left)
    return found


def configuration(groups: Sequence[str], default: Path | None) -> str:
    """The file: what the machine's own one (`default`) says, with our lines added where OpenSSL reads them.

    Providers, engines and policies of a distribution or of a FIPS installation stay as they are.
    """
    theirs = _sections(default)
    start = theirs["default"].get("openssl_conf", "gateway")
    ssl_conf = theirs.get(start, {}).get("ssl_conf", "gateway_ssl")
    system_default = theirs.get(ssl_conf, {}).get("system_default", "gateway_tls")
    lists = [f"{number}.Groups = {':'.join(names)}" for number, names in enumerate(variants(groups), 1)]
    lines = [
        f".include = {default}" if default else "",
        "[default]",
        f"openssl_conf = {start}",
        "config_diagnostics = 0",  # of the lists below only the last that is understood has to be
        f"[{start}]",
        f"ssl_conf = {ssl_conf}",
        f"[{ssl_conf}]",
        f"system_default = {system_default}",
        f"[{system_default}]",
        f"Ciphersuites = {':'.join(SUITES)}",
        *lists,
    ]
    return "\n".join(lines) + "\n"


def _sections(path: Path | None) -> Mapping[str, Mapping[str, str]]:
    """The names and values of an OpenSSL configuration, as far as finding sections takes; files it includes are not
    looked into.
    """
    current: dict[str, str] = {}
    sections = {"default": current}
    with contextlib.suppress(OSError):  # no file is an empty one, to OpenSSL too
        for line in path.read_text("utf-8", "replace").splitlines() if path else ():
            line = line.partition("#")[0].strip()
            if line.startswith("["):
                current = sections.setdefault(line.strip("[] \t"), {})
            elif "=" in line:
                name, _, value = line.partition("=")
                current[name.strip()] = value.strip()
    return sections


def _default_file() -> Path | None:
    """The configuration that this process would have read; only the library knows where it is.

    A child asks it, because whoever loads it has read its configuration.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            import _ssl

            certificates: str = _ssl.get_default_verify_paths()[1]  # OPENSSLDIR/cert.pem
            os.write(theirs, os.fsencode(Path(certificates).with_name("openssl.cnf")))
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        path = answer.read()
    os.waitpid(child, 0)
    return Path(os.fsdecode(path)) if path else None


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """A path under which `text` can be read meanwhile; needs no file system that can be written to, if it can."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("openssl.cnf")
        try:
            os.write(descriptor, text.encode())
            path = f"/proc/self/fd/{descriptor}"
            if Path(path).exists():  # not without /proc
                yield path
                return
        finally:
            os.close(descriptor)
    with tempfile.NamedTemporaryFile("w", suffix=".cnf", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield file.name
