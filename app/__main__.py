"""`python -m app worker` is `faust worker` for this app."""

import os
import sys

from app.settings import SettingsError


def main() -> None:
    """Run Faust's command line."""
    # Faust chooses its event loop from the environment, before it is imported.
    os.environ.setdefault("FAUST_LOOP", "uvloop")
    try:
        from app import app
    except SettingsError as error:
        sys.exit(str(error))
    sys.argv.insert(1, "--quiet")  # Faust's banner is no line of JSON
    app.main()


if __name__ == "__main__":
    main()
