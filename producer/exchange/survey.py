"""What must be known of a tape before it is played, found by reading all of it once.

So a damaged line is found before the first message leaves, the book's starting point is known although the
snapshot comes after the first diffs, and the tick size can be told from the prices. The tape is read again
while it is played, and is never in memory as a whole.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

from producer.exchange.book import Depth, Level
from producer.exchange.messages import BookTicker, DepthSnapshot, DepthUpdate, Ticker24h, Trade
from producer.exchange.symbols import SymbolInfo, split_assets
from producer.exchange.tape import Record, Recorded, TapeError, depth_of, levels_of
from producer.exchange.units import to_units

_NS_PER_MS = 1_000_000


class TapeSymbol(msgspec.Struct):
    """What a tape holds of one symbol.

    `clock_lead_ns` is how far the venue's clock was ahead of the recorder's, at the least: the greatest of
    event time minus receive time. `openings` says from which snapshot the book goes on at the first diff and
    at each that does not continue the one before, keyed by its first update id, in the tape's order.
    `last_update_id` and `last_trade_id` are the greatest ids, book tickers included.
    """

    info: SymbolInfo
    has_book_ticker: bool = False
    has_ticker: bool = False
    openings: dict[int, Depth] = msgspec.field(default_factory=dict)
    clock_lead_ns: int = -(2**63)
    last_update_id: int = 0
    first_trade_id: int | None = None
    last_trade_id: int = 0


class Survey(msgspec.Struct, frozen=True):
    """What a whole tape holds: its symbols in order of their name, the first receive time, the lines."""

    symbols: dict[str, TapeSymbol]
    start_ns: int
    lines: int


def survey(records: Iterable[Record]) -> Survey:
    """Return what the records of a tape hold.

    Raises:
        TapeError: the tape cannot be played: a symbol without diffs, or with diffs that continue no snapshot.
    """
    scan = _Scan()
    start_ns, lines = 0, 0
    for record in records:
        start_ns = start_ns if lines else record.receive_ns
        lines += 1
        try:
            scan.note(record)
        except ValueError as error:
            raise record.error(error) from None
    scan.finish()
    return Survey(dict(sorted(scan.symbols.items())), start_ns, lines)


class _Scan:
    """Gathers `TapeSymbol`s record by record."""

    def __init__(self) -> None:
        self.symbols: dict[str, TapeSymbol] = {}
        self._symbols_of: dict[Path, set[str]] = {}
        self._snapshots: list[tuple[Record, Depth]] = []
        # The diffs that do not continue the one before: at each, a book must start from a snapshot.
        self._starts: list[tuple[Record, str, int]] = []
        self._next_update_id: dict[str, int] = {}

    def note(self, record: Record) -> None:
        payload = record.payload
        if isinstance(payload, DepthSnapshot):
            self._snapshots.append((record, depth_of(payload)))
        elif payload is not None:
            entry = self._entry(record.path, payload.symbol)
            if not isinstance(payload, BookTicker):
                lead = payload.event_time * _NS_PER_MS - record.receive_ns
                entry.clock_lead_ns = max(entry.clock_lead_ns, lead)
            self._note_message(entry, record, payload)

    def _note_message(self, entry: TapeSymbol, record: Record, payload: Recorded) -> None:
        match payload:
            case Trade():
                _note_grid(entry, [(to_units(payload.price), to_units(payload.quantity))])
                if entry.first_trade_id is None:
                    entry.first_trade_id = payload.trade_id
                entry.last_trade_id = max(entry.last_trade_id, payload.trade_id)
            case DepthUpdate():
                _note_grid(entry, levels_of(payload.bids) + levels_of(payload.asks))
                self._note_update(entry, record, payload)
            case BookTicker():
                entry.has_book_ticker = True
                entry.last_update_id = max(entry.last_update_id, payload.update_id)
            case Ticker24h():
                entry.has_ticker = True

    def _note_update(self, entry: TapeSymbol, record: Record, update: DepthUpdate) -> None:
        entry.last_update_id = max(entry.last_update_id, update.final_update_id)
        if update.first_update_id > self._next_update_id.get(update.symbol, -1):
            self._starts.append((record, update.symbol, update.first_update_id))
        self._next_update_id[update.symbol] = update.final_update_id + 1

    def _entry(self, path: Path, symbol: str) -> TapeSymbol:
        self._symbols_of.setdefault(path, set()).add(symbol)
        if symbol not in self.symbols:
            base, quote = split_assets(symbol)
            self.symbols[symbol] = TapeSymbol(SymbolInfo(symbol, base, quote, tick=0, step=0))
        return self.symbols[symbol]

    def finish(self) -> None:
        snapshots: dict[str, list[Depth]] = {symbol: [] for symbol in self.symbols}
        for record, depth in self._snapshots:
            symbol = self._symbol_of(record)
            snapshots[symbol].append(depth)
            _note_grid(self.symbols[symbol], depth.bids + depth.asks)
        for record, symbol, first_update_id in self._starts:
            behind = [it for it in snapshots[symbol] if it.last_update_id >= first_update_id - 1]
            if not behind:
                raise record.error(
                    f"the diff from update id {first_update_id} on continues no depth snapshot of {symbol}"
                )
            self.symbols[symbol].openings[first_update_id] = behind[0]
        for symbol, entry in self.symbols.items():
            if not entry.openings:
                raise TapeError(f"the tape has messages of {symbol} but no diffs ({symbol.lower()}@depth@100ms)")
            tick, step = _power_of_ten(entry.info.tick), _power_of_ten(entry.info.step)
            entry.info = msgspec.structs.replace(entry.info, tick=tick, step=step)

    def _symbol_of(self, snapshot: Record) -> str:
        symbols = self._symbols_of.get(snapshot.path, set())
        if len(symbols) != 1:
            raise snapshot.error(
                "a depth snapshot does not say its symbol, so its file must hold exactly one, not "
                + (", ".join(sorted(symbols)) or "none")
            )
        return next(iter(symbols))


def _note_grid(entry: TapeSymbol, levels: list[Level]) -> None:
    # The grid is the coarsest power of ten that divides every price, or quantity. While it is being gathered,
    # their greatest common divisor stands in its place.
    tick = math.gcd(entry.info.tick, *(price for price, _ in levels))
    step = math.gcd(entry.info.step, *(quantity for _, quantity in levels))
    if (tick, step) != (entry.info.tick, entry.info.step):
        entry.info = msgspec.structs.replace(entry.info, tick=tick, step=step)


def _power_of_ten(divisor: int) -> int:
    power = 1
    while divisor and divisor % (power * 10) == 0:
        power *= 10
    return power
