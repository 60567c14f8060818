"""Writes the dashboards: `python deploy/grafana/build.py` after a change of a page.

They go to dashboards/ beside this file, or to the folder that is given. A test fails when they are not up to date.
"""

import sys
from pathlib import Path

from fleet_page import FLEET
from form import render
from kafka_page import KAFKA
from reader_page import READER
from symbol_page import SYMBOL


def main(folder: Path) -> None:
    """Write every dashboard into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for dashboard in (FLEET, SYMBOL, READER, KAFKA):
        (folder / f"{dashboard.uid.removeprefix('context8-')}.json").write_text(render(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
