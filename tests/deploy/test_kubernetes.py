"""What config/deploy/kubernetes.yaml says: valid by Kubernetes's own schemas, fit for the program, and of one piece.

The schema of a ServiceMonitor is the Prometheus operator's and in no package that is small: its few fields are held
against what they name.
"""

from __future__ import annotations

from importlib import import_module
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Process, Settings, load
from tests.support.components import require

pytestmark = pytest.mark.interop

yaml: Any = import_module("yaml")  # which has no types

DEPLOY = Path(__file__).resolve().parents[2] / "config" / "deploy"
SPARE = 10.0
"""Seconds beyond what the gateway takes at the longest: its processes are killed 5 s after `drain_timeout`."""
VERSIONS = ("1.25", "1.31", "1.37")
"""Of Kubernetes: the oldest and the newest whose schemas are there, and one between."""
LABELS = {"app.kubernetes.io/name": "sandbox-gateway"}


def longest(process: Process) -> float:
    return process.drain_delay + process.drain_timeout + SPARE


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """By kind and name, and by kind alone where there is one of it."""
    found = {f"{each['kind']}/{each['metadata']['name']}": each for each in documents()}
    assert len(found) == len(documents())
    kinds = [each["kind"] for each in documents()]
    return found | {each["kind"]: each for each in documents() if kinds.count(each["kind"]) == 1}


@pytest.fixture(scope="module")
def settings(objects: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("kubernetes") / "gateway.toml"
    file.write_text(objects["ConfigMap"]["data"]["gateway.toml"])
    return load(file=file, environ={}, serve=True).settings


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_it(version: str) -> None:
    """Every field is known (strict), has its type, and none that is required lacks."""
    require("kubernetes schemas")
    import kubernetes_validate

    for document in documents():
        if document["kind"] != "ServiceMonitor":
            assert kubernetes_validate.validate(document, version, strict=True) == version


def test_kubernetes_waits_for_the_drain(objects: dict[str, Any], settings: Settings) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= longest(settings.process)


def test_probes_ask_for_what_is_answered(objects: dict[str, Any], settings: Settings) -> None:
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"http": settings.edge.listen_plain[0].port, "admin": settings.admin.listen.port}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": settings.edge.health_path, "port": "http"}
    assert container["livenessProbe"]["tcpSocket"] == {"port": "http"}


def test_readiness_fails_before_the_delay_is_over(objects: dict[str, Any], settings: Settings) -> None:
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * readiness.get("failureThreshold", 3) < settings.process.drain_delay


def test_everything_means_the_same_pods(objects: dict[str, Any]) -> None:
    template = objects["Deployment"]["spec"]["template"]["metadata"]
    assert template["labels"] == LABELS
    assert objects["Deployment"]["spec"]["selector"] == {"matchLabels": LABELS}
    assert objects["PodDisruptionBudget"]["spec"]["selector"] == {"matchLabels": LABELS}
    assert objects["NetworkPolicy"]["spec"]["podSelector"] == {"matchLabels": LABELS}
    ports = {each["name"] for each in objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]}
    for name in ("sandbox-gateway", "sandbox-gateway-admin"):
        service = objects[f"Service/{name}"]["spec"]
        assert service["selector"] == LABELS
        assert {each["targetPort"] for each in service["ports"]} <= ports
    reference = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert f"{reference['kind']}/{reference['name']}" in objects
    assert "replicas" not in objects["Deployment"]["spec"], "the autoscaler's"


def test_volumes_are_what_the_file_makes_or_says_to_make(objects: dict[str, Any], settings: Settings) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert f"ConfigMap/{volumes['config']['configMap']['name']}" in objects
    secret = volumes["admin"]["secret"]["secretName"]
    assert f"kubectl create secret generic {secret} --from-literal=token=" in (DEPLOY / "kubernetes.yaml").read_text()
    mounts = {each["mountPath"]: each["name"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounts[str(settings.directory.path.parent)] == "config"
    assert settings.admin.token_file is not None
    assert mounts[str(settings.admin.token_file.parent)] == "admin"
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"], "so that it can read the secret"


def test_the_network_admits_whom_the_gateway_trusts(objects: dict[str, Any], settings: Settings) -> None:
    policy = objects["NetworkPolicy"]["spec"]
    visitors, scrapes = policy["ingress"]
    assert {ip_network(each["ipBlock"]["cidr"]) for each in visitors["from"]} == set(settings.edge.trusted_proxies)
    assert [each["port"] for each in visitors["ports"]] == ["http"]
    assert [each["port"] for each in scrapes["ports"]] == ["admin"]
    sandboxes, dns = policy["egress"]
    assert {ip_network(each["ipBlock"]["cidr"]) for each in sandboxes["to"]} == set(settings.upstream.allow)
    assert {(each["protocol"], each["port"]) for each in dns["ports"]} == {("UDP", 53), ("TCP", 53)}


def test_prometheus_finds_it_under_the_name_that_the_alerts_have(objects: dict[str, Any]) -> None:
    monitor = objects["ServiceMonitor"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"selector", "jobLabel", "endpoints"}
    service = objects["Service/sandbox-gateway-admin"]
    assert monitor["spec"]["selector"] == {"matchLabels": service["metadata"]["labels"]}
    assert "labels" not in objects["Service/sandbox-gateway"]["metadata"], "else it would be scraped, too"
    job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    assert f'up{{job="{job}"}}' in (DEPLOY / "alerts.yaml").read_text()
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval", "authorization"}
    assert (endpoint["port"], endpoint["path"]) == (service["spec"]["ports"][0]["name"], "/metrics")
    volumes = {each["name"]: each for each in objects["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert endpoint["authorization"] == {
        "credentials": {"name": volumes["admin"]["secret"]["secretName"], "key": "token"}
    }
