"""`scripts/check-image`: builds roles of the Dockerfile on a given root, runs what their containers run, says sizes.

A role is good if its command answers `--help`, its health check can be run and says no where nothing listens, and its
user can write its folder and /tmp only.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from support import dockerfile
from support.compose import ROOT
from support.image_build import Base, ImageBuild, missing

_ROLES: Final = ("reader", "worker", "producer")
_VOLUME: Final = "/var/lib/context8"
_PLACES: Final = "/ /opt /opt/context8/bin /var/lib /etc /usr/local /root /var/lib/context8 /tmp"
_WRITES: Final = f'for place in {_PLACES}; do touch "$place/x" 2>/dev/null && echo "$place"; done; id -u'
# Besides its own: what Compose and Kubernetes have the image do.
_COMMANDS: Final = {"reader": ("reader",), "worker": ("worker", "topics"), "producer": ("producer", "exchange")}


def main(base: Path, roles: list[str]) -> int:
    """Check `roles`, all by default; return the exit code."""
    if why := missing():
        print(f"check-image: {why}", file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="context8-image-"))
    folder.chmod(0o755)
    build = ImageBuild(
        dockerfile.read(ROOT / "deploy" / "docker" / "Dockerfile"), ROOT, folder, Base(base, base / "usr" / "local", ())
    )
    problems = [problem for role in roles or _ROLES for problem in _check(build, role)]
    shutil.rmtree(folder)
    for problem in problems:
        print(f"  ✗ {problem}", file=sys.stderr)
    return 1 if problems else 0


def _check(build: ImageBuild, role: str) -> list[str]:
    began = time.monotonic()
    root = build.build(role)
    size = subprocess.run(["du", "-sm", str(root)], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"  ✓ {role:9} built in {time.monotonic() - began:.0f} s, {size} MB on top of the base image", flush=True)
    problems = []
    for command in _COMMANDS[role]:
        answer = build.run(role, [*_entry(build, role), command, "--help"])
        if answer.returncode or "usage: context8" not in answer.stdout:
            problems.append(f"{role}: {command} --help ended with {answer.returncode}: {answer.stderr[-2000:]}")
    check = build.file.last(role, "HEALTHCHECK")
    asked = build.run(
        role, msgspec.json.decode(check.text.removeprefix("CMD "), type=list[str]) if check else ["false"]
    )
    if asked.returncode != 1 or "refused" not in asked.stdout:
        problems.append(f"{role}: the health check ended with {asked.returncode}: {asked.stdout}{asked.stderr[-2000:]}")
    written = build.run(role, ["sh", "-c", _WRITES], volume=_VOLUME).stdout.split()
    if written != [_VOLUME, "/tmp", "10001"]:
        problems.append(f"{role}: could write {written}")
    return problems


def _entry(build: ImageBuild, role: str) -> list[str]:
    entry = build.file.last(role, "ENTRYPOINT")
    return (entry.exec_form if entry else None) or []


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
