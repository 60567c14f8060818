"""What a worker says of itself over HTTP, on Faust's web port.

| path            | answers                                                                                          |
|-----------------|--------------------------------------------------------------------------------------------------|
| `/health`       | 200 while the event loop turns, with what was checked, `problems` and what the worker owns        |
| `/health/ready` | the same, with 503 while a problem keeps the worker from its work, or a rebalance is under way   |
| `/health/live`  | 200 while the event loop turns, and no more: what a restart would not mend is no reason for one   |
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from agents.owned import Owned
from app.microstructure.engine import Hole
from app.microstructure.rfc3339 import format_nanos
from app.settings import Settings
from app.transport import BatchApp
from app.worker_health import Problem

MOST_SHOWN: Final = 500
"""Symbols: probes ask every few seconds, and a topic may have thousands. What is wrong is named as a problem anyway."""


def add_health_pages(app: BatchApp, config: Settings, owned: Owned, problems: Callable[[], list[Problem]]) -> None:
    """Add the pages to `app`; `problems` says what is wrong now."""

    def state(found: list[Problem]) -> dict[str, Any]:
        return {
            "status": "degraded" if found else "rebalancing" if app.rebalancing else "ok",
            "checked": "within the last seconds: reports taken by Redis, snapshots, commits and dead letters by Kafka,"
            " the changelog read, events applied, no report refused",
            "problems": [each.text for each in found],
            "node_id": config.node_id,
            "partitions": sorted(owned.partitions),
            "symbols": shown(owned),
            "symbols_total": len(owned.symbols),
        }

    @app.page("/health")
    async def health(web: Any, _: Any) -> Any:
        return web.json(state(problems()))

    @app.page("/health/ready")
    async def ready(web: Any, _: Any) -> Any:
        found = problems()
        blocked = app.rebalancing or any(each.blocking for each in found)
        return web.json(state(found), status=503 if blocked else 200)

    @app.page("/health/live")
    async def live(web: Any, _: Any) -> Any:
        return web.json({"status": "ok"})


def shown(owned: Owned) -> dict[str, dict[str, Any]]:
    """Return what is said of each symbol, by name; of the first `MOST_SHOWN` only."""
    return {
        name: {
            "epoch": symbol.epoch,
            "offset": symbol.engine.offset,
            "fenced": symbol.fenced,
            "incomplete": _incomplete(symbol.engine.hole),
        }
        for name, symbol in islice(sorted(owned.symbols.items()), MOST_SHOWN)
    }


def _incomplete(hole: Hole | None) -> dict[str, Any] | None:
    if hole is None:
        return None
    return {"reason": hole.reason, "since": format_nanos(hole.since) if hole.since else None}
