"""Would the loss of a broker cost events or snapshots, or stop the writing? And has one gone already?

Looked at are our topics and Kafka's own topic of committed offsets, whose loss would send every worker back to the
beginning of its partitions.
"""

from collections.abc import Collection, Sequence
from typing import Any

from aiokafka.errors import TopicAuthorizationFailedError

from app import copies
from app.copies import GROUP_OFFSETS, Copies
from app.doctor.findings import Finding, error, ok, warning
from app.kafka_admin import topic_settings
from app.settings import Settings
from app.topics import broker_count, plan

_RUNBOOK = "see docs/runbooks/kafka.md"


async def copies_findings(config: Settings, admin: Any, existing: Collection[str]) -> list[Finding]:
    """Return a finding for each topic that is not as safe as the brokers allow, or one that all are."""
    brokers = await broker_count(admin)
    wants = copies.wanted(config.topic_replication, brokers)
    findings: list[Finding] = []
    for topic in [spec.name for spec in plan(config) if spec.name in existing]:
        findings += await _of_topic(admin, topic, wants)
    # Nobody chose its copies by our setting: it should have as many as the brokers allow.
    findings += await _of_topic(admin, GROUP_OFFSETS, copies.wanted("auto", brokers))
    if findings:
        return findings
    return [ok("copies", f"{brokers} broker{'s' * (brokers > 1)}: each topic has {wants}, all in sync")]


async def _of_topic(admin: Any, topic: str, wants: Copies) -> list[Finding]:
    (described,) = await admin.describe_topics([topic])
    if described["error_code"] == TopicAuthorizationFailedError.errno:
        return []  # a user needs no right on Kafka's own topic, and who lacks one on ours is told so elsewhere
    partitions = described["partitions"]
    if not partitions:
        return []  # offsets: no group has ever committed one
    check, findings = f"copies of {topic}", []
    offline, behind = copies.troubled(partitions)
    if offline:
        findings.append(error(check, f"nobody leads {_listed(offline)}", "start the brokers that are away"))
    if behind:
        advice = "start the brokers that are away, or wait until they have caught up"
        findings.append(warning(check, f"a copy of {_listed(behind)} is not in sync", advice))
    lacks = copies.shortfall(copies.found(partitions, await topic_settings(admin, topic)), wants)
    if lacks:
        findings.append(warning(check, lacks, _RUNBOOK))
    return findings


def _listed(partitions: Sequence[int]) -> str:
    return f"partition{'s' * (len(partitions) > 1)} {', '.join(map(str, partitions))}"
