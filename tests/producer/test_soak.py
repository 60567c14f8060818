"""The soak's own measuring; the soak itself takes minutes and is run by hand."""

import os

from producer.soak import HEAD, _cpu_sec, _percentiles, _rss_mb


def test_percentiles_are_of_the_values_in_order() -> None:
    assert _percentiles([float(value) for value in range(100, 0, -1)]) == "51/100 ms"
    assert _percentiles([]) == "–"


def test_this_process_has_used_time_and_memory() -> None:
    assert _cpu_sec(os.getpid()) > 0
    assert 10 < _rss_mb(os.getpid()) < 100_000


def test_the_head_of_the_table_fits_its_rule() -> None:
    head, rule = HEAD.splitlines()
    assert head.count("|") == rule.count("|")
