"""OpenSSL's configuration: what is written, that it is read before anything else, and that it leaves nothing behind.

It is read once per process, so each test that reads it has a process of its own.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from gateway.tls import context, openssl
from tests.support.process import clean_environment

FOUR = ("X25519MLKEM768", "X25519", "P-256", "P-384")
OLD = [name for name in FOUR if name != "X25519MLKEM768"]
BEFORE = "from gateway.tls import openssl\n"
AFTER = """
import json, os, ssl, sys, tempfile
from pathlib import Path
from gateway.tls import effective
from gateway.tls.context import CertificatePair, server_context
context = server_context([CertificatePair(Path(sys.argv[1]), Path(sys.argv[2]))])
def tell():
    found = effective.measure(context)
    print(json.dumps({"groups": found.groups, "suite": found.suite, "chacha": found.chacha_first,
                      "obstacle": openssl.obstacle, "environment": os.environ.get("OPENSSL_CONF"),
                      "descriptors": len(os.listdir("/proc/self/fd")),
                      "left": os.listdir(tempfile.gettempdir())}), flush=True)
"""


@pytest.fixture
def pair(tmp_path: Path) -> Sequence[str]:
    from gateway.tls import local_ca

    certificates = local_ca.ensure(tmp_path / "certs", "sandbox.localhost")
    return [str(certificates.certificate), str(certificates.key)]


def run(pair: Sequence[str], program: str, **environment: str) -> list[dict[str, object]]:
    """What a fresh Python tells."""
    command = [sys.executable, "-c", program, *pair]
    environ = clean_environment(environment)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def configured(groups: Sequence[str] = FOUR) -> str:
    return f"{BEFORE}openssl.configure({list(groups)!r})\n{AFTER}"


def test_only_the_groups_that_are_set_and_the_cheapest_suite_first(pair: Sequence[str]) -> None:
    [told] = run(pair, configured() + "tell()")
    assert told["groups"] in (OLD, list(FOUR)), "as many as this OpenSSL knows"
    assert (told["suite"], told["chacha"], told["obstacle"]) == ("AES-128-GCM", True, "")


def test_the_order_and_number_are_the_settings(pair: Sequence[str]) -> None:
    [told] = run(pair, configured(["P-521", "P-256"]) + "tell()")
    assert told["groups"] == ["P-256", "P-521"]


def test_nothing_is_left_behind(pair: Sequence[str], tmp_path: Path) -> None:
    """With memory for a file or without (not Linux, no /proc): no variable, no file, no descriptor, no child."""
    (tmp_path / "tmp").mkdir()
    for preparation in ("", "import os\ndel os.memfd_create\n"):
        program = (
            f"{preparation}{BEFORE}import os\nbefore = len(os.listdir('/proc/self/fd'))\n"
            f"openssl.configure({list(FOUR)!r})\nassert len(os.listdir('/proc/self/fd')) == before\n{AFTER}\ntell()\n"
            "try:\n    os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError:\n    print('{}')"
        )
        told, no_child = run(pair, program, TMPDIR=str(tmp_path / "tmp"))
        assert told["groups"] in (OLD, list(FOUR))
        assert (told["environment"], told["left"], no_child) == (None, [], {})


def test_forked_workers_have_it_too(pair: Sequence[str]) -> None:
    ours, theirs = run(pair, configured() + "tell()\nif os.fork():\n    os.wait()\nelse:\n    tell()")
    assert ours == theirs


def test_what_the_user_has_configured_is_respected(pair: Sequence[str], tmp_path: Path) -> None:
    own = tmp_path / "own.cnf"
    own.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nGroups = P-521\n")
    [told] = run(pair, configured() + "tell()", OPENSSL_CONF=str(own))
    assert (told["groups"], told["environment"]) == (["P-521"], str(own))
    assert told["obstacle"] == f"OPENSSL_CONF={own} decides"


def test_too_late_is_told_and_changes_nothing(pair: Sequence[str]) -> None:
    [told] = run(pair, f"import ssl\n{configured()}tell()")
    assert "ffdhe8192" in str(told["groups"])
    assert (told["obstacle"], told["environment"]) == ("OpenSSL was in use before it could be configured", None)


def test_a_disk_that_takes_nothing_is_told(pair: Sequence[str]) -> None:
    program = f"""
import os
del os.memfd_create
{BEFORE}
def refuse(*_, **__): raise OSError(30, "Read-only file system")
openssl.tempfile.NamedTemporaryFile = refuse
openssl.configure({list(FOUR)!r})
{AFTER}tell()"""
    [told] = run(pair, program)
    assert "Read-only file system" in str(told["obstacle"])


def test_the_command_imports_nothing_that_reads_the_configuration() -> None:
    program = (
        "import sys, gateway.cli; print([name for name in sys.modules if name in ('_ssl', '_hashlib', 'asyncio')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


# --- beside the machine's own -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own",
    [
        "",
        "openssl_conf = start\n[start]\nproviders = p\n[p]\ndefault = d\n[d]\nactivate = 1\n",
        "openssl_conf = start\n[start]\nssl_conf = sections  # those\n[sections]\nother = z\n[z]\nGroups = P-521\n",
        "config_diagnostics = 1\nopenssl_conf = start\n[ start ]\nssl_conf = s\n[s]\nsystem_default = policy\n"
        "[policy]\nOptions = -SessionTicket\nGroups = P-521\nCiphersuites = TLS_AES_256_GCM_SHA384\n[last]\nx = y\n",
    ],
    ids=["empty", "without-ssl", "without-default", "with-a-policy"],
)
def test_what_the_machine_has_configured_stays(pair: Sequence[str], tmp_path: Path, own: str) -> None:
    default = tmp_path / "openssl.cnf"
    default.write_text(own)
    program = f"{BEFORE}from pathlib import Path\nopenssl._default_file = lambda: Path({str(default)!r})\n"
    options = "print(json.dumps({'options': ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).options}))"
    told, another = run(pair, program + configured(["P-256"]) + f"tell()\n{options}")
    assert (told["groups"], told["suite"]) == (["P-256"], "AES-128-GCM")
    without_tickets = cast("int", another["options"]) & ssl.OP_NO_TICKET
    assert bool(without_tickets) == ("-SessionTicket" in own)


def test_a_machine_without_any(pair: Sequence[str], tmp_path: Path) -> None:
    program = f"{BEFORE}from pathlib import Path\nopenssl._default_file = lambda: Path({str(tmp_path / 'no.cnf')!r})\n"
    [told] = run(pair, program + configured(["P-256"]) + "tell()")
    assert told["groups"] == ["P-256"]


def test_the_default_file_is_the_librarys() -> None:
    """Where OPENSSLDIR is differs by distribution; only a process that has loaded the library can tell."""
    program = f"{BEFORE}import sys\nprint(openssl._default_file(), '_ssl' in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=True)
    directory = Path(ssl.get_default_verify_paths().openssl_cafile).parent
    assert done.stdout == f"{directory / 'openssl.cnf'} False\n"


@pytest.mark.parametrize(
    ("groups", "tried"),
    [
        (FOUR, [("P-256", "P-384"), ("X25519", "P-256", "P-384"), FOUR]),
        (("P-256",), [("P-256",)]),
        (("X25519", "P-256"), [("P-256",), ("X25519", "P-256")]),
        (("X25519MLKEM768",), [("X25519MLKEM768",)]),
    ],
)
def test_what_openssl_may_lack_is_left_out_step_by_step(groups: tuple[str, ...], tried: list[tuple[str, ...]]) -> None:
    assert openssl.variants(groups) == tried


# --- Python 3.15 ------------------------------------------------------------------------------------------------------


class NewContext:
    """The calls of CPython 3.15, on a library without ML-KEM."""

    def __init__(self) -> None:
        self.options = ssl.Options(0)
        self.groups = ""
        self.suites = ""

    def set_ciphersuites(self, names: str) -> None:
        self.suites = names

    def get_ciphers(self) -> list[dict[str, str]]:
        return [{"name": self.suites.partition(":")[0]}]

    def set_groups(self, names: str) -> None:
        if "MLKEM" in names:
            raise ssl.SSLError("unknown group")
        self.groups = names


def test_pythons_own_calls_are_used_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl, "OWN_CALLS", True)
    monkeypatch.setattr(openssl, "obstacle", "not asked yet")
    monkeypatch.delenv("OPENSSL_CONF", raising=False)
    openssl.configure(FOUR)
    assert openssl.obstacle == ""
    assert "OPENSSL_CONF" not in os.environ
    new = NewContext()
    context._choose_key_exchange(new, FOUR)  # what it calls is all there is of it
    assert new.groups == "X25519:P-256:P-384"
    assert new.suites == ":".join(openssl.SUITES)
    assert new.options & ssl.OP_CIPHER_SERVER_PREFERENCE
