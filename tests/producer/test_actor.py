"""The actor: from NautilusTrader's objects to events, live or in a backtest."""

import json
from decimal import Decimal
from typing import Any

import pytest
from nautilus_trader.adapters.binance.common.types import BinanceTicker
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import CustomData, DataType, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity

from app.microstructure import events
from producer import messages
from producer.actor import CLIENT_ID, EventActor
from producer.depth import BookDepth, custom_data
from producer.metrics import Metrics
from producer.wire import Kind, TextLevel
from support.contracts import validate_event

INSTRUMENT = InstrumentId.from_str("BTCUSDT.BINANCE")
AT = 1_723_161_255_208_000_000
BIDS: list[TextLevel] = [("61837.63000000", "3.78826000")]
ASKS: list[TextLevel] = [("61837.64000000", "1.60520000")]


class Outbox:
    """Takes events and notes lost books."""

    def __init__(self) -> None:
        self.sent: list[tuple[Kind, dict[str, Any]]] = []
        self.values: list[bytes] = []
        self.lost: list[tuple[str, str]] = []
        self.broken = False

    def put(self, symbol: str, kind: Kind, value: bytes) -> None:
        if self.broken:
            raise RuntimeError("no room")
        validate_event(value)
        events.decode(value, symbol.encode())
        self.values.append(value)
        self.sent.append((kind, json.loads(value, parse_float=str)))

    def lose(self, symbol: str, reason: str) -> None:
        self.lost.append((symbol, reason))

    def ranges(self) -> list[tuple[int, int, bool]]:
        payloads = [event["payload"] for kind, event in self.sent if kind in (Kind.DIFF, Kind.SNAPSHOT)]
        return [(p["first_update_id"], p["final_update_id"], p["snapshot"]) for p in payloads]


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def actor(outbox: Outbox, metrics: Metrics) -> EventActor:
    return EventActor([INSTRUMENT], outbox.put, outbox.lose, metrics)


def trade(side: AggressorSide = AggressorSide.SELLER, trade_id: str = "3735683259") -> TradeTick:
    return TradeTick(
        INSTRUMENT, Price.from_str("61837.63000000"), Quantity.from_str("0.02000000"), side, TradeId(trade_id), AT, AT
    )


def snapshot(update_id: int, at: int = AT) -> Any:
    return messages.replacement(INSTRUMENT, messages.orders(BIDS, ASKS), update_id, at, at)


def unknown(update_id: int) -> Any:
    return messages.replacement(INSTRUMENT, [], update_id, AT, AT)


def diff(final: int, at: int = AT) -> Any:
    return messages.change(INSTRUMENT, messages.orders(BIDS, []), final, at, at)


def depth(at: int = AT) -> BookDepth:
    return BookDepth(INSTRUMENT, 9, BIDS, ASKS, at, at)


def ticker(low: str = "58000.10000000", at: int = AT, **changes: Decimal) -> BinanceTicker:
    values: dict[str, Any] = {
        name: Decimal("1.0")
        for name in ("price_change", "weighted_avg_price", "last_qty", "open_price", "quote_volume")
    }
    values |= {
        "price_change_percent": Decimal("-3.210"),
        "last_price": Decimal("0.00000010"),
        "high_price": Decimal("62000.00000000"),
        "low_price": Decimal(low),
        "volume": Decimal("12345.00000000"),
    }
    values |= dict.fromkeys(("open_time_ms", "close_time_ms", "first_id", "last_id", "count"), 1)
    return BinanceTicker(instrument_id=INSTRUMENT, ts_event=at, ts_init=at, **(values | changes))


def test_a_trade_whose_buyer_was_the_maker_is_a_sell(actor: EventActor, outbox: Outbox) -> None:
    actor.on_trade_tick(trade(AggressorSide.SELLER))
    actor.on_trade_tick(trade(AggressorSide.BUYER))
    payloads = [event["payload"] for _, event in outbox.sent]
    assert [payload["aggressor_side"] for payload in payloads] == ["sell", "buy"]
    assert payloads[0]["price"] == "61837.63000000"
    assert payloads[0]["qty"] == "0.02000000"
    assert payloads[0]["trade_id"] == 3735683259


def test_published_ranges_are_contiguous_from_the_snapshot_on(actor: EventActor, outbox: Outbox) -> None:
    for data in (snapshot(100), diff(104), diff(105), diff(120)):
        actor.on_order_book_deltas(data)
    assert outbox.ranges() == [(100, 100, True), (101, 104, False), (105, 105, False), (106, 120, False)]


def test_quantities_beyond_any_price_keep_their_text(actor: EventActor, outbox: Outbox) -> None:
    levels = messages.orders([("0.00000001", "33000000000000.00000001")], [])
    actor.on_order_book_deltas(messages.replacement(INSTRUMENT, levels, 1, AT, AT))
    assert outbox.sent[0][1]["payload"]["bids"] == [["0.00000001", "33000000000000.00000001"]]


def test_a_single_clear_says_that_the_book_is_not_known(actor: EventActor, outbox: Outbox) -> None:
    for data in (snapshot(100), unknown(100), diff(105), snapshot(110), diff(111)):
        actor.on_order_book_deltas(data)
    assert outbox.ranges() == [(100, 100, True), (100, 100, True), (110, 110, True), (111, 111, False)]
    assert outbox.sent[1][1]["payload"]["bids"] == outbox.sent[1][1]["payload"]["asks"] == []


def test_a_diff_before_any_snapshot_is_not_published(actor: EventActor, outbox: Outbox) -> None:
    actor.on_order_book_deltas(diff(104))
    assert outbox.sent == []
    assert outbox.lost == []


def test_a_diff_that_could_not_be_handed_over_breaks_the_book_off(
    actor: EventActor, outbox: Outbox, metrics: Metrics
) -> None:
    actor.on_order_book_deltas(snapshot(100))
    outbox.broken = True
    actor.on_order_book_deltas(diff(104))
    outbox.broken = False
    actor.on_order_book_deltas(diff(108))
    assert outbox.lost == [("BTCUSDT", "actor")]
    actor.on_order_book_deltas(snapshot(110))
    actor.on_order_book_deltas(diff(111))
    assert outbox.ranges() == [(100, 100, True), (110, 110, True), (111, 111, False)]
    labels = {"component": "producer.actor", "type": "RuntimeError"}
    assert metrics.registry.get_sample_value("context8_errors_total", labels) == 1


def test_a_diff_out_of_order_breaks_the_book_off(actor: EventActor, outbox: Outbox) -> None:
    for data in (snapshot(100), diff(104), diff(103), diff(108)):
        actor.on_order_book_deltas(data)
    assert outbox.ranges() == [(100, 100, True), (101, 104, False)]
    assert outbox.lost == [("BTCUSDT", "actor")]


@pytest.mark.parametrize("data", [None, object(), trade(trade_id="x")])
def test_no_callback_lets_an_exception_out(actor: EventActor, outbox: Outbox, data: Any) -> None:
    actor.on_trade_tick(data)
    actor.on_order_book_deltas(data)
    actor.on_data(data)
    assert outbox.sent == []


def test_an_exception_while_a_failure_is_dealt_with_stays_inside(metrics: Metrics) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError

    EventActor([INSTRUMENT], fail, fail, metrics).on_order_book_deltas(snapshot(1))


def test_a_ticker_keeps_small_numbers_out_of_scientific_notation(actor: EventActor, outbox: Outbox) -> None:
    actor.on_data(ticker())
    assert outbox.sent[0][1]["payload"] == {
        "last_price": "0.00000010",
        "change_24h_pct": "-3.210",
        "high_24h": "62000.00000000",
        "low_24h": "58000.10000000",
        "volume_24h": "12345.00000000",
    }


def test_a_ticker_of_a_symbol_without_trades_is_left_out(actor: EventActor, outbox: Outbox) -> None:
    actor.on_data(ticker(low="0.00000000"))
    assert outbox.sent == []


def test_a_ticker_that_is_no_number_is_an_error(actor: EventActor, outbox: Outbox, metrics: Metrics) -> None:
    actor.on_data(ticker(volume=Decimal("NaN")))
    assert outbox.sent == []
    labels = {"component": "producer.actor", "type": "ValueError"}
    assert metrics.registry.get_sample_value("context8_errors_total", labels) == 1


def test_a_depth_keeps_the_text_of_its_levels(actor: EventActor, outbox: Outbox) -> None:
    actor.on_data(depth())
    kind, event = outbox.sent[0]
    assert kind is Kind.DEPTH
    assert event["payload"] == {"last_update_id": 9, "bids": [[*BIDS[0]]], "asks": [[*ASKS[0]]]}


def test_events_are_counted_by_symbol_and_type(actor: EventActor, metrics: Metrics) -> None:
    actor.on_order_book_deltas(snapshot(1))
    actor.on_order_book_deltas(diff(2))
    actor.on_trade_tick(trade())
    metrics.text()
    for kind, count in (("order_book_deltas", 2), ("trade_tick", 1)):
        labels = {"symbol": "BTCUSDT", "type": kind}
        assert metrics.registry.get_sample_value("context8_producer_events_total", labels) == count


def pair() -> CurrencyPair:
    return CurrencyPair(
        instrument_id=INSTRUMENT,
        raw_symbol=Symbol("BTCUSDT"),
        base_currency=BTC,
        quote_currency=USDT,
        price_precision=8,
        size_precision=8,
        price_increment=Price.from_str("0.00000001"),
        size_increment=Quantity.from_str("0.00000001"),
        ts_event=0,
        ts_init=0,
    )


@pytest.mark.filterwarnings("ignore:The 'generic' unit for NumPy timedelta:DeprecationWarning")
def test_a_backtest_gives_the_events_that_live_callbacks_give(outbox: Outbox, metrics: Metrics) -> None:
    live = Outbox()
    direct = EventActor([INSTRUMENT], live.put, live.lose, metrics)
    data: list[Any] = [snapshot(100, AT), diff(104, AT + 1_000_000), diff(105, AT + 2_000_000)]
    for book in data:
        direct.on_order_book_deltas(book)
    tick, top, day = trade(), depth(AT + 3_000_000), ticker(at=AT + 4_000_000)
    direct.on_trade_tick(tick)
    direct.on_data(top)
    direct.on_data(day)

    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.CASH, [Money(1, USDT)], base_currency=None)
    engine.add_instrument(pair())
    engine.add_actor(EventActor([INSTRUMENT], outbox.put, outbox.lose, metrics))
    for each in data:
        engine.add_data([each])
    engine.add_data([tick])
    engine.add_data([custom_data(top)], client_id=CLIENT_ID)
    wrapped = CustomData(DataType(BinanceTicker, metadata={"instrument_id": INSTRUMENT}), day)
    engine.add_data([wrapped], client_id=CLIENT_ID)
    engine.run()
    engine.dispose()
    assert sorted(outbox.values) == sorted(live.values)
    assert outbox.ranges() == live.ranges() == [(100, 100, True), (101, 104, False), (105, 105, False)]
