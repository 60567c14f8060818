from agents.owned import Owned, OwnedSymbol
from app.health_pages import MOST_SHOWN, shown
from app.microstructure.engine import EngineParams, SymbolEngine
from tables.records import Writer


def test_a_page_has_a_bound_however_many_symbols_there_are() -> None:
    owned = Owned()
    for number in range(MOST_SHOWN + 100, 0, -1):
        name = f"S{number:05}USDT"
        owned.symbols[name] = OwnedSymbol(SymbolEngine(name, EngineParams()), 0, writer=Writer(owned.owner))
    said = shown(owned)
    assert list(said) == [f"S{number:05}USDT" for number in range(1, MOST_SHOWN + 1)]
    assert said["S00001USDT"] == {"epoch": None, "offset": -1, "fenced": False, "incomplete": None}
