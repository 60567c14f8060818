"""deploy/k8s: resolved as kubectl does it, valid for each API version, and held against the code."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import certifi
import kubernetes_validate  # type: ignore[import-untyped] # it has no types
import pytest

from support import dockerfile, kustomize
from support.compose import ROOT
from support.deployed import DEFAULTS, PORTS, parsed, settings_of
from support.kustomize import Document
from support.manifests import BROKERS, FOLDERS, K8S, OBJECTS, container_of, kind, pods

# The first with everything that we use, and the newest known.
VERSIONS: Final = ("1.27", "1.37")
IMAGES: Final = dockerfile.read(ROOT / "deploy" / "docker" / "Dockerfile")
each_folder: Final = pytest.mark.parametrize("folder", FOLDERS)


def _environment(folder: str, pod: Document) -> dict[str, str]:
    """Return the variables of a pod; what comes from a secret is 'secret', what from a field a name."""
    settings: dict[str, str] = kind(folder, "ConfigMap")["context8-settings"]["data"]
    container = container_of(pod)
    found = dict(settings) if container.get("envFrom") == [{"configMapRef": {"name": "context8-settings"}}] else {}
    for name in ("WORKER_REDIS_URL", "READER_REDIS_URL"):
        found.pop(name, None)  # told apart by their names, given to the right process as REDIS_URL
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {})
        if "configMapKeyRef" in source:
            assert source["configMapKeyRef"]["name"] == "context8-settings"
            found[variable["name"]] = settings[source["configMapKeyRef"]["key"]]
        elif "secretKeyRef" in source:
            found[variable["name"]] = "secret"
        else:
            found[variable["name"]] = variable.get("value", "worker-5d9c7-abcde")
    return found


@each_folder
def test_the_objects_are_those_that_kubectl_itself_would_send(folder: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on this machine: only our own reading of kustomize was tested")
    answer = subprocess.run([kubectl, "kustomize", str(FOLDERS[folder])], capture_output=True, text=True, check=True)
    theirs = {_identity(found): _ordered(found) for found in kustomize.parse(answer.stdout)}
    ours = {_identity(found): _ordered(found) for found in OBJECTS[folder]}
    assert ours == theirs


def _identity(found: Document) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]


def _ordered(node: Any) -> Any:
    """Return the same with lists of named things in one order."""
    if isinstance(node, dict):
        return {key: _ordered(value) for key, value in node.items()}
    if isinstance(node, list):
        items = [_ordered(item) for item in node]
        named = all(isinstance(item, dict) and ("name" in item or "mountPath" in item) for item in items)
        return sorted(items, key=lambda item: item.get("mountPath", item.get("name"))) if named else items
    return node


@each_folder
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_by_the_schemas_of_kubernetes(folder: str, version: str) -> None:
    for found in OBJECTS[folder]:
        if not found["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(found, version, strict=True)


def test_the_schemas_notice_a_field_that_does_not_exist() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}},
            "1.37",
            strict=True,
        )


@each_folder
def test_each_command_is_one_of_ours_in_an_image_that_has_it(folder: str) -> None:
    for name, pod in pods(folder).items():
        container = container_of(pod)
        arguments = parsed(container["args"])
        role = {"topics": "worker"}.get(name, name)
        assert container["image"] == f"context8-{role}:0.1.0"
        assert role in IMAGES.stages
        assert "command" not in container, "the image's entry point lets a dying worker leave its group"
        if name == "reader":
            assert arguments.host == "0.0.0.0"
            assert "context8-reader" in arguments.allowed_host


def test_the_tag_is_the_version_of_the_project() -> None:
    assert 'version = "0.1.0"' in (ROOT / "pyproject.toml").read_text()


@each_folder
def test_each_variable_is_a_setting_with_an_allowed_value(folder: str) -> None:
    for name, pod in pods(folder).items():
        environment = _environment(folder, pod)
        mounts = {mount["mountPath"] for mount in container_of(pod).get("volumeMounts", [])}
        for variable, value in environment.items():
            if variable.endswith("_CA_FILE"):
                assert str(Path(value).parent) in mounts, f"{name}: nothing is mounted for {variable}"
                environment[variable] = certifi.where()
        settings = settings_of(environment)
        assert name in ("topics", "reader") or settings.metrics_host == "0.0.0.0"
        if name in ("worker", "reader"):
            assert settings.redis_url.split("@")[0].endswith(name)
            assert settings.redis_password is not None


@each_folder
def test_ports_probes_and_metrics_are_where_the_code_has_them(folder: str) -> None:
    asked = {"producer": 9081, "worker": DEFAULTS.worker_web_port, "reader": DEFAULTS.reader_port}
    for name, port in asked.items():
        pod = pods(folder)[name]
        container = container_of(pod)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert set(ports.values()) == PORTS[name]
        # What a restart would not mend is no reason for one.
        for probe, path in (("startup", "live"), ("liveness", "live"), ("readiness", "ready")):
            request = container[f"{probe}Probe"]["httpGet"]
            assert (request["path"], ports[request["port"]]) == (f"/health/{path}", port), (name, probe)
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/path"] == "/metrics"
        assert int(annotations["prometheus.io/port"]) == max(PORTS[name])


@each_folder
def test_every_pod_runs_without_rights(folder: str) -> None:
    for name, pod in pods(folder).items():
        spec, container = pod["spec"], container_of(pod)
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "a service named reader would set READER_PORT"
        assert spec["securityContext"]["runAsNonRoot"] is True
        user = IMAGES.last({"topics": "worker"}.get(name, name), "USER")
        assert user is not None
        assert user.text == f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert container["resources"]["limits"].keys() >= {"memory"}
        assert "cpu" not in container["resources"]["limits"]


@each_folder
def test_no_secret_is_in_a_manifest_and_each_that_is_named_has_its_command_in_the_runbook(folder: str) -> None:
    assert not kind(folder, "Secret")
    runbook = (ROOT / "docs" / "runbooks" / "deployment.md").read_text()
    wanted = {key for found in OBJECTS[folder] for key in _secret_keys(found)}
    assert ("context8-redis", "worker-password") in wanted
    for secret, key in wanted:
        assert f"create secret generic {secret}" in runbook, secret
        assert key in runbook, (secret, key)


def _secret_keys(node: Any) -> list[tuple[str, str]]:
    if isinstance(node, list):
        return [pair for item in node for pair in _secret_keys(item)]
    if not isinstance(node, dict):
        return []
    found = [pair for value in node.values() for pair in _secret_keys(value)]
    if "secretKeyRef" in node:
        found.append((node["secretKeyRef"]["name"], node["secretKeyRef"]["key"]))
    if "secretName" in node:
        found += [(node["secretName"], item["key"]) for item in node["items"]]
    return found


@each_folder
def test_whatever_selects_pods_finds_some(folder: str) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods(folder).values()]
    for name, deployment in kind(folder, "Deployment").items():
        assert deployment["spec"]["selector"]["matchLabels"] == pods(folder)[name]["metadata"]["labels"]
    selectors = [found["spec"]["selector"]["matchLabels"] for found in kind(folder, "PodDisruptionBudget").values()]
    selectors += [found["spec"]["selector"] for found in kind(folder, "Service").values()]
    selectors += [
        found["spec"]["podSelector"].get("matchLabels", {}) for found in kind(folder, "NetworkPolicy").values()
    ]
    for selector in selectors:
        assert any(selector.items() <= pod.items() for pod in labels), selector
    for policy in kind(folder, "NetworkPolicy").values():
        for expression in policy["spec"]["podSelector"].get("matchExpressions", []):
            assert set(expression["values"]) <= {pod[expression["key"]] for pod in labels}


@each_folder
def test_the_network_lets_through_what_the_settings_need_and_nothing_else_by_default(folder: str) -> None:
    policies = kind(folder, "NetworkPolicy")
    assert policies["nothing-else"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    settings: dict[str, str] = kind(folder, "ConfigMap")["context8-settings"]["data"]
    brokers = {int(broker.rsplit(":", 1)[1]) for broker in settings["KAFKA_BROKERS"].split(",")}
    assert brokers == {port["port"] for rule in policies["kafka"]["spec"]["egress"] for port in rule["ports"]}
    redis = {int(settings[f"{name}_REDIS_URL"].rsplit(":", 1)[1].split("/")[0]) for name in ("WORKER", "READER")}
    assert redis == {port["port"] for rule in policies["redis"]["spec"]["egress"] for port in rule["ports"]}
    scraped = {port["port"] for rule in policies["metrics"]["spec"]["ingress"] for port in rule["ports"]}
    assert scraped == {max(ports) for ports in PORTS.values()}


@pytest.mark.parametrize("version", VERSIONS)
def test_of_context8_only_who_talks_to_brokers_reaches_them(version: str) -> None:
    (policy,) = BROKERS
    kubernetes_validate.validate(policy, version, strict=True)
    ours, brokers, scaling = policy["spec"]["ingress"]
    outgoing = kind("base", "NetworkPolicy")["kafka"]["spec"]
    assert policy["spec"]["podSelector"] == outgoing["egress"][0]["to"][0]["podSelector"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (who,) = ours["from"]
    assert who["podSelector"] == outgoing["podSelector"]
    assert who["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] in kind("base", "Namespace")
    assert ours["ports"] == outgoing["egress"][0]["ports"]
    assert brokers["from"] == [{"podSelector": {}}], "only of their own namespace"
    assert scaling["ports"] == ours["ports"], "KEDA asks the brokers itself"


@each_folder
def test_drains_and_restarts_leave_the_work_covered(folder: str) -> None:
    deployments = kind(folder, "Deployment")
    assert deployments["producer"]["spec"]["strategy"] == {"type": "Recreate"}, "two would publish everything twice"
    assert set(kind(folder, "PodDisruptionBudget")) == {"worker", "reader"}
    for name, needed in (("producer", 15), ("worker", 18), ("reader", 2)):
        assert deployments[name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= needed
    for name in ("worker", "reader"):
        assert deployments[name]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    target = kind(folder, "HorizontalPodAutoscaler")["reader"]["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "reader"}
    assert "replicas" not in deployments["reader"]["spec"], "it is the autoscaler's"


def test_the_tables_of_a_worker_are_its_pods_own() -> None:
    pod = pods("base")["worker"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container_of(pod)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    folder = IMAGES.environment("worker")["WORKER_DATA_DIR"]
    assert volumes[mounts[folder]]["emptyDir"] == {"sizeLimit": "1Gi"}, "on disk: in memory it would count as memory"


def test_prometheus_gives_the_pods_the_names_of_jobs_that_rules_and_dashboards_know() -> None:
    (content,) = kustomize.documents(K8S / "scrape-config.yaml")
    (scrape,) = content["scrape_configs"]
    assert scrape["kubernetes_sd_configs"][0]["namespaces"]["names"] == list(kind("base", "Namespace"))
    steps = {step["target_label"]: step for step in scrape["relabel_configs"] if "target_label" in step}
    assert steps["job"]["source_labels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
    (beside,) = kustomize.documents(ROOT / "deploy" / "prometheus" / "compose.yml")
    known = {job["job_name"] for job in beside["scrape_configs"]}
    scraped = [pod["metadata"] for pod in pods("base").values() if "annotations" in pod["metadata"]]
    assert {f"context8-{pod['labels']['app.kubernetes.io/component']}" for pod in scraped} == known
    for label in ("scrape", "path", "port"):
        assert all(f"prometheus.io/{label}" in pod["annotations"] for pod in scraped)
        assert f"__meta_kubernetes_pod_annotation_prometheus_io_{label}" in str(scrape["relabel_configs"])


def test_every_file_below_deploy_k8s_belongs_to_a_kustomization() -> None:
    used = {K8S / "scrape-config.yaml"}  # which is Prometheus' own
    for kustomization in K8S.rglob("kustomization.yaml"):
        (content,) = kustomize.documents(kustomization)
        names = [*content.get("resources", []), *(patch["path"] for patch in content.get("patches", []))]
        used |= {kustomization, *(kustomization.parent / name for name in names)}
    assert {file for file in K8S.rglob("*") if file.is_file()} <= used
