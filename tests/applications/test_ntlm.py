"""NTLM, which authenticates a connection: express-ntlm behind, curl in front, and nobody is taken for somebody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.applications.harness import Application, Applications, node_program
from tests.interop.harness import Answer, curl
from tests.support.components import require

PROGRAM = """
import express from "express";
import ntlm from "express-ntlm";

const app = express();
app.use(ntlm());
app.all("/*path", (request, response) => response.json(request.ntlm));
app.listen(Number(process.argv[2]), "::1");
"""


@pytest.fixture
def app(gateway: Applications, tmp_path: Path) -> Iterator[Application]:
    require("express", "express-ntlm")
    with node_program(gateway, PROGRAM, tmp_path) as running:
        yield running


def as_user(app: Application, name: str) -> Answer:
    return curl(app.url("/page"), app.gateway.ca, "--ntlm", "--user", f"SHOP\\{name}:secret")


def test_a_login_is_for_its_connection_alone(app: Application) -> None:
    for name in ("ada", "grace"):
        answer = as_user(app, name)
        assert (answer.status, json.loads(answer.body)["UserName"]) == (200, name)
        # More than there are workers, so that each is asked.
        for _ in range(8):
            assert curl(app.url("/page"), app.gateway.ca).status == 401


def test_many_at_once(app: Application) -> None:
    names = [f"user{number}" for number in range(24)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda name: as_user(app, name), names))
    assert [json.loads(answer.body)["UserName"] for answer in answers] == names
