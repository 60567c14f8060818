"""`context8 worker`: `faust worker` for this app, with its settings checked first."""

import argparse
import os
import sys

from app import exit_codes, traces
from app.settings import SettingsError, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that differ between the workers of one host."""
    follows = "unless they are set, metrics port and data folder follow it"
    parser.add_argument("--web-port", type=int, help=f"port of /health, default WORKER_WEB_PORT; {follows}")


def run(args: argparse.Namespace) -> int:
    """Become `python -m app worker`; does not return unless a setting is wrong."""
    try:
        traces.require(load())
    except SettingsError as error:
        print(error, file=sys.stderr)
        return exit_codes.BAD_SETTING
    options = ["--web-port", str(args.web_port)] if args.web_port else []
    # A process of its own image: Faust wants to choose the event loop before anything else is imported.
    return os.execv(sys.executable, [sys.executable, "-m", "app", "worker", *options])  # noqa: S606
