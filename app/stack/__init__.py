"""Kafka and Redis without Docker: real servers as child processes on loopback, for the demo and the tests.

`process` starts and stops any child and ties its life to ours; `kafka` and `redis` start the two servers
with it; `java` and `kafka_files` find what the broker runs on; `ports` names the system's ports. All of it is
synchronous: an asyncio program calls the slow parts (`start`, `stop`) through `asyncio.to_thread`.
"""
