"""One real Prometheus as a child process on loopback, with the rules of deploy/prometheus.

It is an installed one (Debian's package `prometheus`), as no wheel brings it. What it scrapes, how often and by which
rules is written to its folder; the names of its jobs are those of deploy/prometheus/prometheus.yml, on which alerts and
dashboards rest.
"""

import json
import os
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from app.stack.errors import StackError
from app.stack.ports import LOOPBACK, Ports, free_ports, require_free
from app.stack.process import Child

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"
_START_LIMIT_SEC: Final = 30.0
_MISSING: Final = (
    "{} is not installed: run scripts/setup-prometheus, or install it "
    "(Debian/Ubuntu: apt-get install prometheus; macOS: brew install prometheus)"
)

Targets = Mapping[str, Sequence[str]]
"""Addresses, `host:port`, by the name of their job."""


def find_program(name: str = "prometheus", environ: Mapping[str, str] = os.environ) -> Path:
    """Return the program `prometheus` or `promtool`.

    Raises:
        StackError: it is not on PATH; the line says what to install.
    """
    found = shutil.which(name, path=environ.get("PATH", ""))
    if found is None:
        raise StackError(_MISSING.format(name))
    return Path(found)


def targets(ports: Ports, workers: int) -> dict[str, list[str]]:
    """Return what to scrape of a system with these ports."""
    return {
        "context8-producer": [f"{LOOPBACK}:{ports.producer}"],
        "context8-worker": [f"{LOOPBACK}:{ports.of_worker(index)[1]}" for index in range(workers)],
        "context8-reader": [f"{LOOPBACK}:{ports.reader}"],
    }


class Prometheus:
    """A Prometheus; as a context manager it is started and stopped.

    Args:
        folder: configuration, data and log, made if absent.
        targets: what is scraped.
        port: where it answers; a free one by default.
        rules: files of rules, by default those of the project.
        interval: time between two scrapes and between two evaluations of the rules, as Prometheus writes it.

    Raises:
        StackError: it is not installed, or the rules are not there.
    """

    def __init__(
        self,
        folder: Path,
        targets: Targets,
        *,
        port: int | None = None,
        rules: Sequence[Path] | None = None,
        interval: str = "1s",
    ) -> None:
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self._targets = targets
        self._rules = sorted(RULES.glob("*.yml")) if rules is None else list(rules)
        self._interval = interval
        if not self._rules:
            raise StackError(f"there are no rules in {RULES}: run from a checkout of the project")
        options = {
            "config.file": self._config_file,
            "storage.tsdb.path": folder / "data",
            "storage.tsdb.retention.time": "1d",
            "web.listen-address": f"{LOOPBACK}:{self.port}",
            "log.level": "warn",
        }
        command = [str(find_program()), *(f"--{name}={value}" for name, value in options.items())]
        self.process = Child("prometheus", command, log=folder / "prometheus.log", cwd=folder)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def alerts_url(self) -> str:
        """The page of its alerts, once it runs; Debian's has only the older pages."""
        newer = f"{self.url}/alerts"
        try:
            with urllib.request.urlopen(newer, timeout=1.0):  # noqa: S310  # loopback only
                return newer
        except OSError:
            return f"{self.url}/classic/alerts"

    def start(self, limit: float = _START_LIMIT_SEC) -> float:
        """Start it and return the seconds until it was ready.

        Raises:
            StackError: the port is taken, or it did not come up within `limit` seconds; with the log's end.
        """
        require_free(self.port, "prometheus")
        self.folder.mkdir(parents=True, exist_ok=True)
        # JSON is YAML, too.
        self._config_file.write_text(json.dumps(self._config(), indent=1), encoding="utf-8")
        self.process.start()
        return self.process.wait_ready(self._is_ready, limit)

    def stop(self, limit: float = 5.0) -> int | None:
        """Stop it cleanly, by force after `limit` seconds; return the exit code."""
        return self.process.stop(limit)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _config_file(self) -> Path:
        return self.folder / "prometheus.yml"

    def _config(self) -> dict[str, Any]:
        return {
            "global": {
                "scrape_interval": self._interval,
                "scrape_timeout": self._interval,
                "evaluation_interval": self._interval,
            },
            "rule_files": [str(path.resolve()) for path in self._rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
                for job, addresses in self._targets.items()
            ],
        }

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:  # noqa: S310  # loopback only
                return bool(answer.status == 200)
        except OSError:
            return False
