"""No client of Kafka or Redis is made past app/security; one that is would connect without TLS and user."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = ("app", "agents", "tables", "producer", "mcp/report_server")
# Servers on loopback that are started without TLS and users, by those who ask them.
OF_THEIR_OWN = ("app/stack/", "producer/soak")


def clients() -> Iterator[tuple[str, str, ast.Call]]:
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield name, ast.unparse(node.func), node


def test_every_client_of_kafka_is_told_how_to_get_in() -> None:
    made = [(file, call) for file, name, call in clients() if name.startswith("AIOKafka") or name == "create_conn"]
    bare = [
        f"{file}:{call.lineno}"
        for file, call in made
        if not file.startswith(OF_THEIR_OWN) and all(keyword.arg is not None for keyword in call.keywords)
    ]
    assert len(made) > 6
    assert bare == [], "pass **kafka_client(config)"


def test_every_client_of_redis_comes_from_the_one_place() -> None:
    elsewhere = {
        f"{file}:{call.lineno}"
        for file, name, call in clients()
        if name.endswith(("Redis", "Redis.from_url", "ConnectionPool.from_url")) and not file.startswith(OF_THEIR_OWN)
        if file != "app/security/redis.py"
    }
    assert elsewhere == set(), "use redis_client"
