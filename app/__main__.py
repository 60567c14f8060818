"""`python -m app worker` is `faust worker` for this app.

It ends with 0 if it was told to stop, and else with a code of `app.exit_codes` and a last line that says why.
"""

import os
import sys
from typing import NoReturn

from app import exit_codes, logs, preflight
from app.settings import SettingsError, load


def main() -> NoReturn:
    """Run Faust's command line."""
    # Faust chooses its event loop from the environment, before it is imported.
    os.environ.setdefault("FAUST_LOOP", "uvloop")
    try:
        if "worker" in sys.argv[1:]:
            _let_the_web_port_count(sys.argv)
            config = load()
            logs.configure("worker", config.node_id, config.log_level)
            preflight.check(config)
        from app import app
    except SettingsError as error:
        _end(exit_codes.BAD_SETTING, str(error))
    except preflight.PreflightError as error:
        _end(exit_codes.CANNOT_START, str(error))
    except KeyboardInterrupt:
        sys.exit(0)
    sys.argv.insert(1, "--quiet")  # Faust's banner is no line of JSON
    try:
        sys.exit(app.main())
    except SystemExit:
        if app.failure is not None:
            _end(exit_codes.FAILED, app.failure)
        raise
    except Exception as error:
        _end(exit_codes.CRASHED, f"the worker crashed: {error!r}")


def _end(code: int, reason: str) -> NoReturn:
    print(reason, file=sys.stderr)
    sys.exit(code)


def _let_the_web_port_count(argv: list[str]) -> None:
    """Make Faust's own option a setting, from which those that nobody gave follow."""
    for option in ("--web-port", "-p"):
        if option in argv[:-1]:
            os.environ["WORKER_WEB_PORT"] = argv[argv.index(option) + 1]


if __name__ == "__main__":
    main()
