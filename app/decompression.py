"""Kafka's codecs with a bound to what comes out of them.

A record batch of a few KB can stand for gigabytes. aiokafka decompresses a batch whole, and has no limit; brokers limit
the compressed size alone (`message.max.bytes`). What exceeds `MAX_BATCH_BYTES` is `TooLargeError`, and no more memory
than that was used to find out.
"""

import zlib
from collections.abc import Callable
from typing import Final

import cramjam

MAX_BATCH_BYTES: Final = 32 << 20
"""What one record batch may be when decompressed; the batches of common clients are 1 MB at most."""

_GZIP: Final = zlib.MAX_WBITS | 16
_FIRST_ROOM: Final = 16  # times the compressed size, and as many times more if that was not enough
_FULL: Final = "failed to write whole buffer"  # cramjam has one type of error
_SNAPPY_STREAM: Final = b"\x82SNAPPY\0"
_SNAPPY_HEADER: Final = 16

type Compressed = bytes | bytearray | memoryview


class TooLargeError(ValueError):
    """A batch is larger than `MAX_BATCH_BYTES`."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_BATCH_BYTES >> 20} MiB when decompressed")


def gzip_decode(payload: Compressed) -> bytes:
    """Decompress all members of a gzip file.

    Raises:
        TooLargeError: it is too large.
        ValueError: it is damaged.
    """
    rest, parts, room = bytes(payload), [], MAX_BATCH_BYTES
    while rest:
        member = zlib.decompressobj(_GZIP)
        try:
            parts.append(member.decompress(rest, room + 1))
        except zlib.error as error:
            raise ValueError(str(error)) from error
        room -= len(parts[-1])
        if room < 0:
            raise TooLargeError
        if not member.eof:
            raise ValueError("the gzip data have no end")
        rest = member.unused_data
    return b"".join(parts)


def zstd_decode(payload: Compressed) -> bytes:
    """Decompress a zstd frame; raises like `gzip_decode`."""
    return _into_a_buffer(cramjam.zstd.decompress_into, payload)


def lz4_decode(payload: Compressed) -> bytes:
    """Decompress an lz4 frame; raises like `gzip_decode`."""
    return _into_a_buffer(cramjam.lz4.decompress_into, payload)


def snappy_decode(payload: Compressed) -> bytes:
    """Decompress a block of snappy or a stream of the Java client's; raises like `gzip_decode`."""
    blocks = _snappy_blocks(bytes(payload))
    try:
        if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > MAX_BATCH_BYTES:
            raise TooLargeError
        return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from error


def _snappy_blocks(data: bytes) -> list[bytes]:
    """Return the blocks, each of which says how long it is when decompressed."""
    if not data.startswith(_SNAPPY_STREAM):
        return [data]
    blocks, at = [], _SNAPPY_HEADER
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        blocks.append(data[at + 4 : at + 4 + length])
        if len(blocks[-1]) != length:
            raise ValueError("the snappy data have no end")
        at += 4 + length
    return blocks


def _into_a_buffer(decompress_into: Callable[[Compressed, bytearray], int], payload: Compressed) -> bytes:
    size = _FIRST_ROOM * len(payload)
    while True:
        buffer = bytearray(min(size, MAX_BATCH_BYTES))
        try:
            return bytes(memoryview(buffer)[: decompress_into(payload, buffer)])
        except cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise ValueError(str(error)) from error
        if size >= MAX_BATCH_BYTES:
            raise TooLargeError
        size *= _FIRST_ROOM
