"""The configurations that docs/deploy.md starts from: `gateway check` has nothing to say against any of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.balancers import site
from tests.support.process import clean_environment

pytestmark = pytest.mark.interop

OF_THIS_MACHINE = {"descriptors", "no-ipv6", "workers-above-quota"}
"""What the machine lacks that checks, not the file."""


@pytest.mark.parametrize("name", ["edge.toml", "behind-l4-lb.toml", "behind-http-lb.toml"])
def test_it_can_be_served_as_it_stands(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "--json", "--config", f"config/{name}"],
        cwd=site(tmp_path),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {each["check"] for each in json.loads(done.stdout)["findings"]} <= OF_THIS_MACHINE, done.stdout
