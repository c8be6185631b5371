"""POST /v1/reload: what the supervisor says is what is answered."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.admin import reload as reloading
from gateway.admin.app import Health
from gateway.admin.reload import Reload
from tests.unit.admin.conftest import MakeClient, one_ready_worker


class Supervisor:
    """Judges with the second look."""

    def __init__(self, verdict: Reload | None) -> None:
        self.asked = 0
        self._verdict = verdict
        self._looks = 0

    def request(self) -> None:
        self.asked += 1

    def read(self) -> Reload:
        self._looks += self.asked
        return self._verdict if self._verdict is not None and self._looks > 1 else Reload(requested=4)


async def test_a_valid_configuration_is_accepted(client_of: MakeClient) -> None:
    verdict = Reload(requested=5, state="rolling", generation=2, needs_restart=("edge.listen",))
    supervisor = Supervisor(verdict)
    client = await client_of(health=Health(one_ready_worker, None, supervisor))
    answer = await client.post("/v1/reload")
    assert answer.status == 202
    told = await answer.json()
    assert (told["generation"], told["needs_restart"], supervisor.asked) == (2, ["edge.listen"], 1)


async def test_an_invalid_one_is_refused_with_the_reason(client_of: MakeClient) -> None:
    verdict = Reload(requested=5, state="refused", successful=False, error="limits.conexions: unknown")
    client = await client_of(health=Health(one_ready_worker, None, Supervisor(verdict)))
    answer = await client.post("/v1/reload")
    assert (answer.status, answer.content_type) == (422, "application/problem+json")
    assert "limits.conexions: unknown" in (await answer.json())["detail"]


async def test_a_supervisor_that_is_about_to_end_does_not(client_of: MakeClient) -> None:
    """Told at once."""
    health = Health(one_ready_worker, None, Supervisor(None))
    health.draining = True
    client = await client_of(health=health)
    answer = await client.post("/v1/reload")
    assert answer.status == 409
    assert "about to end" in (await answer.json())["detail"]


async def test_nor_does_one_that_is_stuck(client_of: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "JUDGED_WITHIN", 0.1)
    client = await client_of(health=Health(one_ready_worker, None, Supervisor(None)))
    answer = await client.post("/v1/reload")
    assert answer.status == 409
    assert "stuck" in (await answer.json())["detail"]


async def test_where_nothing_can_be_reloaded_it_says_so(client_of: MakeClient) -> None:
    client = await client_of()
    assert (await client.post("/v1/reload")).status == 409
    assert "reload" not in await (await client.get("/v1/status")).json()


async def test_it_needs_the_token(client_of: MakeClient) -> None:
    supervisor = Supervisor(Reload(requested=5, state="rolling"))
    client = await client_of(token="s3cret", health=Health(one_ready_worker, None, supervisor))
    assert (await client.post("/v1/reload")).status == 401
    assert supervisor.asked == 0


@pytest.mark.parametrize(("successful", "told"), [(True, True), (False, False)])
async def test_readiness_tells_and_does_not_depend(client_of: MakeClient, successful: bool, told: bool) -> None:
    verdict = replace(Reload(requested=5), successful=successful)
    supervisor = Supervisor(verdict)
    supervisor.asked = 2
    client = await client_of(health=Health(one_ready_worker, None, supervisor))
    answer = await client.get("/readyz")
    assert answer.status == 200
    assert (await answer.json())["config_last_reload_successful"] is told
