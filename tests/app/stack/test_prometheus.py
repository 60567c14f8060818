from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from app.stack.errors import StackError
from app.stack.ports import Ports, free_ports
from app.stack.prometheus import Prometheus, find_program, targets
from support.observing import Answers, alert_names, program
from support.workers import eventually


def test_a_program_that_is_not_installed_is_named_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"promtool is not installed: .*apt-get install prometheus") as raised:
        find_program("promtool", {"PATH": str(tmp_path)})
    assert len(str(raised.value).splitlines()) == 1


def test_every_worker_of_a_system_is_scraped() -> None:
    found = targets(Ports.from_base(20_000), workers=2)
    assert found == {
        "context8-producer": ["127.0.0.1:20002"],
        "context8-worker": ["127.0.0.1:20200", "127.0.0.1:20201"],
        "context8-reader": ["127.0.0.1:20000"],
    }


async def test_it_scrapes_its_targets_with_the_rules_of_the_project_and_stops_cleanly(tmp_path: Path) -> None:
    program("prometheus")
    registry = CollectorRegistry()
    Gauge("nt_symbols_assigned", "", registry=registry).set(7)
    (port,) = free_ports(1)
    server, thread = start_http_server(port, "127.0.0.1", registry)
    with Prometheus(tmp_path, {"context8-worker": [f"127.0.0.1:{port}"]}, interval="500ms") as prometheus:
        answers = Answers(prometheus.url)
        found = await eventually(lambda: answers.query('nt_symbols_assigned{job="context8-worker"}'), "it was scraped")
        assert found[0]["value"][1] == "7"
        groups = (await answers.get("rules", type="alert"))["groups"]
        assert {rule["name"] for group in groups for rule in group["rules"]} == set(alert_names())
    assert prometheus.process.exit_code == 0
    server.shutdown()
    server.server_close()
    thread.join()


def test_rules_that_are_not_there_are_named(tmp_path: Path) -> None:
    program("prometheus")
    with pytest.raises(StackError, match="there are no rules"):
        Prometheus(tmp_path, {}, rules=[])
