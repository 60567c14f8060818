"""context8: live market microstructure reports from Kafka.

`app.app` is the Faust application, built from the environment the first time it is asked for, so that
`faust -A app worker` works and importing any other part of the package stays free of side effects.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "app":
        from app import settings
        from app.main import create_app

        globals()["app"] = create_app(settings.load())
        return globals()["app"]
    raise AttributeError(f"module 'app' has no attribute {name!r}")
