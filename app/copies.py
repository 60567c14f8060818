"""How many brokers keep a topic, how many of them must have a record before it counts, and what a topic lacks.

With three copies, of which two must have a record before it is acknowledged, any one broker may be lost: nothing that
was acknowledged goes with it, and writing goes on. Two copies cannot have both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

MIN_IN_SYNC: Final = "min.insync.replicas"
GROUP_OFFSETS: Final = "__consumer_offsets"
_ENOUGH: Final = 3


class Copies(msgspec.Struct, frozen=True):
    """Copies of each partition, and how many must have a record; `None` where the brokers do not say."""

    replicas: int
    in_sync: int | None

    def __str__(self) -> str:
        must = f", {self.in_sync} of which must have a record" if self.in_sync is not None and self.replicas > 1 else ""
        return f"{self.replicas} {'copy' if self.replicas == 1 else 'copies'}{must}"

    @property
    def config(self) -> dict[str, str]:
        """What has to be set on the topic; below three copies the brokers' own default will do."""
        return {MIN_IN_SYNC: str(self.in_sync)} if self.replicas >= _ENOUGH else {}


def wanted(setting: int | Literal["auto"], brokers: int) -> Copies:
    """Return what TOPIC_REPLICATION means where there are so many brokers."""
    replicas = min(_ENOUGH, max(1, brokers)) if setting == "auto" else setting
    return Copies(replicas, 2 if replicas >= _ENOUGH else 1)


def found(partitions: Sequence[Mapping[str, Any]], config: Mapping[str, str]) -> Copies:
    """Return what a topic has, from its description and settings; of its partitions the one with the fewest copies."""
    in_sync = config.get(MIN_IN_SYNC)
    return Copies(min(len(each["replicas"]) for each in partitions), int(in_sync) if in_sync else None)


def shortfall(has: Copies, wants: Copies) -> str | None:
    """Return in some words what a topic that `has` these copies lacks, `None` if nothing."""
    if has.replicas < wants.replicas:
        return f"has {has}, not {wants.replicas}: what is lost with a broker's disk is lost"
    if has.in_sync is None:
        return None
    if has.in_sync < (wants.in_sync or 1):
        return (
            f"has {MIN_IN_SYNC}={has.in_sync}, not {wants.in_sync}: an acknowledged record may be lost with one broker"
        )
    if has.replicas > 1 and has.in_sync >= has.replicas:
        return (
            f"has {MIN_IN_SYNC}={has.in_sync} of {has.replicas} copies: nothing can be written while a broker is away"
        )
    return None


def troubled(partitions: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
    """Return the partitions that nobody leads, and those of which a copy is not in sync."""
    offline = sorted(each["partition"] for each in partitions if each["leader"] < 0)
    behind = sorted(each["partition"] for each in partitions if len(each["isr"]) < len(each["replicas"]))
    return offline, [partition for partition in behind if partition not in offline]
