import tracemalloc
from typing import Any

import pytest
from aiokafka import codec
from hypothesis import given
from hypothesis import strategies as st

from app import decompression
from app.decompression import MAX_BATCH_BYTES, TooLargeError

CODECS = ["gzip", "lz4", "snappy", "zstd"]
each_codec = pytest.mark.parametrize("name", CODECS)


def encoded(name: str, data: bytes, **options: Any) -> bytes:
    found: bytes = getattr(codec, f"{name}_encode")(data, **options)
    return found


def decoded(name: str, payload: bytes) -> bytes:
    found: bytes = getattr(decompression, f"{name}_decode")(memoryview(payload))
    return found


@given(name=st.sampled_from(CODECS), data=st.binary(max_size=5000), times=st.integers(1, 500))
def test_what_was_compressed_comes_out_again(name: str, data: bytes, times: int) -> None:
    assert decoded(name, encoded(name, data * times)) == data * times


def test_both_forms_of_snappy_are_known() -> None:
    data = b"price" * 50_000
    assert decoded("snappy", encoded("snappy", data, xerial_compatible=False)) == data
    assert decoded("snappy", encoded("snappy", data, xerial_blocksize=1000)) == data


def test_gzip_may_have_several_members() -> None:
    assert decoded("gzip", encoded("gzip", b"one ") + encoded("gzip", b"two")) == b"one two"


@each_codec
def test_the_limit_itself_is_allowed_and_a_byte_more_is_not(name: str) -> None:
    assert len(decoded(name, encoded(name, bytes(MAX_BATCH_BYTES)))) == MAX_BATCH_BYTES
    with pytest.raises(TooLargeError, match="more than 32 MiB when decompressed"):
        decoded(name, encoded(name, bytes(MAX_BATCH_BYTES + 1)))


@each_codec
def test_a_bomb_costs_no_more_memory_than_the_limit(name: str) -> None:
    bomb = encoded(name, bytes(10 * MAX_BATCH_BYTES))
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        decoded(name, bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.2 * MAX_BATCH_BYTES


@given(
    name=st.sampled_from(CODECS),
    data=st.binary(min_size=50, max_size=300),
    at=st.integers(0, 10_000),
    cut=st.booleans(),
)
def test_damage_is_a_value_error_or_other_bytes_and_nothing_else(name: str, data: bytes, at: int, cut: bool) -> None:
    payload = bytearray(encoded(name, data))
    at %= len(payload)
    damaged = (
        bytes(payload[:at]) if cut else bytes(payload[:at]) + bytes([payload[at] ^ 0x55]) + bytes(payload[at + 1 :])
    )
    try:
        found = decoded(name, damaged)
    except ValueError:
        return
    assert len(found) <= MAX_BATCH_BYTES
