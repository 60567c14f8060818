"""Streams that end alone, over the real protocol: found, told, and brought back without a new connection."""

import time
from collections.abc import Awaitable, Callable

from producer.exchange.faults import Stall
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.faults.adapters import Ours
from producer.faults.judge import Judge
from producer.faults.truth import TrueMarket
from producer.stream_watch import BEST, DIFFS, TICKER, TOP, TRADES
from producer.timing import Timing

Until = Callable[..., Awaitable[None]]

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT")
ENDING = dict(zip(SYMBOLS, (TRADES, TICKER, BEST, DIFFS, TOP), strict=True))
SOUND = "FFFUSDT"


def counts(ours: Ours, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in ours.metrics.registry.collect()
        for sample in family.samples
        if sample.name == f"context8_producer_{name}_total" and sample.value
    }


async def test_each_stream_that_ends_alone_is_found_and_comes_back(until: Until) -> None:
    symbols = [*ENDING, SOUND]
    market = TrueMarket(SimMarket(symbols, seed=7, rate=30, start_ns=time.time_ns()))
    judge = Judge(market)
    ours = Ours(judge, Timing(look=0.2, behind=30.0, reconnect_first=0.1))
    async with ExchangeServer(market) as server:
        await ours.start(server.http_url, server.ws_url, symbols)
        try:
            client = ours.client
            assert client is not None

            def watched() -> dict[str, list[str]]:
                return {book.symbol: book.watch.ended for book in client.books if book.watch.ended}

            await until(lambda: all(verdict.recovered for verdict in judge.verdicts.values()))
            before = {symbol: verdict.states for symbol, verdict in judge.verdicts.items()}
            for symbol, kind in ENDING.items():
                server.faults.inject(Stall(f"{symbol.lower()}@{kind}"))
            expected = dict.fromkeys(ENDING.items(), 1.0)
            await until(lambda: counts(ours, "streams_ended") == expected)
            await until(lambda: not watched())
            await until(lambda: all(it.known and it.states > before[symbol] for symbol, it in judge.verdicts.items()))
        finally:
            await ours.stop()
    assert counts(ours, "connections_lost") == {}
    assert counts(ours, "trades_missed").keys() == {("AAAUSDT",)}, "the step in the ids tells what was lost"
    assert {labels: value for labels, value in counts(ours, "resyncs").items() if labels[1] != "start"} == {
        ("DDDUSDT", "behind"): 1.0
    }
    assert all(verdict.wrong == 0 for verdict in judge.verdicts.values())
