"""What the producer writes: JSON lines only, also of what native code writes."""

import json
import logging
import subprocess
import sys

import pytest

from producer.log_output import log_line

PROGRAM = """
import logging, os, sys
from app import logs
from producer.log_output import NativeOutput

native = NativeOutput()
native.start()
logs.configure("producer", "node-1", "INFO")
os.write(1, b"2026-11-22T08:00:00.000000000Z [WARN] CONTEXT8-001.DataEngine: it is late\\n")
os.write(2, b"\\x1b[1m2026-11-22T08:00:00.000000000Z [ERROR] CONTEXT8-001.Cache: it is \\"broken\\"\\x1b[0m\\n")
os.write(2, b"thread 'main' panicked\\n")
logging.getLogger("ours").info("from Python")
native.drain()
logging.getLogger("ours").info("drained")
os.write(1, b"2026-11-22T08:00:00.000000000Z [INFO] CONTEXT8-001.DataEngine: DISPOSED\\n")
"""


def test_what_native_code_writes_becomes_json_lines() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    drained = next(at for at, line in enumerate(lines) if line["message"] == "drained")
    found = {(line["level"], line["message"]) for line in lines[:drained]}
    assert found == {
        ("WARNING", "CONTEXT8-001.DataEngine: it is late"),
        ("ERROR", 'CONTEXT8-001.Cache: it is "broken"'),
        ("WARNING", "thread 'main' panicked"),
        ("INFO", "from Python"),
    }
    assert done.stdout == "", "what comes after the end is a record or lost, never plain text"


def test_a_line_keeps_its_component_as_the_name_of_its_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_line("2026-11-22T08:00:00Z [INFO] A-1.Engine: x: y")
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("nautilus.A-1.Engine", "A-1.Engine: x: y")
