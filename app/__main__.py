"""`python -m app worker` is `faust worker` for this app.

It ends with 0 if it was told to stop, and else with a code of `app.exit_codes` and a last line that says why.
"""

import logging
import os
import sys
from typing import NoReturn

from app import exit_codes, logs, preflight, traces
from app.settings import SettingsError, load

logger = logging.getLogger(__name__)


def main() -> NoReturn:
    """Run Faust's command line."""
    # Faust chooses its event loop from the environment, before it is imported.
    os.environ.setdefault("FAUST_LOOP", "uvloop")
    try:
        if "worker" in sys.argv[1:]:
            _let_the_web_port_count(sys.argv)
            config = load()
            traces.require(config)
            logs.configure("worker", config.node_id, config.log_level, config.secret_values)
            preflight.check(config)
        from app import app
    except SettingsError as error:
        _refuse(exit_codes.BAD_SETTING, str(error))
    except preflight.PreflightError as error:
        _refuse(exit_codes.CANNOT_START, str(error))
    except KeyboardInterrupt:
        sys.exit(0)
    sys.argv.insert(1, "--quiet")  # Faust's banner is no line of JSON
    try:
        sys.exit(app.main())
    except SystemExit:
        if app.failure is not None:
            code, reason = app.failure
            logger.critical("%s", reason)
            logging.shutdown()
            os._exit(code)  # whatever has failed may also keep the interpreter from ending
        raise
    except Exception as error:
        logger.critical("the worker crashed: %r", error, exc_info=True)
        sys.exit(exit_codes.CRASHED)


def _refuse(code: int, reason: str) -> NoReturn:
    """End before anything was begun, with a line for whoever started this."""
    print(reason, file=sys.stderr)
    sys.exit(code)


def _let_the_web_port_count(argv: list[str]) -> None:
    """Make Faust's own option a setting, from which those that nobody gave follow."""
    for option in ("--web-port", "-p"):
        if option in argv[:-1]:
            os.environ["WORKER_WEB_PORT"] = argv[argv.index(option) + 1]


if __name__ == "__main__":
    main()
