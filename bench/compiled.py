"""The compiled build of this checkout, in a folder of its own: what is measured beside plain Python, in the same run.

Compiled anew only when a source has changed, which takes a minute or two.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.processes import ROOT
from bench.site import Unable

TREE = ROOT / "build" / "bench"
"""What runs: a copy of the sources, with an extension beside each of those that are compiled."""
PARTS = ("gateway", "config/build", "bench/peers", "pyproject.toml")
PATIENCE = 1200.0
"""Seconds for the compiler."""
_LEFT_OUT = shutil.ignore_patterns("*.so", "__pycache__")


def build(root: Path = ROOT, tree: Path = TREE) -> None:
    """Brings `tree` up to date with the sources below `root`. Raises Unable, with what the compiler has said."""
    stamp = tree / "sources.sha256"
    wanted = digest(root)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(tree, ignore_errors=True)
    for part in PARTS:
        source, copy = root / part, tree / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=_LEFT_OUT)
        else:
            shutil.copy(source, copy)
    print("compiling the hot path: a minute or two, once for each state of the sources", file=sys.stderr)
    command = [sys.executable, str(tree / "config" / "build" / "compile.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tree, timeout=PATIENCE, check=False)
    if done.returncode:
        raise Unable(f"the compiled build: {done.stderr.strip()[-2000:]}")
    stamp.write_text(wanted)


def digest(root: Path) -> str:
    """Of the interpreter and of every source that the build is made from."""
    found = hashlib.sha256(sys.version.encode())
    for part in PARTS:
        path = root / part
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file() and each.suffix != ".so" and "__pycache__" not in each.parts:
                found.update(f"{each.relative_to(root)}\0".encode() + each.read_bytes())
    return found.hexdigest()
