"""How deploy/k8s scales workers. The schema of KEDA is not bundled: its objects are held to its documentation."""

from typing import Final

from app.settings import Settings
from app.topics import plan
from support import kustomize
from support.manifests import K8S, kind

# What KEDA documents of a ScaledObject with a Kafka trigger; its schema is not bundled.
_SPEC: Final = {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "advanced", "triggers"}
_TRIGGER: Final = {
    *("bootstrapServers", "consumerGroup", "topic", "lagThreshold", "offsetResetPolicy", "allowIdleConsumers"),
    *("sasl", "tls"),
}


def test_workers_are_scaled_by_the_backlog_of_their_own_group_and_topic() -> None:
    (scaled,) = kind("external", "ScaledObject").values()
    spec = scaled["spec"]
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert spec.keys() == _SPEC
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"}
    assert "replicas" not in kind("external", "Deployment")["worker"]["spec"], "each apply would set them back"
    settings: dict[str, str] = kind("external", "ConfigMap")["context8-settings"]["data"]
    config = Settings(events_partitions=int(settings["EVENTS_PARTITIONS"]))
    assert 2 <= spec["minReplicaCount"] < spec["maxReplicaCount"] <= config.events_partitions
    (trigger,) = spec["triggers"]
    metadata = trigger["metadata"]
    assert trigger["type"] == "kafka"
    assert metadata.keys() == _TRIGGER
    assert all(isinstance(value, str) for value in metadata.values()), "KEDA takes text only"
    assert metadata["topic"] == plan(config)[0].name
    assert metadata["consumerGroup"] == config.worker_group
    assert metadata["bootstrapServers"] == settings["KAFKA_BROKERS"]
    assert metadata["offsetResetPolicy"] == "earliest", "as the workers begin"
    assert metadata["sasl"] == settings["KAFKA_SASL_MECHANISM"].lower().replace("-sha-", "_sha")
    assert (metadata["tls"] == "enable") == settings["KAFKA_SECURITY_PROTOCOL"].endswith("SSL")
    # What 100 symbols of 200 events/s have not committed yet, one snapshot interval long, is no backlog.
    assert int(metadata["lagThreshold"]) >= 2 * 100 * 200 * config.snapshot_interval_ms // 1000
    (authentication,) = kind("external", "TriggerAuthentication").values()
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    given = {entry["parameter"]: entry["key"] for entry in authentication["spec"]["secretTargetRef"]}
    assert given == {"username": "username", "password": "password", "ca": "ca.crt"}


def test_the_base_scales_its_workers_by_the_same_component() -> None:
    (plain,) = kustomize.documents(K8S / "components" / "lag-scaling" / "scaled-object.yaml")
    (overlaid,) = kind("external", "ScaledObject").values()
    settings: dict[str, str] = kind("base", "ConfigMap")["context8-settings"]["data"]
    metadata = plain["spec"]["triggers"][0]["metadata"]
    assert metadata["bootstrapServers"] == settings["KAFKA_BROKERS"]
    changed = {"bootstrapServers", "sasl", "tls"}
    assert {key: value for key, value in metadata.items() if key not in changed} == {
        key: value for key, value in overlaid["spec"]["triggers"][0]["metadata"].items() if key not in changed
    }
