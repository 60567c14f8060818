import msgspec
import pytest

from producer.exchange.messages import BookTicker, DepthSnapshot, DepthUpdate, Message, Ticker24h, Trade
from producer.exchange.sim import SimMarket

NS = 1_000_000_000


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        ("trade", Trade),
        ("depth@100ms", DepthUpdate),
        ("bookTicker", BookTicker),
        ("ticker", Ticker24h),
        ("depth20", DepthSnapshot),
    ],
)
def test_a_struct_reads_what_it_wrote(stream: str, kind: type) -> None:
    market = SimMarket(["BTCUSDT"], seed=7, rate=100, start_ns=NS)
    messages = list(market.advance(2 * NS, {f"btcusdt@{stream}"}))
    assert messages
    for message in messages:
        assert msgspec.json.encode(msgspec.json.decode(message.payload, type=kind)) == message.payload


def test_a_combined_message_wraps_the_payload_under_its_streams_name() -> None:
    assert Message("btcusdt@trade", b'{"t":1}').combined() == b'{"stream":"btcusdt@trade","data":{"t":1}}'
