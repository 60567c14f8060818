"""What a worker says of itself over HTTP, on Faust's web port.

| path            | answers                                                                                          |
|-----------------|--------------------------------------------------------------------------------------------------|
| `/health`       | 200 while the event loop turns, with what was checked, `problems` and what the worker owns        |
| `/health/ready` | the same, with 503 unless all is well and no rebalance is under way                              |
| `/health/live`  | 200 while the event loop turns, and no more: what a restart would not mend is no reason for one   |
"""

from collections.abc import Callable
from typing import Any

from agents.owned import Owned
from app.settings import Settings
from app.transport import BatchApp


def add_health_pages(app: BatchApp, config: Settings, owned: Owned, problems: Callable[[], list[str]]) -> None:
    """Add the pages to `app`; `problems` says in a line each what keeps the worker from doing its work."""

    def state() -> dict[str, Any]:
        found = problems()
        return {
            "status": "degraded" if found else "rebalancing" if app.rebalancing else "ok",
            "checked": "reports written to Redis, snapshots and commits taken by Kafka",
            "problems": found,
            "node_id": config.node_id,
            "partitions": sorted(owned.partitions),
            "symbols": {
                name: {"epoch": symbol.epoch, "offset": symbol.engine.offset, "fenced": symbol.fenced}
                for name, symbol in sorted(owned.symbols.items())
            },
        }

    @app.page("/health")
    async def health(web: Any, _: Any) -> Any:
        return web.json(state())

    @app.page("/health/ready")
    async def ready(web: Any, _: Any) -> Any:
        now = state()
        return web.json(now, status=200 if now["status"] == "ok" else 503)

    @app.page("/health/live")
    async def live(web: Any, _: Any) -> Any:
        return web.json({"status": "ok"})
