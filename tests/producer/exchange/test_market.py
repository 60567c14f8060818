"""What every market promises, synthetic or recorded: its streams and its REST snapshots fit together."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producer.exchange.book import Book, Depth, Side
from producer.exchange.market import Market
from producer.exchange.messages import BookTicker, DepthSnapshot, DepthUpdate, Message, Ticker24h, Trade
from producer.exchange.scenario import parse
from producer.exchange.sim import SimMarket
from producer.exchange.stage import ScenarioMarket
from producer.exchange.tape import depth_of, levels_of
from producer.exchange.units import to_units

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
END_NS = START_NS + 4 * NS
STEP_NS = 50_000_000
WHOLE_BOOK = 100_000

_KINDS: dict[str, type] = {
    "trade": Trade,
    "bookTicker": BookTicker,
    "ticker": Ticker24h,
    "depth": DepthUpdate,
}


def decode(message: Message) -> Any:
    kind = message.stream.split("@")[1]
    return msgspec.json.decode(message.payload, type=_KINDS.get(kind, DepthSnapshot))


class ClientBook:
    """A book kept the way Binance tells its clients to ("How to manage a local order book correctly")."""

    def __init__(self, depth: Depth) -> None:
        self.book = Book.from_depth(depth)
        self.synchronised = False

    def apply(self, update: DepthUpdate) -> None:
        if update.final_update_id <= self.book.last_update_id:
            return
        follows = self.book.last_update_id + 1
        if self.synchronised:
            assert update.first_update_id == follows
        assert update.first_update_id <= follows
        for side, levels in ((Side.BID, update.bids), (Side.ASK, update.asks)):
            for price, quantity in levels_of(levels):
                self.book.put(side, price, quantity)
        self.book.last_update_id = update.final_update_id
        self.synchronised = True


def crash_at_once(sim: SimMarket) -> ScenarioMarket:
    planned = parse("flash_crash@0s", sim.symbols())
    return ScenarioMarket(sim, planned, seed=1, start_ns=START_NS, tell=lambda truth: None)


@pytest.fixture(params=["sim", "quiet sim", "scenario", "tape", "looped tape", "fast looped tape"])
def market(request: pytest.FixtureRequest, made_tape: Path, open_tape: Callable[..., Market]) -> Market:
    opened: dict[str, Callable[[], Market]] = {
        "scenario": lambda: crash_at_once(SimMarket(["BTCUSDT", "XRPUSDT"], seed=1, rate=20, start_ns=START_NS)),
        "sim": lambda: SimMarket(["BTCUSDT", "XRPUSDT"], seed=1, rate=150, start_ns=START_NS),
        "quiet sim": lambda: SimMarket(["ETHBTC"], seed=2, rate=4, start_ns=START_NS),
        "tape": lambda: open_tape(made_tape),
        "looped tape": lambda: open_tape(made_tape, loop=True, speed=2.0),
        "fast looped tape": lambda: open_tape(made_tape, loop=True, speed=20.0),
    }
    market = opened[request.param]()
    market.subscribed(START_NS)
    return market


@pytest.fixture
def play(market: Market, everything: Any) -> Callable[[], Iterator[tuple[int, Message]]]:
    """Return a function that plays the market and pauses it at every message."""

    def run() -> Iterator[tuple[int, Message]]:
        for now_ns in range(START_NS, END_NS + 1, STEP_NS):
            for message in market.advance(now_ns, everything):
                yield now_ns, message

    return run


Play = Callable[[], Iterator[tuple[int, Message]]]


@pytest.mark.parametrize("speed", ["@depth@100ms", "@depth"])
def test_diffs_on_any_earlier_snapshot_give_the_servers_book_at_every_update_id(
    market: Market, play: Play, speed: str
) -> None:
    clients: dict[str, list[ClientBook]] = {}
    compared = 0
    for symbol in market.symbols():
        clients[symbol] = [ClientBook(market.depth(symbol, WHOLE_BOOK))]
    for _, message in play():
        if not message.stream.endswith(speed):
            continue
        update = decode(message)
        for client in clients[update.symbol]:
            client.apply(update)
        server = market.depth(update.symbol, WHOLE_BOOK)
        if server.last_update_id == update.final_update_id:
            for client in clients[update.symbol]:
                assert client.book.depth(WHOLE_BOOK) == server
                compared += 1
        if len(clients[update.symbol]) < 4:
            clients[update.symbol].append(ClientBook(server))
    assert compared >= 4
    assert all(client.synchronised for group in clients.values() for client in group[:2])


@pytest.mark.parametrize("speed", ["@depth@100ms", "@depth"])
def test_update_ids_of_diffs_follow_each_other_without_a_gap(play: Play, speed: str) -> None:
    following: dict[str, int] = {}
    for _, message in play():
        if message.stream.endswith(speed):
            update = decode(message)
            assert following.setdefault(update.symbol, update.first_update_id) == update.first_update_id
            assert update.final_update_id >= update.first_update_id
            following[update.symbol] = update.final_update_id + 1
    assert following


def test_book_ticker_equals_the_rebuilt_book_at_the_same_update_id(market: Market, play: Play) -> None:
    clients = {symbol: ClientBook(market.depth(symbol, WHOLE_BOOK)) for symbol in market.symbols()}
    tickers: dict[str, BookTicker] = {}
    ahead: dict[str, list[BookTicker]] = {symbol: [] for symbol in market.symbols()}
    compared = 0
    for _, message in play():
        if message.stream.endswith("@bookTicker"):
            ticker = decode(message)
            ahead[ticker.symbol].append(ticker)
        elif message.stream.endswith("@depth@100ms"):
            update = decode(message)
            clients[update.symbol].apply(update)
            # What holds at the diff's last id is the newest ticker up to it; those beyond it have to wait.
            while ahead[update.symbol] and ahead[update.symbol][0].update_id <= update.final_update_id:
                tickers[update.symbol] = ahead[update.symbol].pop(0)
            book = clients[update.symbol].book
            if update.symbol in tickers and book.last_update_id == update.final_update_id:
                assert _best_of(tickers[update.symbol]) == book.best()
                compared += 1
    assert compared >= 3


def test_book_ticker_ids_rise_and_it_is_only_sent_when_the_best_changed(play: Play) -> None:
    last: dict[str, BookTicker] = {}
    for _, message in play():
        if message.stream.endswith("@bookTicker"):
            ticker = decode(message)
            if before := last.get(ticker.symbol):
                assert ticker.update_id > before.update_id
            last[ticker.symbol] = ticker
    assert last


def test_the_best_levels_are_those_of_the_book_at_their_update_id(market: Market, play: Play) -> None:
    seen = set()
    for _, message in play():
        if message.stream.partition("@")[2].startswith("depth") and "lastUpdateId" in str(message.payload):
            symbol = message.stream.split("@")[0].upper()
            levels = int(message.stream.split("@")[1].removeprefix("depth"))
            assert depth_of(decode(message)) == market.depth(symbol, levels)
            seen.add(message.stream.partition("@")[2])
    names = ["depth5", "depth10", "depth20"]
    assert seen == {f"{name}{speed}" for name in names for speed in ("", "@100ms", "@1000ms")}


def test_the_book_is_never_crossed(market: Market, play: Play) -> None:
    for _, message in play():
        bid, ask = Book.from_depth(market.depth(message.stream.split("@")[0].upper(), 1)).best()
        assert bid is not None
        assert ask is not None
        assert bid[0] < ask[0]


def test_trade_ids_follow_each_other_without_a_gap(play: Play) -> None:
    following: dict[str, int] = {}
    for _, message in play():
        if message.stream.endswith("@trade"):
            trade = decode(message)
            assert following.setdefault(trade.symbol, trade.trade_id) == trade.trade_id
            following[trade.symbol] = trade.trade_id + 1
    assert following


def test_event_times_never_fall_and_are_never_in_the_future(play: Play) -> None:
    latest: dict[str, int] = {}
    for now_ns, message in play():
        content = decode(message)
        if hasattr(content, "event_time"):
            assert latest.get(message.stream, 0) <= content.event_time <= now_ns // 1_000_000
            latest[message.stream] = content.event_time
    assert len(latest) >= 4


def test_the_24h_ticker_agrees_with_the_trades_before_it(play: Play) -> None:
    trades: dict[str, Trade] = {}
    compared = 0
    for _, message in play():
        if message.stream.endswith("@trade"):
            trade = decode(message)
            trades[trade.symbol] = trade
        elif message.stream.endswith("@ticker"):
            ticker = decode(message)
            trade = trades.get(ticker.symbol)
            if trade is not None:
                assert (ticker.last_price, ticker.last_quantity) == (trade.price, trade.quantity)
                assert ticker.last_trade_id == trade.trade_id
                assert to_units(ticker.low_price) <= to_units(ticker.last_price) <= to_units(ticker.high_price)
                compared += 1
    assert compared


def _best_of(ticker: BookTicker) -> tuple[tuple[int, int], tuple[int, int]]:
    bid = (to_units(ticker.bid_price), to_units(ticker.bid_quantity))
    return bid, (to_units(ticker.ask_price), to_units(ticker.ask_quantity))
