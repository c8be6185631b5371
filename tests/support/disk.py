"""A disk that is small enough to be filled: a tmpfs in a mount namespace that ends with the process.

From outside, its files are seen through `/proc/<pid>/root`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.components import COMPONENTS, Component


def on_small_disk(path: Path, size: str, command: Sequence[str]) -> list[str]:
    """`command` where `path`, a directory, is a disk of `size` ("256k"). It stays one process, with the same id."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
    return ["unshare", "--mount", *user, "--", "sh", "-c", mount, "sh", size, str(path), *command]


def _works() -> bool:
    done = subprocess.run(on_small_disk(Path("/mnt"), "64k", ["true"]), capture_output=True, check=False)
    return done.returncode == 0


COMPONENTS["small disk"] = Component(_works, "sysctl kernel.unprivileged_userns_clone=1, or run the tests as root")
