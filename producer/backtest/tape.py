"""A tape as NautilusTrader data: what the live client would have sent on, had it received the tape.

Books go through `producer.book_sync`, the machine of the live client. It asks for snapshots; the answer is
the next one on the tape. What differs from live is only where a snapshot comes from:

- The first diff of a symbol starts its book. A snapshot that was recorded before it answers at once.
- A snapshot does not say its symbol, so its file must hold exactly one.
- What carries no time of the exchange is stamped by `producer.exchange_clock`, the receive time of the tape
  being its monotonic clock. A recorder whose clock was wrong moves nothing.

`ts_init` is when the object was sent on: kept diffs follow the snapshot that they were kept for. Book
tickers are not subscribed to live and are left out.

The tape is read twice. The first pass finds a damaged line before any work is done, the symbols, and how far
messages overtake one another; memory does not grow with the tape.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from nautilus_trader.adapters.binance.common.schemas.market import BinanceTickerData
from nautilus_trader.adapters.binance.common.types import BinanceTicker
from nautilus_trader.adapters.binance.spot.schemas.market import BinanceSpotTradeData
from nautilus_trader.model.data import BookOrder, CustomData, DataType

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from producer import messages
from producer.backtest.nautilus import instrument_id
from producer.backtest.source import BacktestError, Extent, ExtentScan
from producer.book_sync import Apply, BookSync, Fetch, Replace, Step, Unknown
from producer.exchange.messages import BookTicker, DepthSnapshot, DepthUpdate, Ticker24h, Trade
from producer.exchange.tape import Record, read_tape
from producer.exchange.units import DECIMALS, to_text, to_units
from producer.exchange_clock import ExchangeClock
from producer.messages import NANOS_PER_MS

_POINT: Final = -DECIMALS - 1


class TapeSource:
    """The files of one recording."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read through the tape once.

        Raises:
            TapeError: a file cannot be read, a line is damaged, or a snapshot's symbol cannot be told.
        """
        self._paths = paths
        scan = _Scan()
        for record in read_tape(paths):
            scan.note(record)
        self._symbol_of = scan.symbols_of_snapshots()
        self.extent: Extent = scan.times.extent()
        self.symbols = sorted(scan.clocks)
        if not self.symbols:
            raise BacktestError(f"no trades, diffs or tickers in {', '.join(map(str, paths))}")

    def data(self) -> Iterator[Any]:
        """Yield what the client would send on; see `Source`."""
        markets = {symbol: _Market(symbol) for symbol in self.symbols}
        for record in read_tape(self._paths):
            payload, now = record.payload, record.receive_ns
            try:
                match payload:
                    case Trade():
                        yield markets[payload.symbol].trade(payload, now)
                    case DepthUpdate():
                        yield from markets[payload.symbol].diff(payload, now)
                    case Ticker24h():
                        yield markets[payload.symbol].ticker(payload, now)
                    case DepthSnapshot() if record.path in self._symbol_of:
                        yield from markets[self._symbol_of[record.path]].snapshot(payload, now)
            except (ValueError, ArithmeticError) as error:
                raise record.error(error) from None


class _Scan:
    """What the first pass gathers."""

    def __init__(self) -> None:
        self.times = ExtentScan()
        self.clocks: dict[str, ExchangeClock] = {}
        self._symbols: dict[Path, set[str]] = {}
        self._snapshots: dict[Path, Record] = {}

    def note(self, record: Record) -> None:
        payload = record.payload
        if payload is None:
            return
        symbols = self._symbols.setdefault(record.path, set())
        if isinstance(payload, DepthSnapshot):
            self._snapshots.setdefault(record.path, record)
            for symbol in symbols & self.clocks.keys():
                self.times.assume(self.clocks[symbol].now(record.receive_ns))
            return
        if not is_symbol(payload.symbol):
            raise record.error(f"symbol {payload.symbol!r} is not allowed: {SYMBOL_ALLOWED}")
        symbols.add(payload.symbol)
        if not isinstance(payload, BookTicker):
            self._note_time(record, payload)

    def _note_time(self, record: Record, payload: Trade | DepthUpdate | Ticker24h) -> None:
        clock = self.clocks.setdefault(payload.symbol, ExchangeClock())
        clock.observe(payload.event_time * NANOS_PER_MS, record.receive_ns)
        if isinstance(payload, DepthUpdate):
            self.times.assume(clock.now(record.receive_ns))
        time_ms = payload.trade_time if isinstance(payload, Trade) else payload.event_time
        self.times.note(time_ms * NANOS_PER_MS)

    def symbols_of_snapshots(self) -> dict[Path, str]:
        found = {}
        for path, snapshot in self._snapshots.items():
            symbols = self._symbols[path]
            if len(symbols) != 1:
                raise snapshot.error(
                    "a depth snapshot does not say its symbol, so its file must hold exactly one, not "
                    + (", ".join(sorted(symbols)) or "none")
                )
            (symbol,) = symbols
            if symbol in self.clocks:
                found[path] = symbol
        return found


class _Change:
    """A diff whose numbers have been read."""

    __slots__ = ("final_update_id", "first_update_id", "levels", "ts_event")

    def __init__(self, update: DepthUpdate) -> None:
        self.first_update_id = update.first_update_id
        self.final_update_id = update.final_update_id
        self.levels = _orders(update)
        self.ts_event = update.event_time * NANOS_PER_MS


class _Whole:
    """A snapshot whose numbers have been read."""

    __slots__ = ("last_update_id", "levels")

    def __init__(self, snapshot: DepthSnapshot) -> None:
        self.last_update_id = snapshot.last_update_id
        self.levels = _orders(snapshot)


class _Market:
    """One symbol: its messages, in order of receipt, become data. All `now` are receive times in ns."""

    def __init__(self, symbol: str) -> None:
        self._id = instrument_id(symbol)
        self._clock = ExchangeClock()
        self._sync: BookSync[_Change, _Whole] = BookSync()
        self._following = False
        self._early: list[_Whole] = []

    def trade(self, trade: Trade, now: int) -> Any:
        self._observe(trade.event_time, now)
        read = BinanceSpotTradeData(
            e=trade.event,
            E=trade.event_time,
            s=trade.symbol,
            t=trade.trade_id,
            p=_full(trade.price),
            q=_full(trade.quantity),
            T=trade.trade_time,
            m=trade.buyer_is_maker,
        )
        return read.parse_to_trade_tick(self._id, now)

    def ticker(self, ticker: Ticker24h, now: int) -> Any:
        self._observe(ticker.event_time, now)
        names = zip(ticker.__struct_encode_fields__, ticker.__struct_fields__, strict=True)
        read = BinanceTickerData(**{short: getattr(ticker, name) for short, name in names})
        data_type = DataType(BinanceTicker, metadata={"instrument_id": self._id})
        return CustomData(data_type, read.parse_to_binance_ticker(self._id, now))

    def diff(self, update: DepthUpdate, now: int) -> Iterator[Any]:
        self._observe(update.event_time, now)
        steps: list[Step[_Change, _Whole]] = []
        if not self._following:
            self._following = True
            steps += self._sync.lose("start")
        steps += self._sync.on_diff(_Change(update))
        while self._early:
            steps += self._sync.on_snapshot(self._early.pop(0))
        return self._perform(steps, now)

    def snapshot(self, snapshot: DepthSnapshot, now: int) -> Iterator[Any]:
        whole = _Whole(snapshot)
        if not whole.levels:
            return  # cannot be told from a book that is not known; the live client asks again
        if self._following:
            yield from self._perform(self._sync.on_snapshot(whole), now)
        else:
            self._early.append(whole)

    def _observe(self, event_time_ms: int, now: int) -> None:
        self._clock.observe(event_time_ms * NANOS_PER_MS, now)

    def _perform(self, steps: list[Step[_Change, _Whole]], now: int) -> Iterator[Any]:
        for step in steps:
            match step:
                case Apply(change):
                    deltas = messages.change(self._id, change.levels, change.final_update_id, change.ts_event, now)
                    if deltas is not None:
                        yield deltas
                case Replace(whole, continued_by):
                    ts_event = continued_by.ts_event if continued_by else self._clock.now(now)
                    yield messages.replacement(self._id, whole.levels, whole.last_update_id, ts_event, now)
                case Unknown(_, update_id):
                    yield messages.replacement(self._id, [], update_id, self._clock.now(now), now)
                case Fetch():
                    pass  # the next snapshot of the tape is the answer


def _orders(levels: DepthUpdate | DepthSnapshot) -> list[BookOrder]:
    bids, asks = ([(_full(price), _full(quantity)) for price, quantity in side] for side in (levels.bids, levels.asks))
    return list(messages.orders(bids, asks))


def _full(text: str) -> str:
    """Return a number with Binance's 8 decimals; NautilusTrader wants one count for an instrument."""
    return text if text[_POINT:-DECIMALS] == "." else to_text(to_units(text))
