import pytest

from app.membership import Membership


@pytest.mark.parametrize(
    ("earlier", "follows"),
    [
        (Membership("me", 4), True),
        (Membership("me", 5), True),
        (Membership("me", 3), False),
        (Membership("me before I was expelled", 4), False),
        (None, False),
    ],
)
def test_partitions_never_left_us_if_we_were_in_each_generation(earlier: Membership | None, follows: bool) -> None:
    assert Membership("me", 5).follows(earlier) == follows
