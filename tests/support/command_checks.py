"""What each kind of command in a page is held to, without running it.

A check raises `AssertionError` with what is wrong. Programs of our own are held to their real parsers, those of others
to what they name of ours: files, modules, routes, topics, ports, services, manifests.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit
from warnings import catch_warnings, simplefilter

from app import cli
from app.settings import SECRETS, Settings
from app.topics import plan
from report_server.openapi import document
from support.commands import Command
from support.pages import ROOT
from support.yaml_files import read_all_yaml, read_yaml

MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
SETTINGS: Final = frozenset(field.upper() for field in Settings.__struct_fields__)
# Variables of other programs, and of shells in the pages themselves.
_OTHERS: Final = frozenset({"ARGS", "BOARD_SCREENSHOTS", "CI", "PATH", "PORT_BASE"})
_PLACEHOLDER: Final = re.compile(r"…|<[^>]+>")
_FILE: Final = re.compile(r"[\w./*-]+\.(gz|parquet|jsonl|json|txt|toml|yml|yaml|env|acl|md|token)")


def check(command: Command) -> None:
    """Hold a command to the code, and the settings before it to theirs."""
    for name, _ in command.variables:
        if command.words:
            known = name in SETTINGS | _OTHERS or name.removesuffix("_FILE").lower() in SECRETS or name in of_compose()
            assert known, f"{name} is no setting"
    if command.words:
        CHECKS[command.program](command)


def _context8(command: Command) -> None:
    name, *arguments = command.words[1:]
    assert name in cli._COMMANDS, f"there is no command {name}"
    if "--help" in arguments:
        return
    parser = argparse.ArgumentParser(prog=f"context8 {name}", exit_on_error=False)
    with catch_warnings():
        simplefilter("ignore")  # what libraries say when they are imported is not about the page
        module: Any = import_module(cli._COMMANDS[name])
    module.add_arguments(parser)
    said = StringIO()
    with _files(arguments) as present, redirect_stderr(said):
        try:
            parser.parse_args(present)
        except (SystemExit, argparse.ArgumentError) as error:
            raise AssertionError(said.getvalue() or str(error)) from None


@contextmanager
def _files(arguments: list[str]) -> Iterator[list[str]]:
    """Enter a folder in which the files that arguments name exist, since parsers look for them; give the arguments.

    A `*` in the name of a file is 0001 there, as the shell would have put a name in its place.
    """
    present = [each.replace("*", "0001") if _FILE.fullmatch(each) else each for each in arguments]
    with TemporaryDirectory() as folder:
        here = Path(folder, "a", "b")
        here.mkdir(parents=True)
        for before, each in zip(["", *present], present, strict=False):
            path = Path(os.path.normpath(here / each))
            if _FILE.fullmatch(each) and path.is_relative_to(folder) and before != "--out":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("0123456789abcdef\n")
        with chdir(here):
            yield present


def _make(command: Command) -> None:
    for word in command.words[1:]:
        name, equals, _ = word.partition("=")
        if equals:
            assert f"$({name})" in MAKEFILE or name in SETTINGS | {"SCHEDULES"}, f"nobody reads {name}"
        else:
            assert re.search(rf"^{re.escape(name)}:", MAKEFILE, re.MULTILINE), f"there is no target {name}"


def _curl(command: Command) -> None:
    addresses = [word for word in command.words[1:] if re.match(r"(https?://)?[\w.-]+:\d+(/|$)", word)]
    assert addresses, "no address with a port"
    for address in addresses:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        assert parts.port in ROUTES, f"nothing of ours listens on port {parts.port}"
        allowed = ROUTES[parts.port]
        assert any(re.fullmatch(each, parts.path or "/") for each in allowed), f"{parts.path} is none of {allowed}"


def _workers(port: int, *paths: str) -> dict[int | None, tuple[str, ...]]:
    return dict.fromkeys(range(port, port + 10), paths)


ROUTES: Final[dict[int | None, tuple[str, ...]]] = {
    8080: (*map(re.escape, document()["paths"]), "/", "/mcp"),
    9080: ("/faults", "/api/v3/.*"),
    9081: ("/health", "/metrics", "/health/.*"),
    9090: ("/-/.*", "/api/v1/.*"),
    3000: ("/api/.*",),
    **_workers(6066, "/health", "/health/.*"),
    **_workers(9101, "/metrics"),
}


def _kafka_tool(command: Command) -> None:
    known = {spec.name for spec in plan(Settings())}
    named = [word for word in command.words if word.startswith("nt.") or word.startswith("context8-")]
    assert set(named) <= known, f"{named}: topics are {known}"


def _docker(command: Command) -> None:
    words = list(command.words[1:])
    if words[:1] != ["compose"]:
        _paths_exist(command)
        return
    compose = _compose()
    for scaled in re.findall(r"--scale[ =](\w[\w-]*)=", " ".join(words)):
        assert scaled in compose["services"], f"{scaled} is no service"
    _require(words, "--profile", {name for each in compose["services"].values() for name in each.get("profiles", ())})
    _require_files(command, "-f", "--file", "--env-file")
    verbs = [word for word in words[1:] if word in COMPOSE_VERBS]
    assert verbs, f"no verb that is known: {' '.join(words)}"
    after = words[words.index(verbs[0]) + 1 :]
    names = {word for word in after if word in compose["services"]}
    if verbs[0] in _OF_SERVICES and after:
        plain = [word for word in after if not word.startswith("-")]
        assert not plain or names or verbs[0] == "logs", f"{plain[0]} is no service"


_OF_SERVICES: Final = frozenset({"build", "exec", "kill", "logs", "pull", "restart", "run", "start", "stop"})
COMPOSE_VERBS: Final = _OF_SERVICES | {"config", "cp", "down", "images", "ps", "rm", "top", "up"}


def _kubectl(command: Command) -> None:
    _require_files(command, "-f", "-k", "--filename", "--kustomize", "kustomize")
    known = _of_manifests()
    kinds = {kind for kind, _ in known}
    for before, word in pairwise(command.words):
        kind, slash, name = word.partition("/") if "/" in word else (before, "/", word)
        if slash and kind in kinds and not name.startswith("-") and "=" not in name and "/" not in name:
            assert (kind, name) in known, f"no manifest has {kind} {name}"


@cache
def _of_manifests() -> set[tuple[str, str]]:
    """Kind and name of everything in deploy/k8s; patches and settings of kustomize have neither."""
    every = [each for path in (ROOT / "deploy" / "k8s").rglob("*.yaml") for each in read_all_yaml(path)]
    return {
        (each["kind"].lower(), each["metadata"]["name"])
        for each in every
        if each and "name" in each.get("metadata", {})
    }


def _require(words: list[str], option: str, allowed: set[str]) -> None:
    for at, word in enumerate(words):
        if word == option:
            assert words[at + 1] in allowed, f"{option} {words[at + 1]}: one of {sorted(allowed)}"


def _require_files(command: Command, *options: str) -> None:
    for word, path in pairwise(command.words):
        if word in options and path != "-" and not _PLACEHOLDER.search(path):
            _require_there(command, path)


def _require_there(command: Command, path: str) -> None:
    """Hold a path to what is there, or to what the same block has made before."""
    made = re.search(rf"^(cp|mkdir) .* {re.escape(path)}$", command.block.code, re.MULTILINE)
    assert made or path == ".env" or (ROOT / path).exists(), f"{path} does not exist"


def _paths_exist(command: Command) -> None:
    """Hold every word that looks like a file or folder of the project to what is there."""
    for word in command.words[1:]:
        if re.fullmatch(r"(app|agents|deploy|docs|mcp|producer|requirements|scripts|tables|tests)/[\w./-]*", word):
            _require_there(command, word)


def _python(command: Command) -> None:
    words = command.words[1:]
    if words[:1] == ("-m",):
        assert find_spec(words[1]) is not None, f"there is no module {words[1]}"
    elif words[:1] == ("-c",):
        compile(words[1], "<page>", "exec")
    else:
        _paths_exist(command)


def _script(command: Command) -> None:
    path = ROOT / command.words[0]
    assert path.is_file(), f"{command.words[0]} does not exist"
    assert os.access(path, os.X_OK), f"{command.words[0]} cannot be run"


def _anything(_: Command) -> None:
    """Nothing of ours is named."""


def _compose() -> dict[str, Any]:
    loaded: dict[str, Any] = read_yaml(ROOT / "docker-compose.yml")
    return loaded


def of_compose() -> set[str]:
    """Variables that docker-compose.yml asks for."""
    path = ROOT / "docker-compose.yml"
    return set(re.findall(r"\$\{(\w+)", path.read_text(encoding="utf-8"))) if path.exists() else set()


CHECKS: Final[dict[str, Callable[[Command], None]]] = {
    "context8": _context8,
    "make": _make,
    "curl": _curl,
    "kcat": _kafka_tool,
    "rpk": _kafka_tool,
    "docker": _docker,
    "docker-compose": _docker,
    "kubectl": _kubectl,
    "python": _python,
    "python3": _python,
    "mypy": _paths_exist,
    "pytest": _paths_exist,
    "promtool": _paths_exist,
    "redis-server": _paths_exist,
    "cp": _paths_exist,
    "scripts/compose-secrets": _script,
}
