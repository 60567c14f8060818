"""Is Kafka there, does it let us in, and are its topics and limits what workers need?"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, Final

from aiokafka.errors import KafkaError

from app.doctor.copies_checks import copies_findings
from app.doctor.findings import Finding, error, ok, warning
from app.kafka_admin import ask, topic_settings
from app.preflight import session_problem
from app.security.errors import AccessError
from app.security.kafka import kafka_security, lacks_right, require_kafka
from app.settings import Settings
from app.topics import TopicSpec, plan

# Without these a worker loses its snapshots, or cannot write them; the others only cost time or space.
_VITAL: Final = ("cleanup.policy", "max.message.bytes")
_TRIES: Final = 10
_PAUSE_SEC: Final = 0.5


async def kafka_findings(config: Settings) -> AsyncIterator[Finding]:
    """Yield what there is to say about Kafka; no more than one finding if it does not let us in."""
    try:
        await require_kafka(config.kafka_brokers, kafka_security(config))
    except AccessError as refusal:
        yield error("kafka", "refuses us", str(refusal))
        return
    except (KafkaError, OSError) as absence:
        yield error("kafka", "does not answer", f"check that KAFKA_BROKERS={config.kafka_brokers} runs ({absence})")
        return
    yield _let_in(config)
    try:
        for finding in await ask(config, partial(_topic_findings, config)):
            yield finding
        problem = await _session_problem(config)
    except (KafkaError, OSError) as failure:
        advice = lacks_right(config, failure) or "look into the broker's log"
        yield error("kafka", f"does not say how it is set up: {failure!r}", advice)
        return
    yield (
        error("session timeout", "the broker refuses ours", problem)
        if problem
        else ok("session timeout", f"SESSION_TIMEOUT_MS={config.session_timeout_ms} is within the broker's limits")
    )


def _let_in(config: Settings) -> Finding:
    protocol = config.kafka_security_protocol
    if protocol == "SASL_PLAINTEXT" and config.kafka_sasl_mechanism == "PLAIN":
        return warning("kafka", "takes our password as plain text", "use SASL_SSL or a SCRAM mechanism")
    user = f" as {config.kafka_username}" if config.kafka_username else ""
    return ok("kafka", f"{config.kafka_brokers} lets us in{user} ({protocol})")


async def _session_problem(config: Settings) -> str | None:
    """Ask again for a while: a broker whose groups nobody has used yet has to make its topic of offsets first."""
    for _ in range(_TRIES):
        try:
            return await session_problem(config)
        except KafkaError as failure:
            if not failure.retriable:
                raise
            await asyncio.sleep(_PAUSE_SEC)
    return await session_problem(config)


async def _topic_findings(config: Settings, admin: Any) -> list[Finding]:
    findings = []
    existing = set(await admin.list_topics())
    for spec in plan(config):
        check = f"topic {spec.name}"
        if spec.name not in existing:
            findings.append(error(check, "is missing", "run `context8 topics`"))
            continue
        (described,) = await admin.describe_topics([spec.name])
        settings = await topic_settings(admin, spec.name)
        findings.append(_topic_finding(check, spec, len(described["partitions"]), settings))
    return findings + await copies_findings(config, admin, existing)


def _topic_finding(check: str, spec: TopicSpec, partitions: int, found: Mapping[str, str]) -> Finding:
    if partitions != spec.partitions:
        advice = f"set EVENTS_PARTITIONS={partitions}, or delete the topic and its changelog and run `context8 topics`"
        return error(check, f"has {partitions} partitions, {spec.partitions} are wanted", advice)
    other = {name: value for name, value in spec.config.items() if found.get(name) != value}
    other |= {name: str(least) for name, least in spec.least.items() if int(found.get(name, least)) < least}
    if not other:
        return ok(check, f"has {partitions} partitions and the settings that are wanted")
    differs = "has " + ", ".join(f"{name}={found.get(name)}" for name in other)
    wanted = " ".join(f"--set {name}={value}" for name, value in other.items())
    advice = f"`rpk topic alter-config {spec.name} {wanted}`, or kafka-configs, unless it is meant so"
    vital = any(name in other and name in spec.config for name in _VITAL)
    return (error if vital else warning)(check, differs, advice)
