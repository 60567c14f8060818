"""Carries out a Dockerfile as it is written, without a container engine: each stage in a root of its own, by chroot.

A root shows the folders of a base system (usr, etc, …) read-only; beside them lies what the instructions make. So a
RUN that writes anywhere else fails, which ours do not. A container of the result has what docker-compose.yml gives it:
a read-only root, a /tmp in memory, the user of the image without any right; and a network of its own, loopback only.

Needs root and the right to mount, which `missing` tells.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from shlex import join, quote
from typing import Final

import msgspec

from support.dockerfile import Dockerfile, Instruction, Stage

_SHOWN: Final = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc")
_MADE: Final = ("dev", "proc", "root", "tmp", "opt", "run", "var/lib")
_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# What a machine says about its package index and certificates; no file of the project holds it.
_PASSED: Final = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_", "https_")
_LOOPBACK_UP: Final = (
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1))"
)
_LIMIT_SEC: Final = 600


class StepError(Exception):
    """An instruction that did not work, with what it said."""


class Base(msgspec.Struct, frozen=True):
    """A system to build upon; by default this one.

    Attributes:
        root: its root.
        local: what is shown as /usr/local, where the official images have Python.
        environment: what its images set; here where Python's own library lies, which theirs tell the linker.
    """

    root: Path = Path("/")
    local: Path = Path(sys.base_prefix)
    environment: tuple[tuple[str, str], ...] = (("LD_LIBRARY_PATH", "/usr/local/lib"),)


def missing() -> str | None:
    """Return why nothing can be built here, `None` if it can."""
    if os.geteuid() != 0:
        return "only root can carry out a Dockerfile (chroot, mount)"
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/tmp"]
    try:
        found = subprocess.run(probe, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"unshare: {error.strerror}"
    return None if found.returncode == 0 else f"this machine does not let us mount: {found.stderr.strip()}"


class ImageBuild:
    """Builds stages of `dockerfile` below `folder`, from the files of `context` that its .dockerignore lets through."""

    def __init__(self, dockerfile: Dockerfile, context: Path, folder: Path, base: Base) -> None:
        self.file = dockerfile
        self._context = context
        self._folder = folder
        self._base = base
        self._ignore = (context / ".dockerignore").read_text(encoding="utf-8").split("\n")
        self._built: dict[str, Path] = {}

    def build(self, name: str) -> Path:
        """Return the root of the stage `name`, built with all that it needs.

        Raises:
            StepError: an instruction did not work.
        """
        if name not in self._built:
            self._built[name] = self._build(self.file.stages[name])
        return self._built[name]

    def run(self, name: str, command: Sequence[str], volume: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `command` as a container of the stage would; `volume` is a folder of it that may be written."""
        root, user = self.build(name), self.file.last(name, "USER")
        own = [f"mount -t tmpfs -o size=16m,mode=1777 none {root}/tmp"]
        if volume:
            own += [f"mount --bind {root}{volume} {root}{volume}"]
        own += [f"mount -o remount,bind,ro {root}", f"{sys.executable} -c {quote(_LOOPBACK_UP)}"]
        ids = (user.text if user else "0:0").split(":")
        as_user = ["setpriv", f"--reuid={ids[0]}", f"--regid={ids[1]}", "--clear-groups", "--no-new-privs"]
        as_user += ["--bounding-set=-all", "--inh-caps=-all", *command]
        workdir = self.file.last(name, "WORKDIR")
        environment = self.file.environment(name)
        return self._in_root(root, as_user, environment, workdir.text if workdir else "/", own, net=False)

    def _build(self, stage: Stage) -> Path:
        root = self._folder / stage.name
        if stage.base in self.file.stages:
            _copy_all(self.build(stage.base), root)
        else:
            for folder in _MADE:
                (root / folder).mkdir(parents=True)
        cwd = self.file.last(stage.base, "WORKDIR") if stage.base in self.file.stages else None
        workdir = cwd.text if cwd else "/"
        environment = self.file.environment(stage.base) if stage.base in self.file.stages else {}
        for instruction in stage.instructions:
            match instruction.word:
                case "ENV":
                    environment |= instruction.pairs
                case "WORKDIR":
                    workdir = instruction.text
                    (root / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(instruction, root, workdir)
                case "RUN":
                    done = self._in_root(root, ["sh", "-c", instruction.text], environment, workdir, [], net=True)
                    if done.returncode:
                        raise StepError(f"RUN {instruction.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return root

    def _copy(self, copy: Instruction, root: Path, workdir: str) -> None:
        sources, text = copy.paths
        target = root / str(Path(workdir) / text).lstrip("/")
        origin = self.build(copy.flags["from"]) if "from" in copy.flags else self._context
        ignore = None if "from" in copy.flags else self._ignored
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir() and ignore is None:
                _copy_all(found, target, "-l")  # the same files: thousands, which nothing changes any more
            elif found.is_dir():
                shutil.copytree(found, target, symlinks=True, dirs_exist_ok=True, ignore=ignore)
            elif ignore and not self.included(source):
                raise StepError(f"COPY {source}: .dockerignore leaves it out")
            else:
                folder = target if text.endswith(("/", ".")) else target.parent
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, folder / found.name if folder == target else target)

    def _ignored(self, folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).relative_to(self._context)
        return [name for name in names if not self.included(str(inside / name))]

    def included(self, path: str) -> bool:
        """Return whether .dockerignore lets `path` or something in it through; the last pattern that fits decides."""
        verdict = True
        for line in filter(lambda text: text and not text.startswith("#"), self._ignore):
            pattern = line.removeprefix("!")
            held = any(fnmatch(part, pattern) for part in _and_parents(path))
            held |= pattern.startswith("**/") and Path(path).name == pattern[3:]
            # A folder is looked into when something in it is let through.
            held |= line.startswith("!") and pattern.startswith(f"{path}/")
            verdict = line.startswith("!") if held else verdict
        return verdict

    def _in_root(
        self,
        root: Path,
        command: Sequence[str],
        environment: Mapping[str, str],
        workdir: str,
        mounts: Sequence[str],
        *,
        net: bool,
    ) -> "subprocess.CompletedProcess[str]":
        passed = {key: value for key, value in os.environ.items() if net and key.startswith(_PASSED)}
        variables = {"PATH": _PATH, "HOME": "/root", **dict(self._base.environment), **passed, **environment}
        given = [f"{key}={value}" for key, value in variables.items()]
        inside = f"cd {quote(workdir)} && exec {join(command)}"
        script = [
            "set -e",
            "mount --make-rprivate /",
            f"mount --bind {root} {root}",
            *self._shown(root),
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            *mounts,
            f"exec chroot {root} {join(['/usr/bin/env', '-i', *given, 'sh', '-c', inside])}",
        ]
        spaces = ["--mount", "--pid", "--fork", "--kill-child", *([] if net else ["--net"])]
        command = ["unshare", *spaces, "sh", "-c", "\n".join(script)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_SEC)

    def _shown(self, root: Path) -> list[str]:
        mounts = []
        for name in _SHOWN:
            origin, target = self._base.root / name, root / name
            if origin.is_symlink():
                if not target.is_symlink():
                    target.symlink_to(origin.readlink())
            elif origin.is_dir():
                target.mkdir(exist_ok=True)
                mounts += [f"mount --bind {origin} {target}", f"mount -o remount,bind,ro {target}"]
        local = root / "usr/local"
        return [*mounts, f"mount --bind {self._base.local} {local}", f"mount -o remount,bind,ro {local}"]


def _copy_all(source: Path, target: Path, *options: str) -> None:
    """Copy a folder with its owners, which shutil does not."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", *options, f"{source}/.", f"{target}/"], check=True)


def _and_parents(path: str) -> list[str]:
    return [path, *(str(parent) for parent in Path(path).parents if parent != Path())]
