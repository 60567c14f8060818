from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from app.security.secret import Secret
from app.settings import SECRETS, Settings, SettingsError, env_example, load
from support.certificates import Authority

ROOT = Path(__file__).parents[2]


def test_without_any_variable_every_setting_has_its_default() -> None:
    assert load({}, None) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SYMBOLS=SOLUSDT\nTIMEOUT_MS=99\n")
    config = load({"SYMBOLS": "BTCUSDT, ETHUSDT"}, file)
    assert (config.symbols, config.timeout_ms) == (("BTCUSDT", "ETHUSDT"), 99)


def test_an_empty_variable_means_the_default() -> None:
    assert load({"REDIS_URL": "  ", "NT_NODE_ID": ""}, None) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("SYMBOLS", "btcusdt", "2 to 20 of A-Z and 0-9"),
        ("SYMBOLS", "BTCUSDT,BTCUSDT", "without repeats"),
        ("SYMBOLS", ",", "2 to 20 of A-Z and 0-9"),
        ("WORKER_SYMBOLS", "BTC[AB]", "* for any characters"),
        ("WORKER_SYMBOLS", "*USDT,", "* for any characters"),
        ("PARTITION_SYMBOLS", "0", "a whole number from 1 to 100000"),
        ("KAFKA_BROKERS", "localhost", "host:port"),
        ("KAFKA_BROKERS", "localhost:99999", "host:port"),
        ("KAFKA_BROKERS", "localhost:65536", "host:port"),
        ("REDIS_URL", "localhost:6379", "redis://host:port/db"),
        ("BINANCE_WS_URL", "http://x", "ws:// or wss://"),
        ("TIMEOUT_MS", "fast", "a whole number from 10 to 60000"),
        ("TIMEOUT_MS", "150.5", "a whole number from 10 to 60000"),
        ("READER_PORT", "70000", "a whole number from 1 to 65535"),
        ("FAST_CYCLE_MS", "99", "a whole number from 100 to 250"),
        ("TOPIC_REPLICATION", "8", "a whole number from 1 to 7 or auto"),
        ("TOPIC_REPLICATION", "all", "a whole number from 1 to 7 or auto"),
        ("LOG_LEVEL", "verbose", "one of DEBUG, INFO, WARNING, ERROR"),
        ("NT_NODE_ID", "a b", "letters, digits"),
        ("DOWN_AFTER_MS", "500", "more than DEGRADED_AFTER_MS=1000"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_says_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: value}, None)
    message = str(caught.value)
    assert name in message
    assert value in message
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(("value", "means"), [("auto", "auto"), ("2", 2), ("", "auto")])
def test_copies_are_a_number_or_left_to_how_many_brokers_there_are(value: str, means: int | str) -> None:
    assert load({"TOPIC_REPLICATION": value}, None).topic_replication == means


def test_the_example_file_is_up_to_date_and_lists_every_variable() -> None:
    assert (ROOT / ".env.example").read_text() == env_example(), "run `make env-example`"
    for field in msgspec.structs.fields(Settings):
        assert f"\n# {field.name.upper()}=" in env_example()


def test_the_examples_defaults_are_allowed_values(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    lines = env_example().splitlines()
    file.write_text("\n".join(line.removeprefix("# ") for line in lines if line.startswith("# ") and "=" in line[:40]))
    assert load({}, file) == Settings()


def test_symbols_of_workers_are_a_list_of_names_and_patterns() -> None:
    assert load({"WORKER_SYMBOLS": "*USDT, BTCEUR"}, None).worker_symbols == ("*USDT", "BTCEUR")
    assert Settings().worker_symbols == ("*",)


def test_secrets_are_fields_that_exist() -> None:
    assert {field.name for field in msgspec.structs.fields(Settings)} >= SECRETS


def test_the_node_id_is_the_given_one_or_names_this_process() -> None:
    assert load({"NT_NODE_ID": "worker-1"}, None).node_id == "worker-1"
    assert load({}, None).node_id.rpartition("-")[2].isdigit()


@pytest.mark.parametrize(("web_port", "metrics_port"), [(6066, 9101), (6067, 9102), (7000, 10035), (65535, 3034)])
def test_metrics_port_and_data_folder_of_a_worker_follow_its_web_port(web_port: int, metrics_port: int) -> None:
    settings = load({"WORKER_WEB_PORT": str(web_port)}, env_file=None)
    assert (settings.metrics_port, settings.data_dir) == (metrics_port, Path(f"data/worker-{web_port}"))


def test_a_metrics_port_or_data_folder_that_is_given_counts() -> None:
    settings = load({"WORKER_WEB_PORT": "6067", "NT_METRICS_PORT": "9999", "WORKER_DATA_DIR": "/tmp/x"}, env_file=None)
    assert (settings.metrics_port, settings.data_dir) == (9999, Path("/tmp/x"))


def certificates(folder: Path) -> dict[str, str]:
    authority = Authority.in_folder(folder)
    issued = authority.issue("client")
    return {
        "KAFKA_CA_FILE": str(authority.file),
        "KAFKA_CERT_FILE": str(issued.certificate),
        "KAFKA_KEY_FILE": str(issued.key),
    }


def test_all_that_kafka_and_redis_need_for_tls_and_users_can_be_set(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    access = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_USERNAME": "context8",
        "KAFKA_PASSWORD": "kafka-word",
        "REDIS_URL": "rediss://worker:redis%20word@redis:6379/0",
        "REDIS_CA_FILE": files["KAFKA_CA_FILE"],
    }
    config = load(access | files, None)
    assert (config.kafka_uses_tls, config.kafka_uses_sasl, config.kafka_sasl_mechanism) == (True, True, "SCRAM-SHA-512")
    assert config.kafka_password == Secret("kafka-word")
    assert (config.redis_url, config.redis_password) == ("rediss://worker@redis:6379/0", Secret("redis word"))
    assert set(config.secret_values) == {"kafka-word", "redis word"}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_may_come_in_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from-a-file\n")
    needed = {
        "kafka_password": {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_USERNAME": "x"},
        "redis_sentinel_password": {"REDIS_URL": "redis+sentinel://h/mymaster"},
    }.get(name, {})
    config = load({f"{name.upper()}_FILE": str(file), **needed}, None)
    assert getattr(config, name) == Secret("from-a-file")
    assert f"\n# {name.upper()}_FILE=" in env_example()


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("", "empty"), ("two\nlines", "more than one line")]
)
def test_a_file_that_holds_no_secret_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=said) as caught:
        load({"REDIS_PASSWORD_FILE": str(file)}, None)
    assert "REDIS_PASSWORD_FILE=" in str(caught.value)
    assert "two" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "one of SCRAM-SHA-512, SCRAM-SHA-256, PLAIN"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_SSL is not allowed without KAFKA_USERNAME"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_USERNAME": "x"},
            "SASL_SSL is not allowed without KAFKA_PASSWORD",
        ),
        ({"KAFKA_PASSWORD": "word-1234"}, "KAFKA_PASSWORD is not allowed with KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
        ({"KAFKA_USERNAME": "x", "KAFKA_SECURITY_PROTOCOL": "SSL"}, "KAFKA_USERNAME is not allowed with KAFKA_SECUR"),
        ({"KAFKA_CA_FILE": "/ca.pem"}, "KAFKA_CA_FILE is not allowed with KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
        ({"REDIS_CA_FILE": "/ca.pem"}, "REDIS_CA_FILE is not allowed with a REDIS_URL of redis://"),
        (
            {"REDIS_URL": "redis://:word-1234@h:1/0", "REDIS_PASSWORD": "word-5678"},
            "REDIS_PASSWORD is not allowed: REDIS_URL has another password",
        ),
        ({"REDIS_PASSWORD": "word-1234", "REDIS_PASSWORD_FILE": "/x"}, "REDIS_PASSWORD is set as well"),
        ({"REDIS_URL": "rediss://h:1/0?ssl_cert_reqs=none"}, "nothing behind it"),
        ({"REDIS_URL": "http://:word-1234@h:1/0"}, "REDIS_URL=(hidden) is not allowed"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CA_FILE": "/no/ca.pem"}, "No such file or directory"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CERT_FILE": "/x"}, "allowed only together"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_one_line(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(given, None)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert "word-" not in message


def test_files_that_hold_no_certificate_or_another_key_are_refused(tmp_path: Path) -> None:
    files = certificates(tmp_path) | {"KAFKA_SECURITY_PROTOCOL": "SSL"}
    other = Authority(tmp_path, "other").issue("other")
    with pytest.raises(SettingsError, match=r"KAFKA_CA_FILE=.*no certificate or crl found"):
        load(files | {"KAFKA_CA_FILE": files["KAFKA_KEY_FILE"]}, None)
    with pytest.raises(SettingsError, match=r"KAFKA_KEY_FILE=.*key values mismatch"):
        load(files | {"KAFKA_KEY_FILE": str(other.key)}, None)


def test_a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    files = certificates(tmp_path) | {"KAFKA_SECURITY_PROTOCOL": "SSL"}
    key = load_pem_private_key(Path(files["KAFKA_KEY_FILE"]).read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"phrase"))
    Path(files["KAFKA_KEY_FILE"]).write_bytes(locked)
    with pytest.raises(SettingsError, match="without a pass phrase"):
        load(files, None)
