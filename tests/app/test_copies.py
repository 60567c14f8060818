from typing import Any

import pytest

from app.copies import Copies, found, shortfall, troubled, wanted


@pytest.mark.parametrize(
    ("setting", "brokers", "copies"),
    [
        ("auto", 0, Copies(1, 1)),
        ("auto", 1, Copies(1, 1)),
        ("auto", 2, Copies(2, 1)),
        ("auto", 3, Copies(3, 2)),
        ("auto", 9, Copies(3, 2)),
        (1, 3, Copies(1, 1)),
        (3, 1, Copies(3, 2)),
        (5, 5, Copies(5, 2)),
    ],
)
def test_one_broker_may_be_lost_where_there_are_three(setting: Any, brokers: int, copies: Copies) -> None:
    assert wanted(setting, brokers) == copies


def test_only_three_copies_and_more_need_a_setting_of_the_topic() -> None:
    assert wanted("auto", 3).config == {"min.insync.replicas": "2"}
    assert wanted("auto", 2).config == wanted("auto", 1).config == {}


@pytest.mark.parametrize(
    ("has", "says"),
    [
        (Copies(1, 1), "has 1 copy, not 3: "),
        (Copies(2, 1), "has 2 copies, 1 of which must have a record, not 3: "),
        (Copies(3, 1), "has min.insync.replicas=1, not 2: an acknowledged record may be lost"),
        (Copies(3, 3), "has min.insync.replicas=3 of 3 copies: nothing can be written while a broker is away"),
    ],
)
def test_what_a_topic_lacks_is_said_with_what_follows(has: Copies, says: str) -> None:
    assert str(shortfall(has, Copies(3, 2))).startswith(says)


@pytest.mark.parametrize("has", [Copies(3, 2), Copies(5, 2), Copies(3, None)])
def test_a_topic_with_enough_lacks_nothing(has: Copies) -> None:
    assert shortfall(has, Copies(3, 2)) is None


def test_a_topic_has_what_its_weakest_partition_has() -> None:
    partitions = [{"replicas": [1, 2, 3]}, {"replicas": [1, 2]}]
    assert found(partitions, {"min.insync.replicas": "2"}) == Copies(2, 2)
    assert found(partitions, {}) == Copies(2, None)


def test_a_partition_that_nobody_leads_is_told_from_one_that_lacks_a_copy() -> None:
    assert troubled(
        [
            {"partition": 2, "leader": 1, "replicas": [1, 2], "isr": [1]},
            {"partition": 1, "leader": -1, "replicas": [1, 2], "isr": [1]},
            {"partition": 0, "leader": 2, "replicas": [1, 2], "isr": [1, 2]},
        ]
    ) == ([1], [2])
