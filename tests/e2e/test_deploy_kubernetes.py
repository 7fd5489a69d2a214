"""``deploy/kubernetes``: good by the schema of Kubernetes, and of one piece with the program and with itself."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from entrypoints.draining import SHUTDOWN_SECONDS
from entrypoints.settings import Settings
from entrypoints.settings_reading import load_settings
from tests.documents import ROOT, block
from tests.processes import SECRET

MANIFESTS = ROOT / "deploy" / "kubernetes"
OLDEST = "1.29"
TO_CLOSE_SECONDS = 5


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    """By their kinds, of which there is one each."""
    found = [each for path in sorted(MANIFESTS.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    by_kind = {each["kind"]: each for each in found}
    assert len(by_kind) == len(found)
    return by_kind


@pytest.fixture(scope="module")
def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    template: dict[str, Any] = manifests["Deployment"]["spec"]["template"]
    return template


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_they_are_what_kubernetes_expects(manifests: dict[str, dict[str, Any]], version: str) -> None:
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_member_that_kubernetes_does_not_know_would_be_found(manifests: dict[str, dict[str, Any]]) -> None:
    wrong = manifests["PodDisruptionBudget"] | {"spec": {"maxUnavailible": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


def settings_of(container: dict[str, Any], secrets: Path) -> Settings:
    """What a pod reads, with its secrets elsewhere."""
    given = {each["name"]: each.get("value", "10.0.0.5") for each in container["env"]}
    (mounted,) = (each["mountPath"] for each in container["volumeMounts"])
    environment = {
        name: re.sub(r"\$\((\w+)\)", lambda variable: given[variable[1]], value).replace(mounted, str(secrets))
        for name, value in given.items()
    }
    return load_settings({"SYNKRONE_HOST": "0.0.0.0"} | environment, Path(os.devnull))  # noqa: S104 (of the image)


def test_a_pod_has_good_settings(container: dict[str, Any], tmp_path: Path) -> None:
    made = re.findall(r"--from-file=(\w+)", block("docs/how-to/deploy.md", "bash", "kubectl"))
    for name in made:
        (tmp_path / name).write_text(SECRET)
    settings = settings_of(container, tmp_path)
    assert settings.node.address == f"http://10.0.0.5:{settings.internal.port}"
    assert settings.store_password is not None
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "internal": settings.internal.port}


def test_a_pod_has_the_time_that_it_needs_to_stop(pod: dict[str, Any], container: dict[str, Any]) -> None:
    _, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    needed = int(seconds) + SHUTDOWN_SECONDS + TO_CLOSE_SECONDS
    assert pod["spec"]["terminationGracePeriodSeconds"] >= needed


def test_one_may_be_away_and_not_all(manifests: dict[str, dict[str, Any]]) -> None:
    deployment, budget = manifests["Deployment"]["spec"], manifests["PodDisruptionBudget"]["spec"]
    assert deployment["replicas"] > budget["maxUnavailable"] >= 1
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_all_mean_the_same_pods(manifests: dict[str, dict[str, Any]], pod: dict[str, Any]) -> None:
    labels = pod["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert pod["spec"]["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]


def test_the_internal_port_is_asked_by_the_probes_and_open_to_few(
    manifests: dict[str, dict[str, Any]], container: dict[str, Any]
) -> None:
    probes = [container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [(probe["path"], probe["port"]) for probe in probes] == [
        ("/health/ready", "internal"),
        ("/health/ready", "internal"),
        ("/health/live", "internal"),
    ]
    assert [port["targetPort"] for port in manifests["Service"]["spec"]["ports"]] == ["http"]
    rules = manifests["NetworkPolicy"]["spec"]["ingress"]
    assert {rule["ports"][0]["port"]: "from" in rule for rule in rules} == {"http": False, "internal": True}


def test_a_pod_may_do_nothing_but_serve(pod: dict[str, Any], container: dict[str, Any]) -> None:
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    user = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "deploy" / "Containerfile").read_text(), re.MULTILINE)
    assert user == [(str(pod["spec"]["securityContext"]["runAsUser"]), str(pod["spec"]["securityContext"]["fsGroup"]))]
