"""Writes what the image is built from, with each file's hash: requirements.txt and build-requirements.txt beside it.

    python config/deploy/pin.py

Versions are those of constraints.txt and, of what builds the wheel, the newest. Hashes are of wheels alone, for the
Pythons and machines below, as PyPI serves them at this moment; pip then refuses any other file of that version.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
GLIBC = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""Debian's since 10 is newer than all of them."""
HEAD = "# Written by: python config/deploy/pin.py (make constraints)\n"


def wheels(requirements: Iterable[str], folder: Path) -> None:
    """All that `requirements` need, everywhere."""
    for python in PYTHONS:
        for machine in MACHINES:
            platforms = [f"--platform={libc}_{machine}" for libc in GLIBC]
            command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
            command += ["--only-binary=:all:", f"--python-version={python}", *platforms, f"--dest={folder}"]
            subprocess.run([*command, f"--constraint={ROOT / 'constraints.txt'}", *requirements], check=True)  # noqa: S603


def pinned(folder: Path) -> str:
    """A line for each package, and one for each of its files."""
    found: dict[str, list[str]] = {}
    for wheel in sorted(folder.iterdir()):
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        found.setdefault(f"{re.sub(r'[._]', '-', name).lower()}=={version}", []).append(f"--hash=sha256:{digest}")
    return "".join(f"{pin} \\\n    " + " \\\n    ".join(sorted(hashes)) + "\n" for pin, hashes in sorted(found.items()))


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    for name, requirements in (
        ("requirements.txt", project["project"]["dependencies"]),
        ("build-requirements.txt", [*project["build-system"]["requires"], *extras["compile"]]),
    ):
        with tempfile.TemporaryDirectory() as folder:
            wheels(requirements, Path(folder))
            (HERE / name).write_text(HEAD + pinned(Path(folder)))


if __name__ == "__main__":
    main()
