"""Runs docker-compose.yml without an engine: its commands, variables, order, health checks, signals, on one loopback.

Started by a test as the only thing in a network, mount and PID namespace of its own, where the names of services stand
for 127.0.0.1. Our services run as their images run them, under init.py, out of this checkout in place of an image.
Kafka stands in for Redpanda; what only looks on (Prometheus, Grafana, Console) is left out. `seen.json` says what was
seen.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from app.stack.kafka import KafkaBroker, Listener
from app.stack.redis import find_redis
from support import compose, dockerfile
from support.compose import PASSWORDS, ROOT
from support.processes import descendants

OURS: Final = ("redis", "topics", "exchange", "producer", "worker", "reader")
LIMIT_SEC: Final = 120.0
_IMAGES: Final = dockerfile.read(ROOT / "deploy" / "docker" / "Dockerfile")
# A container's paths and programs: what they are here.
_HERE: Final = {"python": [sys.executable], "context8": [sys.executable, "-m", "app.cli"]}


class ByHand:
    """The services of one run; logs and data lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.services = compose.services(PASSWORDS)
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        user, password, mechanism = self.services["redpanda"]["environment"]["RP_BOOTSTRAP_USER"].split(":")
        listener = Listener("USERS", 9092, mechanisms=(mechanism,))
        self._kafka = KafkaBroker(folder / "kafka", listeners=[listener], users={user: password})

    def start(self) -> None:
        """Start everything in the order that the file gives."""
        self._kafka.start()
        for name in OURS:
            for other, how in self.services[name].get("depends_on", {}).items():
                if other != "redpanda":
                    self._wait(other, how["condition"])
            self._run(name)

    def healthy(self, name: str) -> bool:
        """Return whether the health check of a service says so, as its container would run it."""
        if name == "redis":
            try:
                with redis.Redis(username="reader", password=PASSWORDS["REDIS_READER_PASSWORD"]) as client:
                    return bool(client.ping())
            except redis.ConnectionError:
                return False
        service = self.services[name]
        test = service.get("healthcheck", {}).get("test")
        image = _IMAGES.last(service["build"]["target"], "HEALTHCHECK")
        assert image is not None
        words = test[1:] if test else msgspec.json.decode(image.text.removeprefix("CMD "), type=list[str])
        return subprocess.run(self._here(words), capture_output=True, check=False).returncode == 0

    def until(self, what: str, look: Any) -> Any:
        """Return the first true value of `look`; fail, with the ends of all logs, if none comes or a service ends."""
        began = time.monotonic()
        while not (value := look()):
            ended = [name for name, process in self._running.items() if name != "topics" and process.poll() is not None]
            if ended or time.monotonic() > began + LIMIT_SEC:
                logs = {log.name: log.read_text()[-2000:] for log in self._folder.glob("*.log")}
                raise RuntimeError(f"not so: {what}; ended: {ended}; {logs}")
            time.sleep(0.1)
        return value

    def memory_mb(self) -> dict[str, float]:
        """Return the most memory that each service has had, all its processes together."""
        return {
            name: sum(_peak_kb(pid) for pid in descendants(process.pid)) / 1024
            for name, process in self._running.items()
            if process.poll() is None
        }

    def stop(self) -> dict[str, int]:
        """Tell every service to stop, within its time; return the exit codes."""
        codes = {}
        for name in reversed(OURS):
            process = self._running[name]
            if name != "topics":
                process.send_signal(signal.SIGTERM)
            grace = self.services[name].get("stop_grace_period", "1s")
            codes[name] = process.wait(int(grace.removesuffix("s")))
        self._kafka.stop()
        return codes

    def _wait(self, name: str, condition: str) -> None:
        if condition == "service_completed_successfully":
            assert self._running[name].wait(LIMIT_SEC) == 0, f"{name} ended with an error"
        else:
            self.until(f"{name} is healthy", lambda: self.healthy(name))

    def _run(self, name: str) -> None:
        service = self.services[name]
        environment = dict(service.get("environment", {}))
        if name == "redis":
            words = [*service["entrypoint"]]
            environment["USERS_FILE"] = str(self._folder / "users.acl")
        else:
            entry = _IMAGES.last(service["build"]["target"], "ENTRYPOINT")
            words = [*((entry.exec_form if entry else None) or []), *service["command"]]
            environment |= {"WORKER_DATA_DIR": str(self._folder / "tables")} if name == "worker" else {}
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                self._here(words), env={**os.environ, **environment}, cwd=ROOT, stdout=log, stderr=log
            )

    def _here(self, words: list[str]) -> list[str]:
        found: list[str] = []
        for word in words:
            if word.startswith("/opt/"):
                found.append(str(ROOT / "deploy" / "docker" / Path(word).name))
            elif word.startswith("/etc/context8"):
                found.append(str(self._mounted(word)))
            elif word == "valkey-server":
                found.append(str(find_redis()[0]))
            else:
                found += _HERE.get(word, [word])
        return found

    def _mounted(self, path: str) -> Path:
        """Return a copy of what the service `redis` finds below /etc/context8."""
        folder = self._folder / "etc"
        folder.mkdir(exist_ok=True)
        for volume in self.services["redis"]["volumes"]:
            source, target, _ = volume.split(":")
            shutil.copy(ROOT / source, folder / Path(target).name)
        return folder / Path(path).relative_to("/etc/context8")


def _peak_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0])


def _report() -> str | None:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/get_report?symbol=BTCUSDT", timeout=5) as answer:
            body: str = answer.read().decode()
    except OSError:
        return None
    report = msgspec.json.decode(body)
    return body if report and report["ingestion"]["status"] == "ok" and report["best_bid"] else None


def main(folder: Path) -> None:
    """Start, look, stop; write what was seen."""
    system = ByHand(folder)
    system.start()
    report = system.until("the reader has a fresh report", _report)
    for name in ("exchange", "producer", "worker", "reader"):
        system.until(f"{name} is healthy", lambda name=name: system.healthy(name))
    memory_mb = system.memory_mb()
    seen = {"report": report, "memory_mb": memory_mb, "codes": system.stop()}
    (folder / "seen.json").write_bytes(msgspec.json.encode(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
