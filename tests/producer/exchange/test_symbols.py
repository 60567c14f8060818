import pytest

from producer.exchange.symbols import listing, split_assets


@pytest.mark.parametrize(
    ("symbol", "assets"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTCFDUSD", ("BTC", "FDUSD")),
        ("1000CATUSDC", ("1000CAT", "USDC")),
    ],
)
def test_a_symbol_splits_into_base_and_quote_asset(symbol: str, assets: tuple[str, str]) -> None:
    assert split_assets(symbol) == assets


@pytest.mark.parametrize("symbol", ["", "btcusdt", "BTC-USDT", "USDT", "BTCXYZ", "A" * 17 + "USDT"])
def test_a_symbol_that_cannot_be_listed_is_refused_by_name(symbol: str) -> None:
    with pytest.raises(ValueError, match=repr(symbol)):
        split_assets(symbol)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "SHIBUSDT", "ETHBTC", "NEWCOINUSDT", "NEWCOINBTC", "NEWCOINTRY"])
def test_a_listing_starts_on_its_own_grid(symbol: str) -> None:
    listed = listing(symbol)
    assert listed.price % listed.info.tick == 0
    assert listed.quantity % listed.info.step == 0
    assert listed.price > 0
    assert listed.quantity > 0
