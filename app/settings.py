"""Every setting of every role, read from the environment and `.env`, checked before anything starts.

A field is an environment variable of the same name in capitals. Its type carries what is allowed, its
`_DESCRIPTIONS` entry what it does; `.env.example` is generated from both (`make env-example`). This module
is the only one that reads the environment.

A secret may come in a file instead, whose name is in the variable with `_FILE` behind it. Inside it is a `Secret`,
which nothing shows; a password in REDIS_URL is taken out of it and becomes one.
"""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from dotenv import dotenv_values
from msgspec import Meta

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from app.security import redis_address
from app.security.secret import HIDDEN, Secret, without_password
from app.settings_rules import contradiction, unusable_file


def _form(pattern: str, allowed: str) -> Meta:
    """Return a constraint that says in words what its pattern allows."""
    return Meta(pattern=pattern, description=allowed)


Port = Annotated[int, Meta(ge=1, le=65535)]
_PORT = r"(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"  # in the text of an address
Symbols = Annotated[tuple[str, ...], Meta(min_length=1, max_length=1000)]
Pattern = Annotated[str, Meta(pattern=r"^[A-Z0-9*?]{1,20}$")]
Patterns = Annotated[tuple[Pattern, ...], Meta(min_length=1, max_length=1000)]
File = Annotated[str, _form(r"^[^\x00]+$", "the name of a file in PEM that can be read")]


class SettingsError(ValueError):
    """One line that names the variable, the value and what is allowed."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings; see `.env.example` for what each does."""

    symbols: Symbols = ("BTCUSDT", "ETHUSDT")
    kafka_brokers: Annotated[
        str, _form(rf"^[^\s,:/]+:{_PORT}(,[^\s,:/]+:{_PORT})*$", "host:port, several separated by commas")
    ] = "127.0.0.1:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    kafka_username: str | None = None
    kafka_password: Secret | None = None
    kafka_ca_file: File | None = None
    kafka_cert_file: File | None = None
    kafka_key_file: File | None = None
    # No options behind it: they could switch the check of certificates off, or hold a password.
    redis_url: Annotated[
        str,
        _form(redis_address.PATTERN, redis_address.ALLOWED),
    ] = "redis://127.0.0.1:6379/0"
    redis_password: Secret | None = None
    redis_sentinel_password: Secret | None = None
    # Part of keys, of patterns that find keys, and of what is logged.
    redis_prefix: Annotated[
        str, _form(r"^[A-Za-z0-9._:-]{1,64}$", "1 to 64 letters, digits, dots, hyphens, underscores or colons")
    ] = ""
    redis_ca_file: File | None = None
    binance_api_key: Secret | None = None
    binance_api_secret: Secret | None = None
    binance_http_url: Annotated[str, _form(r"^https?://[^\s]+$", "an http:// or https:// address")] | None = None
    binance_ws_url: Annotated[str, _form(r"^wss?://[^\s]+$", "a ws:// or wss:// address")] | None = None
    exchange_idle_ms: Annotated[int, Meta(ge=200, le=600_000)] = 5000
    events_topic: Annotated[
        str, _form(r"^[A-Za-z0-9._-]{1,200}$", "1 to 200 letters, digits, dots, hyphens or underscores")
    ] = "nt.binance"
    events_partitions: Annotated[int, Meta(ge=1, le=1024)] = 32
    topic_replication: Annotated[int, Meta(ge=1, le=7)] | Literal["auto"] = "auto"
    worker_group: Annotated[
        str, _form(r"^[A-Za-z0-9._-]{1,100}$", "1 to 100 letters, digits, dots, hyphens or underscores")
    ] = "context8"
    worker_symbols: Patterns = ("*",)
    partition_symbols: Annotated[int, Meta(ge=1, le=100_000)] = 100
    forget_after_sec: Annotated[int, Meta(ge=1, le=31_536_000)] = 86_400
    worker_data_dir: Annotated[str, Meta(min_length=1)] | None = None
    worker_web_port: Port = 6066
    session_timeout_ms: Annotated[int, Meta(ge=500, le=80_000)] = 1500
    fast_cycle_ms: Annotated[int, Meta(ge=100, le=250)] = 250
    snapshot_interval_ms: Annotated[int, Meta(ge=100, le=60_000)] = 3000
    slow_cycle_ms: Annotated[int, Meta(ge=1000, le=5000)] = 2000
    slow_cycle_mode: Literal["skip", "process"] = "skip"
    slow_lag_events: Annotated[int, Meta(ge=1, le=10_000_000)] = 2000
    report_window_sec: Annotated[int, Meta(ge=60, le=86_400)] = 1800
    flow_window_sec: Annotated[int, Meta(ge=1, le=3600)] = 30
    degraded_after_ms: Annotated[int, Meta(ge=100, le=60_000)] = 1000
    down_after_ms: Annotated[int, Meta(ge=200, le=600_000)] = 10_000
    cache_ttl_sec: Annotated[int, Meta(ge=1, le=86_400)] = 300
    nt_node_id: (
        Annotated[str, _form(r"^[A-Za-z0-9._-]{1,64}$", "1 to 64 letters, digits, dots, hyphens or underscores")] | None
    ) = None
    nt_metrics_port: Port | None = None
    metrics_host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    producer_http_port: Port = 9081
    producer_queue_limit: Annotated[int, Meta(ge=100, le=10_000_000)] = 100_000
    reader_host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    reader_port: Port = 8080
    reader_tokens_file: Annotated[str, Meta(min_length=1)] | None = None
    reader_rate_limit: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    stale_after_ms: Annotated[int, Meta(ge=500, le=600_000)] = 2000
    timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 150
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otel_exporter_otlp_endpoint: (
        Annotated[str, _form(r"^https?://[^\s]+$", "an http:// or https:// address")] | None
    ) = None
    traces_per_sec: Annotated[int, Meta(ge=1, le=10)] = 1

    @property
    def kafka_uses_tls(self) -> bool:
        """Whether connections to Kafka are encrypted."""
        return self.kafka_security_protocol.endswith("SSL")

    @property
    def kafka_uses_sasl(self) -> bool:
        """Whether Kafka is told who we are by user name and password."""
        return self.kafka_security_protocol.startswith("SASL")

    @property
    def dlq_topic(self) -> str:
        """Where unusable messages go."""
        return f"{self.events_topic}.dlq"

    @property
    def metrics_port(self) -> int:
        """Prometheus port of a worker: `NT_METRICS_PORT`, else as far from 9101 as its web port is from 6066."""
        return self.nt_metrics_port or (9101 + self.worker_web_port - 6066) % 65536 or 9101

    @property
    def data_dir(self) -> Path:
        """Where a worker keeps its tables: `WORKER_DATA_DIR`, else a folder named after its web port."""
        return Path(self.worker_data_dir or f"data/worker-{self.worker_web_port}")

    @property
    def node_id(self) -> str:
        """Name of this process in reports and logs: `NT_NODE_ID`, else host name and process id."""
        return self.nt_node_id or f"{re.sub(r'[^A-Za-z0-9._-]', '-', socket.gethostname())[:40]}-{os.getpid()}"

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The texts that no line of a log may show, wherever a library puts them (`app.logs`)."""
        return tuple(secret.reveal() for name in sorted(SECRETS) if (secret := getattr(self, name)) is not None)


SECRETS: Final = frozenset(
    {"kafka_password", "redis_password", "redis_sentinel_password", "binance_api_key", "binance_api_secret"}
)

_DESCRIPTIONS: Final[dict[str, str]] = {
    "symbols": "what the producer subscribes to, separated by commas",
    "kafka_brokers": "host:port of Kafka or Redpanda brokers, separated by commas",
    "kafka_security_protocol": "how to connect to Kafka: SSL encrypts, SASL says who we are",
    "kafka_sasl_mechanism": "how the password is shown to Kafka; SCRAM never sends it",
    "kafka_username": "user of Kafka, with SASL",
    "kafka_password": "password of that user (secret)",
    "kafka_ca_file": "authorities that Kafka's certificate may be of, with SSL; default those of the machine",
    "kafka_cert_file": "certificate of our own for brokers that want one, with SSL",
    "kafka_key_file": "key of that certificate, without a pass phrase",
    "redis_url": "Redis or Valkey that holds the reports, or Sentinels that know it; rediss encrypts",
    "redis_password": "password of the user in REDIS_URL, or of Redis' default user (secret)",
    "redis_sentinel_password": "password of the Sentinels, if they want one (secret)",
    "redis_prefix": "put before every key and channel, so that several systems can share a Redis; default none",
    "redis_ca_file": "authorities that Redis' certificate may be of, with rediss; default those of the machine",
    "binance_api_key": "Binance API key; public market data needs none (secret)",
    "binance_api_secret": "Binance API secret (secret)",
    "binance_http_url": "REST address in place of Binance's own, e.g. of `context8 exchange`",
    "binance_ws_url": "WebSocket address in place of Binance's own",
    "exchange_idle_ms": "silence of a connection to the exchange after which the producer asks whether it still stands",
    "events_topic": "topic of market events; <topic>.dlq takes unusable ones",
    "events_partitions": "partitions of the events topic: the most workers that can share it",
    "topic_replication": "copies of each topic that `context8 topics` creates; auto is one a broker, at most 3",
    "worker_group": "consumer group of the workers and prefix of their table topics",
    "worker_symbols": "names that a worker takes in, or patterns such as *USDT, separated by commas",
    "partition_symbols": "symbols that each partition of the events topic may have; new names beyond go aside",
    "forget_after_sec": "silence after which a worker gives a symbol up, while others are heard of",
    "worker_data_dir": "folder of the tables, one for each worker of a host; default data/worker-<WORKER_WEB_PORT>",
    "worker_web_port": "Faust's web port",
    "session_timeout_ms": "silence after which the broker gives a worker's partitions away",
    "fast_cycle_ms": "time between two reports of a symbol",
    "snapshot_interval_ms": "time between two snapshots of a symbol's state",
    "slow_cycle_ms": "time between two computations of a symbol's liquidity and anomalies",
    "slow_cycle_mode": "skip slow cycles while the worker lags, or move them to a process of their own",
    "slow_lag_events": "events not yet read, over all partitions, beyond which a worker lags",
    "report_window_sec": "event-time window of the volume profile",
    "flow_window_sec": "event-time window of net_flow",
    "degraded_after_ms": "age of the newest event beyond which ingestion is `degraded`",
    "down_after_ms": "age of the newest event beyond which ingestion is `down`",
    "cache_ttl_sec": "life of a report in Redis",
    "nt_node_id": "name of this process in reports and logs; default host name and process id",
    "nt_metrics_port": "Prometheus port of a worker; default 9101 for web port 6066, 9102 for 6067 and so on",
    "metrics_host": "address that /health and /metrics of producer and worker listen on; 0.0.0.0 in a container",
    "producer_http_port": "/health and /metrics of the producer",
    "producer_queue_limit": "events that may wait for Kafka in the producer",
    "reader_host": "address that the reader listens on",
    "reader_port": "port of the reader: MCP at /mcp, HTTP beside it",
    "reader_tokens_file": "file of bearer tokens that the reader asks for, name:token a line, read anew when changed",
    "reader_rate_limit": "requests a second that one client of the reader may send, 0 for any number",
    "stale_after_ms": "silence of a report's writer after which the reader marks the report stale and down",
    "timeout_ms": "limit for every answer of the reader",
    "log_level": "how much is logged",
    "otel_exporter_otlp_endpoint": "OpenTelemetry collector for traces (OTLP over HTTP); none are made without it",
    "traces_per_sec": "events a second that a producer has traced, where traces are on",
}


def load(environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """Return the settings; variables of the environment win over those of `env_file`.

    Raises:
        SettingsError: a value is not allowed; the message names variable, value and what is allowed.
    """
    from_file = {k: v for k, v in dotenv_values(env_file).items() if v is not None} if env_file else {}
    values = {**from_file, **(os.environ if environ is None else environ)}
    hints = get_type_hints(Settings, include_extras=True)
    given = {
        name: _convert(name, text, hints[name])
        for name in hints
        if name not in SECRETS and (text := values.get(name.upper(), "").strip())
    }
    given |= {name: secret for name in sorted(SECRETS) if (secret := _secret(name, values)) is not None}
    if "redis_url" in given:
        given["redis_url"], password = without_password(given["redis_url"])
        if password and given.setdefault("redis_password", password) != password:
            raise SettingsError("REDIS_PASSWORD is not allowed: REDIS_URL has another password; give it once")
    settings = Settings(**given)
    problem = contradiction(settings) or unusable_file(settings)
    if problem:
        raise SettingsError(problem)
    return settings


def _secret(name: str, values: Mapping[str, str]) -> Secret | None:
    """Return a secret that a variable or a file holds, `None` if neither does."""
    variable = f"{name.upper()}_FILE"
    given, file = values.get(name.upper(), "").strip(), values.get(variable, "").strip()
    if not file:
        return Secret(given) if given else None
    if given:
        raise SettingsError(f"{variable} is not allowed: {name.upper()} is set as well; give it once")
    try:
        return Secret.of_file(Path(file))
    except ValueError as error:
        allowed = "a file that holds the secret and nothing else"
        raise SettingsError(f"{variable}={file[:120]!r} is not allowed: {allowed}: {error}") from None


def env_example() -> str:
    """Return the text of `.env.example`: every variable with its default and what is allowed."""
    hints = get_type_hints(Settings, include_extras=True)
    lines = ["# Every setting of context8 with its default; copy to .env and edit. Made by `make env-example`."]
    for field in msgspec.structs.fields(Settings):
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        lines += [
            "",
            f"# {_DESCRIPTIONS[field.name]}; {_allowed(field.name, hints[field.name])}",
            f"# {field.name.upper()}={'' if default is None else default}",
        ]
        if field.name in SECRETS:
            lines += ["# or the name of a file that holds it", f"# {field.name.upper()}_FILE="]
    return "\n".join(lines) + "\n"


def _convert(name: str, text: str, hint: Any) -> Any:
    raw: Any = tuple(part.strip() for part in text.split(",")) if hint in (Symbols, Patterns) else text
    try:
        value = msgspec.convert(raw, hint, strict=False)
    except msgspec.ValidationError:
        raise _refused(name, text, hint) from None
    if hint is Symbols and (not all(map(is_symbol, value)) or len(set(value)) < len(value)):
        raise _refused(name, text, hint)
    return value


def _refused(name: str, text: str, hint: Any) -> SettingsError:
    # What comes before an @ in an address may be a password.
    shown = HIDDEN if "@" in text else repr(text[:120])
    return SettingsError(f"{name.upper()}={shown} is not allowed: {_allowed(name, hint)}")


def _allowed(name: str, hint: Any) -> str:
    if hint is Symbols:
        return f"a comma-separated list without repeats, each {SYMBOL_ALLOWED}"
    if hint is Patterns:
        return "a comma-separated list of A-Z, 0-9, * for any characters and ? for one, each 1 to 20 long"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    metas = [m for part in (hint, *get_args(hint)) for m in getattr(part, "__metadata__", ())]
    words = [word for part in get_args(hint) if get_origin(part) is Literal for word in get_args(part)]
    for meta in metas:
        if meta.ge is not None:
            return " or ".join([f"a whole number from {meta.ge} to {meta.le}", *words])
        if meta.description:
            return str(meta.description)
    return "text that is not empty"
