"""Compiles the hot path with mypyc, from the same sources: each module below gets an extension beside it.

    python config/build/compile.py            in place, as `make compiled` does
    python config/build/compile.py --clean    back to plain Python

Nothing else changes: what has no extension is interpreted, `GATEWAY_PURE=1` runs the sources of a compiled gateway, and
`gateway --version` says which it is. Needs a C compiler, Python's headers, mypy and setuptools.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "gateway/http/*.py",
    "gateway/http/h2/*.py",
    "gateway/edge/connection.py",
    "gateway/edge/cookies.py",
    "gateway/edge/deadlines.py",
    "gateway/edge/drained.py",
    "gateway/edge/edge.py",
    "gateway/edge/exchange*.py",
    "gateway/edge/forwarded.py",
    "gateway/edge/host_rewrite.py",
    "gateway/edge/http*.py",
    "gateway/edge/limits.py",
    "gateway/edge/served_stream.py",
    "gateway/edge/stream*.py",
    "gateway/edge/tls_*.py",
    "gateway/edge/websocket_drain.py",
    "gateway/edge/upstream_protocol.py",
    "gateway/observe/ids.py",
    "gateway/observe/telemetry.py",
    "gateway/upstream/claims.py",
    "gateway/upstream/context.py",
    "gateway/upstream/http*.py",
    "gateway/upstream/pool.py",
    "gateway/upstream/stream.py",
    "gateway/directory/cache.py",
    "gateway/dev/front.py",
    "gateway/inspector/capture.py",
    "gateway/inspector/replay_stream.py",
    "gateway/session_connection.py",
    "gateway/diagnosis/app_request.py",
    "gateway/diagnosis/error_answer.py",
    "gateway/endpoint.py",
    "gateway/hostname.py",
    "gateway/memo.py",
    "gateway/printable.py",
    "gateway/transport.py",
    "gateway/turns.py",
)
"""What a request passes, and nothing that runs but once a connection or less often: that would only take longer to
compile. And whatever stands in the place of something on that road: what is interpreted cannot derive from a compiled
trait."""
GROUP = "gateway"
"""One library holds them all: calls between modules are direct."""


def modules() -> list[str]:
    """Paths from the project's root."""
    found = [path for room in ROOMS for path in sorted(ROOT.glob(room)) if path.name != "__init__.py"]
    return [str(path.relative_to(ROOT)) for path in found]


def extensions(folder: Path) -> list[object]:
    """setuptools' extensions; what mypyc writes goes to `folder`. Raises SystemExit where a source does not compile."""
    from mypyc.build import mypycify

    return list(
        mypycify(
            ["--config-file", str(ROOT / "pyproject.toml"), *modules()],
            opt_level="2",
            debug_level="0",  # a traceback names its line all the same
            target_dir=str(folder),
            group_name=GROUP,
            multi_file=True,  # C's compiler takes nine tenths of the time: on every core
        )
    )


def build(built: Path, into: Path | None) -> list[Path]:
    """Compiles everything: beside the sources, or `into` a folder. Returns the extensions."""
    from setuptools.command.build_ext import build_ext
    from setuptools.dist import Distribution

    class OnEveryCore(build_ext):
        def build_extensions(self) -> None:
            compile_one = self.compiler.compile

            def compile_all(sources: Sequence[str], **options: object) -> list[str]:
                with ThreadPoolExecutor(os.cpu_count()) as cores:
                    built_of_each = cores.map(lambda source: compile_one([source], **options), sources)
                    return list(chain.from_iterable(built_of_each))

            self.compiler.compile = compile_all
            super().build_extensions()

    os.chdir(ROOT)
    command = OnEveryCore(Distribution({"name": GROUP, "ext_modules": extensions(built)}))
    command.build_temp = str(built)
    command.inplace = into is None
    if into is not None:
        command.build_lib = str(into)
    command.ensure_finalized()
    command.run()
    return [Path(each) for each in command.get_outputs()]


def compiled_files() -> list[Path]:
    """What `build` has left beside the sources."""
    return [*ROOT.glob(f"{GROUP}__mypyc.*.so"), *(ROOT / "gateway").rglob("*.so")]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clean", action="store_true", help="remove what was compiled in place")
    for old in compiled_files():  # an extension of yesterday would be imported, whatever its source says today
        old.unlink()
    if parser.parse_args().clean:
        return 0
    print(f"{len(build(ROOT / 'build' / 'mypyc', None))} modules compiled", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
