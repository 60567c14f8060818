"""docker-compose.yml, held against the code: commands, settings, ports, files, start order and what it keeps closed."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from producer.exchange.command import check_arguments
from support import compose, dockerfile
from support.compose import PASSWORDS, ROOT, MissingVariableError
from support.deployed import DEFAULTS, PORTS, parsed, settings_of

SERVICES: Final = compose.services(PASSWORDS)
OURS: Final = {name: service for name, service in SERVICES.items() if service["image"].startswith("context8-")}
IMAGES: Final = dockerfile.read(ROOT / "deploy" / "docker" / "Dockerfile")


def _names(services: dict[str, Any] = SERVICES) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", services)


def _seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_compose_itself_takes_the_file_and_understands_it_as_we_do(tmp_path: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        reason = "no docker-compose on this machine (Debian/Ubuntu: apt-get install docker-compose)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    nothing = tmp_path / "nothing.env"  # in place of the .env of this checkout
    nothing.touch()
    command = [program, "--env-file", str(nothing), "-f", str(compose.PATH), "config"]
    answer = subprocess.run(
        command, env={"PATH": os.environ["PATH"], **PASSWORDS}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    understood = msgspec.yaml.decode(answer.stdout)["services"]
    assert understood.keys() == SERVICES.keys()
    for name, service in SERVICES.items():
        assert understood[name].get("command") == service.get("command"), name
        assert understood[name].get("environment", {}) == service.get("environment", {}), name
        assert understood[name].get("read_only") == service.get("read_only"), name


def test_without_passwords_it_refuses_to_start_and_says_which_script_makes_them() -> None:
    required = {name for name, how in compose.variables().items() if how == "?"}
    assert required == set(PASSWORDS)
    for name in required:
        with pytest.raises(MissingVariableError, match="run scripts/compose-secrets"):
            compose.services({**PASSWORDS, name: ""})


def test_the_script_makes_all_that_is_needed_once_and_keeps_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SYMBOLS=SOLUSDT\nREDIS_READER_PASSWORD=mine")  # no end of line
    script = [str(ROOT / "scripts" / "compose-secrets"), str(file)]

    subprocess.run(script, check=True, capture_output=True)
    first = file.read_text()
    subprocess.run(script, check=True, capture_output=True)

    assert file.read_text() == first
    assert file.stat().st_mode & 0o077 == 0
    made = dict(line.split("=", 1) for line in first.splitlines())
    assert made["SYMBOLS"] == "SOLUSDT"
    assert made["REDIS_READER_PASSWORD"] == "mine"
    assert made["COMPOSE_PROFILES"] == "replay"
    assert len(made["REDIS_WORKER_PASSWORD"]) >= 32
    assert compose.services(made)["producer"]["environment"]["SYMBOLS"] == "SOLUSDT"


def test_what_the_script_makes_is_no_setting_of_a_command_that_runs_beside_it() -> None:
    """Which reads the same `.env`, and would refuse a password of Kafka's without users."""
    assert PASSWORDS.keys().isdisjoint(name.upper() for name in DEFAULTS.__struct_fields__)


@_names(OURS)
def test_each_command_is_one_of_ours_with_options_that_it_takes(name: str) -> None:
    service = OURS[name]
    arguments = parsed(service["command"])
    if service["command"][0] == "exchange":
        check_arguments(arguments)
    target = service["build"]["target"]
    assert service["image"] == f"context8-{target}:dev"
    assert target in IMAGES.stages
    assert (ROOT / service["build"]["dockerfile"]).is_file()


@_names(OURS)
def test_each_variable_is_a_setting_with_an_allowed_value(name: str) -> None:
    settings = settings_of(OURS[name].get("environment", {}))
    if "KAFKA_BROKERS" in OURS[name].get("environment", {}):
        host, port = settings.kafka_brokers.split(":")
        listeners = next(word for word in SERVICES[host]["command"] if word.startswith("--advertise-kafka-addr"))
        assert f"internal://{host}:{port}" in listeners


def test_workers_and_reader_come_to_redis_as_users_that_it_has() -> None:
    users = re.findall(r"^user (\w+) on", (ROOT / "deploy" / "redis-users.acl").read_text(), re.MULTILINE)
    for name, user in (("worker", "worker"), ("reader", "reader")):
        environment = SERVICES[name]["environment"]
        assert environment["REDIS_URL"] == f"redis://{user}@redis:6379/0"
        assert environment["REDIS_PASSWORD"] == PASSWORDS[f"REDIS_{user.upper()}_PASSWORD"]
        assert user in users


def test_only_the_user_that_redpanda_makes_gets_in_and_all_come_as_that_one() -> None:
    bootstrap = msgspec.yaml.decode((ROOT / "deploy" / "redpanda" / "bootstrap.yaml").read_text())
    environment = SERVICES["redpanda"]["environment"]
    user, password, mechanism = environment["RP_BOOTSTRAP_USER"].split(":")
    assert bootstrap["enable_sasl"]
    assert bootstrap["admin_api_require_auth"]
    assert (bootstrap["superusers"], password) == ([user], PASSWORDS["REDPANDA_PASSWORD"])
    for other in ("pandaproxy", "schema-registry"):
        (word,) = [word for word in SERVICES["redpanda"]["command"] if word.startswith(f"--{other}-addr=")]
        assert word.split("=")[1].startswith("127.0.0.1:"), "it has no users"
    assert [environment[f"RPK_{name}"] for name in ("USER", "PASS", "SASL_MECHANISM")] == [user, password, mechanism]
    for service in OURS.values():
        if "KAFKA_BROKERS" in service.get("environment", {}):
            settings = settings_of(service["environment"])
            assert settings.kafka_security_protocol == "SASL_PLAINTEXT"
            assert (settings.kafka_username, settings.kafka_sasl_mechanism) == (user, mechanism)
            assert settings.kafka_password is not None
            assert settings.kafka_password.reveal() == password
    assert SERVICES["console"]["profiles"] == ["console"], "it has no login, so it runs only when it is asked for"
    console = SERVICES["console"]["environment"]
    assert console["KAFKA_SASL_ENABLED"] == "true"
    assert [console[f"KAFKA_SASL_{name}"] for name in ("USERNAME", "PASSWORD", "MECHANISM")] == [
        user,
        password,
        mechanism,
    ]


def test_all_workers_may_have_their_session_timeout_and_their_partitions() -> None:
    bootstrap = msgspec.yaml.decode((ROOT / "deploy" / "redpanda" / "bootstrap.yaml").read_text())
    assert bootstrap["group_min_session_timeout_ms"] <= DEFAULTS.session_timeout_ms
    assert bootstrap["auto_create_topics_enabled"] is False
    counts = {
        service["environment"]["EVENTS_PARTITIONS"] for name, service in OURS.items() if name in ("topics", "worker")
    }
    assert len(counts) == 1


@_names()
def test_nothing_is_published_beyond_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_each_published_port_is_one_that_is_listened_on_and_only_the_two_producers_share_one() -> None:
    published = [(port, name) for name, service in SERVICES.items() for port in service.get("ports", [])]
    ports: dict[str, set[str]] = {}
    for port, name in published:
        ports.setdefault(port.split(":")[1], set()).add(name)
    shared = {port: names for port, names in ports.items() if len(names) > 1}
    # Whichever comes second cannot start: both would write to the same topic.
    assert shared == {str(DEFAULTS.producer_http_port): {"exchange", "producer-live"}}
    assert SERVICES["reader"]["ports"] == [f"127.0.0.1:{DEFAULTS.reader_port}:{DEFAULTS.reader_port}"]


def test_there_may_be_any_number_of_workers() -> None:
    assert SERVICES["worker"].keys().isdisjoint({"container_name", "ports", "hostname"})
    assert SERVICES["worker"]["volumes"] == [str(settings_of(_environment("worker")).data_dir)]
    assert "NT_NODE_ID" not in SERVICES["worker"]["environment"]


def _environment(name: str) -> dict[str, str]:
    """Return what a process has: the variables of its image that are settings, and those of the service."""
    image = IMAGES.environment(OURS[name]["build"]["target"])
    settings = {key: value for key, value in image.items() if key.startswith("WORKER_")}
    given: dict[str, str] = OURS[name].get("environment", {})
    return settings | given


@_names()
def test_every_container_runs_without_rights_and_within_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["mem_limit"]
    assert ("cpus" in service) != (name == "worker"), "a worker that is held back misses heartbeats"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    if name != "redpanda":  # its start script writes its own configuration
        assert service["read_only"] is True
        assert service["tmpfs"]
    if name not in OURS and name != "redpanda":  # whose image has a user of its own
        assert not service["user"].startswith(("0", "root"))


@_names()
def test_whatever_waits_for_a_container_waits_for_something_that_comes(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        needed = SERVICES[other]
        assert set(needed.get("profiles", [])) <= set(SERVICES[name].get("profiles", [])), "else it would not start"
        match how["condition"]:
            case "service_healthy":
                own = IMAGES.last(needed["build"]["target"], "HEALTHCHECK") if "build" in needed else None
                assert "healthcheck" in needed or own
            case "service_completed_successfully":
                assert needed["restart"] == "no"
            case other_condition:
                assert other_condition == "service_started"


def test_everything_that_uses_kafka_starts_behind_the_topics() -> None:
    for name, service in OURS.items():
        if "KAFKA_BROKERS" in service.get("environment", {}) and name != "topics":
            assert service["depends_on"]["topics"] == {"condition": "service_completed_successfully"}, name


def test_either_the_replay_server_or_binance_and_never_both() -> None:
    replay = {name for name, service in SERVICES.items() if service.get("profiles") == ["replay"]}
    live = {name for name, service in SERVICES.items() if service.get("profiles") == ["live"]}
    assert replay == {"exchange", "producer"}
    assert live == {"producer-live"}
    assert SERVICES["producer"]["network_mode"] == "service:exchange", "which listens on loopback only"
    port = parsed(SERVICES["exchange"]["command"]).port
    settings = settings_of(SERVICES["producer"]["environment"])
    assert settings.binance_http_url == f"http://127.0.0.1:{port}"
    assert settings.binance_ws_url == f"ws://127.0.0.1:{port}"
    live_settings = settings_of(SERVICES["producer-live"]["environment"])
    assert live_settings.binance_http_url is None
    assert live_settings.binance_ws_url is None


@_names()
def test_a_container_has_the_time_to_stop_that_its_process_takes(name: str) -> None:
    # Read, not imported: NautilusTrader takes a second and warns of what it imports.
    flush = re.search(r"^FLUSH_LIMIT_SEC: Final = ([\d.]+)$", (ROOT / "producer" / "node.py").read_text(), re.MULTILINE)
    assert flush is not None
    producer = float(flush[1]) + 5
    # 15 s of a worker that hangs while it stops, and 3 s in which others leave the group for it.
    needed = {"producer": producer, "producer-live": producer, "worker": 18.0}
    if name in ("topics", "console"):
        return  # they have nothing to finish
    assert _seconds(SERVICES[name]["stop_grace_period"]) >= needed.get(name, 2.0)


@_names()
def test_every_file_that_is_mounted_exists_and_cannot_be_changed_inside(name: str) -> None:
    volumes = msgspec.yaml.decode(compose.PATH.read_text())["volumes"]
    for volume in SERVICES[name].get("volumes", []):
        source, _, rest = volume.rpartition(":") if volume.endswith(":ro") else volume.partition(":")
        if source.startswith("./"):
            assert volume.endswith(":ro")
            assert (ROOT / source.split(":")[0]).exists(), source
        elif rest:
            assert source in volumes


@_names()
def test_every_health_check_asks_for_what_is_there(name: str) -> None:
    service = SERVICES[name]
    check = service.get("healthcheck", {}).get("test", [])
    for word in check:
        if word.endswith(".py"):
            folder = "deploy/docker"
            assert (ROOT / folder / Path(word).name).is_file()
    if name == "exchange":
        assert check[-1] == f"http://127.0.0.1:{parsed(service['command']).port}/api/v3/ping"
    if name == "prometheus":
        assert "127.0.0.1:9090" in check[-1]


def test_prometheus_finds_every_process_by_its_name_and_its_own_port() -> None:
    config = msgspec.yaml.decode((ROOT / "deploy" / "prometheus" / "compose.yml").read_text())
    known = set(SERVICES) | {
        alias
        for service in SERVICES.values()
        for alias in service.get("networks", {}).get("default", {}).get("aliases", [])
    }
    jobs = {job["job_name"].removeprefix("context8-"): job for job in config["scrape_configs"]}
    for name, ports in PORTS.items():
        (discovery,) = jobs[name]["dns_sd_configs"]
        assert discovery["names"] == [name]
        assert discovery["port"] in ports
    assert jobs["worker"]["dns_sd_configs"][0]["port"] == DEFAULTS.metrics_port, "not the one of its web pages"
    for job in jobs.values():
        for discovery in job.get("dns_sd_configs", []):
            assert set(discovery["names"]) <= known
    mount = "./deploy/prometheus:/etc/prometheus:ro"
    assert mount in SERVICES["prometheus"]["volumes"]
    assert "--config.file=/etc/prometheus/compose.yml" in SERVICES["prometheus"]["command"]
    assert all((ROOT / "deploy" / "prometheus" / rules).is_file() for rules in config["rule_files"])


def test_grafana_finds_prometheus_and_the_dashboards_where_its_provisioning_looks() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = msgspec.yaml.decode((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in SERVICES["prometheus"]["ports"]
    (provider,) = msgspec.yaml.decode((folder / "dashboards" / "context8.yml").read_text())["providers"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


@_names()
def test_images_are_pinned_and_name_no_registry(name: str) -> None:
    repository, _, tag = SERVICES[name]["image"].rpartition(":")
    assert "." not in repository.split("/")[0], "a registry's address"
    assert name in OURS or re.fullmatch(r"v?\d+\.\d+\.\d+(-alpine)?", tag), tag
