"""A whole system under real faults: each alert fires for its own, and is gone when the fault is.

Rules are the project's with every duration divided by 60 (support/observing.py). The system is shared by all tests
here, and every one leaves it as it found it: with no alert. At the end no alert of the project may be left that none of
the faults has made fire.
"""

import asyncio
import re
from collections.abc import Iterator
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer

from app.stack.process import Child
from support.dashboards import queries, spoken
from support.observing import alert_names, program
from support.watched import SYMBOLS, Watched
from support.workers import ROOT, eventually

pytestmark = pytest.mark.stack

# Section 6 of the specification: names that dashboards and alerts everywhere depend on, by the job that exports them.
PROMISED = {
    "context8-worker": {
        "context8_stream_lag_ms": {"symbol"},
        "context8_events_rate": {"symbol", "type"},
        "context8_calc_latency_ms_bucket": {"symbol", "metric", "le"},
        "context8_report_age_ms": {"symbol"},
        "context8_errors_total": {"component", "type"},
        "context8_cache_writes": {"symbol", "status"},
        "nt_node_heartbeat": set(),
        "nt_symbols_assigned": set(),
        "nt_lease_conflicts_total": set(),
        "nt_hrw_rebalances_total": set(),
    },
    "context8-reader": {
        "context8_errors_total": {"component", "type"},
        "context8_mcp_requests_total": {"method", "status"},
        "context8_mcp_request_duration_ms_bucket": {"method", "code", "le"},
        "context8_mcp_cache_hits": {"symbol"},
        "context8_mcp_cache_misses": {"symbol"},
    },
    "context8-producer": {"context8_errors_total": {"component", "type"}},
}
TARGET = {"__name__", "job", "instance"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Give the system, running."""
    program("prometheus")
    with Watched(tmp_path_factory.mktemp("watched")).running() as running:
        yield running


async def test_a_system_that_is_well_is_quiet(watched: Watched) -> None:
    async def reported() -> bool:
        ages = await watched.answers.query("context8:report_age_ms < 1000")
        return {sample["metric"]["symbol"] for sample in ages} == set(SYMBOLS)

    await eventually(reported, "every symbol has fresh reports")
    await watched.quiet()


async def test_a_source_that_stops_and_meanwhile_a_worker_that_is_killed(watched: Watched) -> None:
    first = watched.system.workers[0]
    with watched.frozen(watched.system.exchange):
        first.kill()
        await watched.fires("WorkerMissing")
        first.start()
        await watched.fires("ExchangeDisconnected", "StreamLag", "BookUnknown", "SymbolSilent")
        assert {alert["symbol"] for alert in (await watched.answers.firing())["StreamLag"]} == set(SYMBOLS)
    await watched.quiet()


async def test_a_producer_that_dies(watched: Watched) -> None:
    watched.system.producer.kill()
    await watched.fires("ProducerDown", "StreamLag")
    await asyncio.to_thread(watched.system.start_producer)
    await watched.quiet()


async def test_a_second_producer_of_the_same_symbol(watched: Watched) -> None:
    with watched.second:
        await watched.fires("RepeatedEvents")
        assert {alert["symbol"] for alert in (await watched.answers.firing())["RepeatedEvents"]} == {SYMBOLS[0]}
    await watched.quiet()


async def test_a_book_that_is_not_the_exchanges(watched: Watched) -> None:
    watched.line.lies = True
    await watched.fires("BookMismatch")
    watched.line.lies = False
    await watched.quiet()


async def test_kafka_that_hangs(watched: Watched) -> None:
    with watched.frozen(watched.system.kafka.process):
        await watched.fires("KafkaUnreachable", "QueueFilling", "EventsDropped")
    await watched.quiet()


async def test_redis_that_stops(watched: Watched) -> None:
    watched.system.redis.kill()
    await watched.fires("RedisUnavailable", "ErrorsRising", "ReportAge", "WorkerUnwell")
    assert {alert["kind"] for alert in (await watched.answers.firing())["WorkerUnwell"]} == {"redis"}
    await asyncio.to_thread(watched.system.redis.start)
    await watched.quiet()


async def test_a_worker_that_hangs_and_wakes_up_with_an_older_epoch(watched: Watched) -> None:
    first = watched.system.workers[0]
    with watched.frozen(first):
        await watched.fires("WorkerMissing")
        await eventually(lambda: _owned_by_one(watched), "the other worker has taken over")
    await watched.fires("FencedWrites")
    await watched.quiet()


async def test_a_worker_whose_main_thread_alone_hangs(watched: Watched) -> None:
    hanging = await watched.owner("BTCUSDT")
    async with watched.stuck(hanging):
        await eventually(lambda: _is_fresh_elsewhere(watched, hanging), "the other worker has taken over")
        await watched.fires("WorkerStuck")
        assert "ReportAge" not in await watched.answers.firing(), "it kept its symbols, and readers old reports"
    await watched.quiet()


async def test_events_that_are_gone_before_anybody_read_them_and_a_folder_that_is_damaged(watched: Watched) -> None:
    workers = watched.system.workers
    for worker in workers:
        worker.kill()
    watched.damage_tables(0)
    await watched.delete_events()
    for worker in workers:
        worker.start()
    await watched.fires("StateMissing", "TablesReadAgain")
    assert {alert["type"] for alert in (await watched.answers.firing())["StateMissing"]} == {"events_expired"}
    await watched.quiet()


async def test_a_worker_that_gets_more_than_it_can_carry(watched: Watched) -> None:
    async with AIOKafkaProducer(bootstrap_servers=watched.system.kafka.bootstrap, max_batch_size=1 << 20) as producer:

        async def flood() -> None:
            if not await watched.answers.query("context8_backlog_events > 50000"):
                await watched.flood(producer, "BTCUSDT")

        await watched.fires("WorkerOverloaded", under=flood)
    await watched.quiet()


async def test_a_worker_whose_host_pauses_for_longer_than_its_session_again_and_again(watched: Watched) -> None:
    async def pause() -> None:
        await eventually(partial(watched.has_workers, 3), "the third worker has joined")
        with watched.frozen(watched.third):
            await eventually(partial(watched.has_workers, 2), "it was expelled")

    with watched.third:
        await watched.fires("RebalancesOften", under=pause)
    await watched.quiet()


async def test_a_message_that_cannot_be_used_and_a_reader_that_is_slow_and_then_gone(watched: Watched) -> None:
    async with AIOKafkaProducer(bootstrap_servers=watched.system.kafka.bootstrap) as producer:
        await producer.send_and_wait("nt.binance", b"{", key=b"BTCUSDT")
    await watched.fires("DeadLetters")
    assert [alert["reason"] for alert in (await watched.answers.firing())["DeadLetters"]] == ["malformed_json"]
    watched.slow.delay(150)
    await watched.fires("McpLatency")
    watched.slow.restore()
    watched.system.reader.kill()
    await watched.fires("ReaderDown")
    await asyncio.to_thread(watched.system.start_reader)
    await watched.quiet()


async def test_a_readers_clock_that_is_an_hour_ahead(watched: Watched) -> None:
    watched.reader_clock.set(3600)
    await watched.fires("WrongClock")
    assert [alert["whose"] for alert in (await watched.answers.firing())["WrongClock"]] == ["reader"]
    watched.reader_clock.set(0)
    await watched.quiet()


# What follows looks at all that the faults above have left: counters of losses have series by then.


async def test_every_alert_of_the_project_has_fired(watched: Watched) -> None:
    fired = await watched.answers.series('ALERTS{alertstate="firing"}')
    assert {series["alertname"] for series in fired} == set(alert_names()) - watched.left_out


async def test_every_promised_name_is_exported_with_its_labels_by_the_right_process(watched: Watched) -> None:
    for job, names in PROMISED.items():
        for name, labels in names.items():
            found = await watched.answers.series(f'{name}{{job="{job}"}}')
            assert found, f"{job} does not export {name}"
            assert {frozenset(series) - TARGET for series in found} == {frozenset(labels)}, name


async def test_symbols_are_the_only_labels_without_a_list_and_none_is_made_up(watched: Watched) -> None:
    symbols = {series["symbol"] for series in await watched.answers.series('{symbol!="", __name__!="ALERTS"}')}
    assert symbols <= {*SYMBOLS, "NOSUCHUSDT", "unknown"}
    of_the_reader = await watched.answers.series('{__name__=~"context8_mcp_.*", symbol!=""}')
    asked_for = {series["symbol"] for series in of_the_reader}
    assert asked_for == {*SYMBOLS, "unknown"}, "a caller's symbol without a report is no label"


async def test_every_query_of_the_dashboards_has_an_answer_and_speaks_of_what_is_exported(watched: Watched) -> None:
    labels: dict[str, set[str]] = {}
    for query in queries():
        said = spoken(query)
        shown: set[str] = set()
        for metric, asked in said.metrics.items():
            if metric not in labels:
                found = await watched.answers.series(metric)
                assert found, f"{query.where}: nothing exports {metric}"
                labels[metric] = set().union(*found)
            assert asked <= labels[metric], f"{query.where}: {metric} has no label {asked - labels[metric]}"
            shown |= labels[metric]
        assert said.labels <= shown, f"{query.where}: no metric has {said.labels - shown}"
        if "> 0" not in query.promql and "ALERTS" not in query.promql:
            # A rate needs two scrapes, and the reader was started a moment ago.
            answered = partial(watched.answers.query, query.promql)
            await eventually(answered, f"{query.where} shows something: {query.promql}", limit_sec=10)


async def test_every_metric_is_explained_in_the_runbook(watched: Watched) -> None:
    text = (ROOT / "docs" / "runbooks" / "monitoring.md").read_text(encoding="utf-8")
    explained = {
        name: set(labels.split(",")) - {""}
        for name, labels in re.findall(r"(?m)^\| `((?:context8|nt)_\w+)(?:\{([\w,]+)\})?` \|", text)
    }
    pages = await asyncio.gather(*map(watched.page, ("context8-producer", "context8-worker", "context8-reader")))
    names = set(re.findall(r"(?m)^# TYPE ((?:context8|nt)_\w+?)(?<!_created) \w+$", "".join(pages)))
    assert explained.keys() == names
    # Those of which there is a series; all but a few losses that did not happen.
    labels: dict[str, set[str]] = {}
    for series in await watched.answers.series('{__name__=~"(context8|nt)_.+"}'):
        labels.setdefault(re.sub(r"_(bucket|sum|count)$", "", series["__name__"]), set()).update(series)
    with_series = names & labels.keys()
    assert len(with_series) > 0.9 * len(names)
    assert {name: labels[name] - TARGET - {"le"} for name in with_series} == {n: explained[n] for n in with_series}


async def _owned_by_one(watched: Watched) -> bool:
    """Whether the worker that is left owns every symbol."""
    assigned = await watched.answers.query("max(nt_symbols_assigned)")
    return bool(assigned) and float(assigned[0]["value"][1]) == len(SYMBOLS)


async def _is_fresh_elsewhere(watched: Watched, hanging: Child) -> bool:
    """Whether another worker writes the reports of a symbol that was the hanging one's."""
    others = f'symbol="BTCUSDT", instance!="{watched.address_of(hanging)}"'
    return bool(await watched.answers.query(f"context8_report_age_ms{{{others}}} < 1000"))
