"""RocksDB databases that stay open while their partitions come and go.

Stock Faust closes a partition's database when it is revoked, collects garbage, and opens it again when it comes
back: 65 to 156 ms of a rebalance in which no symbol reports. A worker's data folder belongs to it alone, so
nothing is gained by closing. Here all databases are opened before the worker joins the group, and stay open.
"""

import asyncio
import gc
from typing import Any, Final

from faust.stores import STORES, rocksdb
from faust.types import TP

STORE_URL: Final = "rocksdb-held://"
OPTIONS: Final = {
    "driver": "rocksdict",
    # Faust's defaults, 64 MB thrice and a cache of 2 GB, are for one database, not for one a partition.
    "write_buffer_size": 1 << 20,
    "max_write_buffer_number": 2,
    "target_file_size_base": 8 << 20,
    "block_cache_size": 1 << 20,
    "max_open_files": 32,
}

STORES.aliases["rocksdb-held"] = "tables.store:HeldStore"


class HeldStore(rocksdb.Store):
    """A RocksDB store that opens every partition's database at start and closes them at the end."""

    async def on_start(self) -> None:
        """Open all databases, then set aside what was made so far: a collection has less to look at."""
        await super().on_start()
        for partition in range(self.table.partitions):
            self._db_for_partition(partition)
            await asyncio.sleep(0)
        gc.collect()
        gc.freeze()

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        """Keep the databases: they are out of date when their partitions come back, and recovery knows from where."""
