"""`gateway dev` at the domain itself: what there is and how it is, and what a wrong name is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.interop.harness import DOMAIN, GatewayProcess, curl, flask_app
from tests.support.process import free_port, poll

pytestmark = pytest.mark.interop


def test_the_index_follows_what_there_is(tmp_path: Path) -> None:
    port = free_port()
    with GatewayProcess(f"shop={port}", directory=tmp_path) as gateway:
        index = f"https://{DOMAIN}:{gateway.tls_port}/"

        def told() -> list[dict[str, object]]:
            sandboxes: list[dict[str, list[dict[str, object]]]]
            sandboxes = json.loads(curl(f"{index}index.json", gateway.ca).body)["sandboxes"]
            return sandboxes[0]["ports"]

        [before] = told()
        assert (before["ready"], before["url"]) == (False, gateway.url(port, "shop"))
        with flask_app(port=port):
            poll(lambda: told()[0]["ready"], "the app is seen on the index", 30)
        assert gateway.url(port, "shop") in curl(index, gateway.ca).body.decode()
        answer = curl(gateway.url(port, "shp"), gateway.ca)
        assert answer.status == 404
        for text in ("the only sandbox here is shop", index, "gateway sandboxes add shp ::1"):
            assert text in answer.body.decode()
