"""`python -m app worker` is `faust worker` for this app."""

import os
import sys

from app import preflight
from app.settings import SettingsError, load


def main() -> None:
    """Run Faust's command line."""
    # Faust chooses its event loop from the environment, before it is imported.
    os.environ.setdefault("FAUST_LOOP", "uvloop")
    try:
        if "worker" in sys.argv[1:]:
            config = load()
            preflight.check(config, _web_port(sys.argv, config.worker_web_port))
        from app import app
    except (SettingsError, preflight.PreflightError) as error:
        sys.exit(str(error))
    sys.argv.insert(1, "--quiet")  # Faust's banner is no line of JSON
    app.main()


def _web_port(argv: list[str], default: int) -> int:
    for option in ("--web-port", "-p"):
        if option in argv[:-1] and (given := argv[argv.index(option) + 1]).isdecimal():
            return int(given)
    return default


if __name__ == "__main__":
    main()
