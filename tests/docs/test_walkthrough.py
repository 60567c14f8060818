"""The quickstart and the failover demo, typed into shells word for word.

The pages use default ports; the network of the shells is one of their own where the kernel allows it.
"""

import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.contracts import validate_report
from support.desk import Desk
from support.own_network import OwnNetwork
from support.pages import DOCS, ROOT, blocks
from support.run_commands import BESIDE_THE_DEMO
from support.terminals import Terminal
from support.workers import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

# As README.md gives them.
ADDRESSES = "KAFKA_BROKERS=127.0.0.1:19092 REDIS_URL=redis://127.0.0.1:16379/0 EVENTS_PARTITIONS=8"
READER, FIRST, SECOND = "127.0.0.1:8080", "127.0.0.1:6066", "127.0.0.1:6067"


class Walk:
    """The terminals of one page, and its blocks in order."""

    def __init__(self, page: str, network: OwnNetwork, folder: Path, stack: ExitStack) -> None:
        self.network = network
        self._blocks = [block for block in blocks(DOCS / page) if block.language == "bash" and block.title]
        env = {"TMPDIR": str(folder)}
        self._terminals = {
            title: stack.enter_context(Terminal(network, folder / f"{title}.log", ROOT, env))
            for title in sorted({block.title for block in self._blocks if block.title})
        }

    def __getitem__(self, number: int) -> Terminal:
        return self._terminals[f"terminal {number}"]

    def next(self, *, first: str) -> Terminal:
        """Type the next block, which must begin with `first`; return its terminal."""
        block = self._blocks.pop(0)
        assert block.code.startswith(first), block
        terminal = self._terminals[str(block.title)]
        terminal.type(block.code)
        return terminal

    def finished(self) -> None:
        """Fail if the page has more blocks."""
        assert self._blocks == []

    async def reported(self, symbols: set[str]) -> bool:
        """Whether all symbols have a report with a book."""
        body = self.network.get(f"{READER}/reports?symbols={','.join(sorted(symbols))}&detail=full")
        reports = json.loads(body)["reports"] if body else {}
        return len(reports) == len(symbols) and all(each and each["provenance"]["book_ok"] for each in reports.values())

    def partitions(self, worker: str) -> set[int]:
        """The partitions that a worker says are its own."""
        body = self.network.get(f"{worker}/health")
        return set(json.loads(body)["partitions"]) if body else set()

    def writers(self, symbols: set[str]) -> dict[str, str]:
        """Who wrote the newest report of each symbol."""
        body = self.network.get(f"{READER}/reports?symbols={','.join(sorted(symbols))}&detail=full")
        assert body is not None
        return {name: report["writer"]["nodeId"] for name, report in json.loads(body)["reports"].items() if report}


async def test_the_failover_demo_goes_as_its_page_says(network: OwnNetwork, tmp_path: Path) -> None:
    with ExitStack() as stack:
        walk = Walk("failover.md", network, tmp_path, stack)
        demo = walk.next(first="make demo SYMBOLS=")
        found = re.search(r"SYMBOLS=(\S+)", (DOCS / "failover.md").read_text())
        assert found is not None
        symbols = set(found[1].split(","))
        await eventually(lambda: walk.reported(symbols), "every symbol is reported")
        watch = walk.next(first=".venv/bin/context8 watch")

        shell = walk.next(first="export KAFKA_BROKERS=")

        async def shared() -> bool:
            first, second = walk.partitions(FIRST), walk.partitions(SECOND)
            both = set(walk.writers(symbols).values()) == {"w1", "w2"}
            return both and bool(second) and not first & second and len(first | second) == 8

        await eventually(shared, "w2 has joined and writes")
        walk.next(first="curl")
        await eventually(shell.ended, "both workers answer")
        w1, w2 = shell.answers
        assert [w1["node_id"], w2["node_id"]] == ["w1", "w2"]
        moved = set(w2["symbols"])
        assert moved | set(w1["symbols"]) == symbols
        assert moved

        walk.next(first="kill -9")

        async def taken_over() -> bool:
            return len(walk.partitions(FIRST)) == 8 and set(walk.writers(symbols).values()) == {"w1"}

        await eventually(taken_over, "w1 has taken everything over")
        walk.next(first="curl")
        await eventually(shell.ended, "the heir answers")
        walk.finished()
        report = shell.answers[-1]
        validate_report(json.dumps(report))
        assert report["writer"]["nodeId"] == "w1"
        assert report["provenance"]["gap_count"] == 0

        await watch_has_looked(walk, symbols)
        watch.close()
        told = {(old, new): names for old, new, names in TOLD.findall(" ".join(watch.output.split()))}
        assert set(told["w1", "w2"].split(", ")) == set(told["w2", "w1"].split(", ")) == moved
        demo.close()
        assert "summary" in demo.output


TOLD = re.compile(r"UTC (w\d) → (w\d) ([A-Z0-9, ]+): \d+\.\d\d s between two reports")


async def watch_has_looked(walk: Walk, symbols: set[str]) -> None:
    """Wait until newer reports have followed those that w1 wrote after the takeover, so that `watch` has seen them."""
    before = walk.network.get(f"{READER}/get_report?symbol={min(symbols)}")

    async def newer() -> bool:
        now = walk.network.get(f"{READER}/get_report?symbol={min(symbols)}")
        return (
            bool(before and now) and json.loads(now or b"")["updatedAt"] > json.loads(before or b"")["updatedAt"] + 500
        )

    await eventually(newer, "reports go on")


async def test_the_quickstart_goes_as_its_page_says(network: OwnNetwork, tmp_path: Path) -> None:
    with ExitStack() as stack:
        walk = Walk("quickstart.md", network, tmp_path, stack)
        demo = walk.next(first="make demo\n")
        await eventually(lambda: walk.reported({"BTCUSDT", "ETHUSDT", "SOLUSDT"}), "reports of all")
        shell = walk.next(first="curl")
        await eventually(shell.ended, "the report is shown")
        report, listed = shell.answers
        validate_report(json.dumps(report))
        assert {each["symbol"] for each in listed["symbols"]} == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
        assert "micro price" in shell.output
        walk.next(first="curl")
        await eventually(shell.ended, "worker and producer answer")
        worker, producer = shell.answers[2:]
        assert worker["partitions"] == list(range(8))
        assert producer["problems"] == []
        walk.finished()
        desk = Desk(network, tmp_path)
        desk.env |= dict(each.split("=") for each in ADDRESSES.split())
        assert ADDRESSES in (ROOT / "README.md").read_text(encoding="utf-8")
        await desk.play(BESIDE_THE_DEMO)
        demo.close()
        assert "time to first report" in demo.output
