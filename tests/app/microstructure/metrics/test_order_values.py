import pytest

from app.microstructure.metrics.order_values import Order


def order(**changes: int) -> Order:
    return Order(99.8, 20.0, placed_at=0, units=1000, left=changes.pop("left", 1000), size_id=0, **changes)


def test_the_size_is_that_of_one_placement() -> None:
    assert order(placements=4).size == 250


@pytest.mark.parametrize(("left", "gone"), [(250, True), (251, False)])
def test_an_order_is_gone_when_at_most_a_quarter_is_left(left: int, gone: bool) -> None:
    assert order(left=left).gone is gone


@pytest.mark.parametrize(("cancelled", "pulled"), [(750, True), (749, False)])
def test_an_order_is_pulled_when_three_quarters_were_cancelled(cancelled: int, pulled: bool) -> None:
    assert order(left=0, cancelled=cancelled).pulled is pulled
