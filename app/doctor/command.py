"""`context8 doctor`: a line for each thing that must be right, and what to do where it is not.

Exit code 0 if nothing is wrong; warnings, which may be meant so, are not. Else 1.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from typing import Final

from app.doctor.findings import Finding, as_json, as_text, error, healthy
from app.settings import Settings, SettingsError, load

HELP: Final = "check everything that a deployment needs, and say what to do"
_ROLES: Final = ("all", "producer", "worker", "reader")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--role", choices=_ROLES, default="all", help="check what this part needs (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check, print the findings and return the exit code."""
    findings = asyncio.run(_examine(args.role))
    print(as_json(findings) if args.json else as_text(findings))
    return 0 if healthy(findings) else 1


async def _examine(role: str) -> list[Finding]:
    try:
        config = load()
    except SettingsError as refused:
        return [error("settings", "one is not allowed", str(refused))]
    return [finding async for finding in _findings(config, role)]


async def _findings(config: Settings, role: str) -> AsyncIterator[Finding]:
    # Imported here: a reader's installation has no Kafka client.
    from app.doctor import machine_checks, redis_checks

    if role != "reader":
        from app.doctor import kafka_checks

        async for finding in kafka_checks.kafka_findings(config):
            yield finding
    if role != "producer":
        writes, reads = role != "reader", role != "worker"
        async for finding in redis_checks.redis_findings(config, writes=writes, reads=reads):
            yield finding
    if role in ("all", "worker"):
        yield machine_checks.disk_finding(config.data_dir)
    if role in ("all", "producer"):
        needed = role == "producer" or config.binance_http_url is not None
        yield await asyncio.to_thread(machine_checks.exchange_finding, config, needed=needed)
    if role == "all":
        yield await asyncio.to_thread(machine_checks.java_finding)
