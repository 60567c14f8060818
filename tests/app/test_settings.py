from pathlib import Path

import msgspec
import pytest

from app.settings import SECRETS, Settings, SettingsError, env_example, load

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
        ("KAFKA_BROKERS", "localhost", "host:port"),
        ("REDIS_URL", "localhost:6379", "redis://host:port/db"),
        ("BINANCE_WS_URL", "http://x", "ws:// or wss://"),
        ("TIMEOUT_MS", "fast", "a whole number from 10 to 60000"),
        ("TIMEOUT_MS", "150.5", "a whole number from 10 to 60000"),
        ("READER_PORT", "70000", "a whole number from 1 to 65535"),
        ("FAST_CYCLE_MS", "99", "a whole number from 100 to 250"),
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


def test_the_example_file_is_up_to_date_and_lists_every_variable() -> None:
    assert (ROOT / ".env.example").read_text() == env_example(), "run `make env-example`"
    for field in msgspec.structs.fields(Settings):
        assert f"\n# {field.name.upper()}=" in env_example()


def test_the_examples_defaults_are_allowed_values(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    lines = env_example().splitlines()
    file.write_text("\n".join(line.removeprefix("# ") for line in lines if line.startswith("# ") and "=" in line[:40]))
    assert load({}, file) == Settings()


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
