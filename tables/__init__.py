"""Durable state: symbol snapshots in a RocksDB-backed Faust table with a changelog."""
