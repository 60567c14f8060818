"""What a deployment says about our processes, held against the code: commands, settings, ports and addresses."""

import argparse
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import msgspec

from app import cli
from app.settings import SECRETS, Settings, load

WORDS: Final = frozenset(field.name.upper() for field in msgspec.structs.fields(Settings))
NAMES: Final = WORDS | {f"{name.upper()}_FILE" for name in SECRETS}
DEFAULTS: Final = Settings()

PORTS: Final = {
    "producer": {DEFAULTS.producer_http_port},
    "worker": {DEFAULTS.worker_web_port, DEFAULTS.metrics_port},
    "reader": {DEFAULTS.reader_port},
}


def parsed(command: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of a `context8` command as the command itself understands them.

    Raises:
        SystemExit: there is no such command, or it does not take these arguments.
    """
    name, *arguments = command
    if name not in cli._COMMANDS:
        raise SystemExit(f"context8 has no command {name!r}")
    parser = argparse.ArgumentParser(prog=f"context8 {name}")
    import_module(cli._COMMANDS[name]).add_arguments(parser)
    return parser.parse_args(arguments)


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings that a process with this environment has; a name that is no setting is an error.

    Raises:
        SettingsError: a value is not allowed.
        KeyError: a name is not known.
    """
    if unknown := environment.keys() - NAMES:
        raise KeyError(f"no settings: {', '.join(sorted(unknown))}")
    return load(dict(environment), None)
