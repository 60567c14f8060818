import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from app.logs import JsonFormatter, Repeats
from app.settings import load
from support.contracts import SCHEMAS
from support.log_lines import log_line

FIELDS = json.loads((SCHEMAS / "log.json").read_text())["required"]


def formatted(record: logging.LogRecord, *secrets: str) -> dict[str, Any]:
    line = JsonFormatter("worker", "node-1", secrets).format(record)
    assert "\n" not in line
    return log_line(line)


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def test_a_line_has_the_fields_of_the_contract_in_order() -> None:
    line = formatted(record("took %d", 3, symbol="BTCUSDT", stream_id="t-0-5"))
    assert list(line) == FIELDS
    assert (line["level"], line["component"], line["node_id"]) == ("WARNING", "worker", "node-1")
    assert (line["symbol"], line["stream_id"], line["lag_ms"], line["message"]) == (
        "BTCUSDT",
        "t-0-5",
        None,
        "took 3",
    )
    assert str(line["timestamp"]).endswith("Z")


def test_line_breaks_and_quotes_in_a_message_stay_inside_their_line() -> None:
    assert formatted(record('two\nlines "quoted"'))["message"] == 'two\nlines "quoted"'


def test_an_exception_is_part_of_the_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        failing = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    assert "ValueError: broken" in str(formatted(failing)["error"])


def test_secrets_are_blotted_out_of_messages_and_tracebacks() -> None:
    try:
        raise ValueError("redis://:opensesame@host refuses")
    except ValueError:
        failing = logging.LogRecord("x", logging.ERROR, __file__, 1, "no %s", ("opensesame",), sys.exc_info())
    line = formatted(failing, "opensesame", "no")
    assert line["message"] == "no (hidden)"
    assert "ValueError: redis://:(hidden)@host refuses" in line["error"]


def test_the_settings_name_every_secret_that_is_set() -> None:
    given = {"REDIS_URL": "redis://reader:opensesame@host/0", "BINANCE_API_SECRET": "of the exchange"}
    assert sorted(load(given, env_file=None).secret_values) == ["of the exchange", "opensesame"]


def test_what_a_logger_cannot_format_is_said_as_it_is() -> None:
    slip = record("took %d", "three")
    assert formatted(slip)["message"] == "'took %d' with ('three',)"
    assert Repeats(5.0, Clock()).filter(slip), "and raises nothing in the library that made the slip"


def test_half_a_character_does_not_spoil_a_line() -> None:
    assert formatted(record("file \udcff"))["message"] == "file \\udcff"


BEGIN = """
import logging, sys, threading, warnings
from app import logs
logs.configure("reader", "node-1", "INFO")
"""


@pytest.mark.parametrize(
    ("program", "level", "message", "code"),
    [
        ("warnings.warn('it is old', FutureWarning)", "WARNING", "FutureWarning: it is old", 0),
        ("raise ValueError('broken')", "CRITICAL", "the process ends: ValueError('broken')", 1),
        (
            "threading.Thread(target=lambda: 1 / 0, name='helper').start()",
            "CRITICAL",
            "thread helper ended: Zero",
            0,
        ),
        ("class Bad:\n    def __del__(self): raise OSError('gone')\nBad()", "ERROR", "OSError('gone')", 0),
        ("logging.getLogger('library').warning('%d', 'three')", "WARNING", "'%d' with ('three',)", 0),
    ],
    ids=["warning", "exception", "thread", "destructor", "slip"],
)
def test_whatever_python_reports_by_itself_is_a_line_of_the_log(
    program: str, level: str, message: str, code: int
) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True, check=False)
    (line,) = [log_line(text) for text in done.stderr.splitlines()]
    assert (done.returncode, done.stdout, line["level"]) == (code, "", level)
    assert message in line["message"]


def test_a_process_that_is_interrupted_says_nothing() -> None:
    program = BEGIN + "raise KeyboardInterrupt"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


class Clock:
    """Time that moves by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_warning_that_comes_again_and_again_is_written_once_in_a_while_and_counted() -> None:
    clock = Clock()
    repeats = Repeats(5.0, clock)
    written = []
    for step in range(120):
        clock.now = step / 10
        warning = record("broker %d is away for %.1f s", 1, clock.now)
        if repeats.filter(warning):
            written.append(warning.getMessage())
    assert written == [
        "broker 1 is away for 0.0 s",
        "broker 1 is away for 5.0 s (and 49 times more in 5 s)",
        "broker 1 is away for 10.0 s (and 49 times more in 5 s)",
    ]


def test_other_warnings_and_those_of_other_symbols_are_not_held_back() -> None:
    repeats = Repeats(5.0, Clock())
    different = [record("a"), record("b"), record("a", symbol="BTCUSDT"), record("a", symbol="ETHUSDT")]
    assert all(map(repeats.filter, different))
    assert not repeats.filter(record("a"))


def test_information_is_never_held_back() -> None:
    line = record("ready")
    line.levelno = logging.INFO
    assert all(Repeats(5.0, Clock()).filter(line) for _ in range(3))
