import json
import logging
import sys

from app.logs import JsonFormatter, Repeats

FIELDS = [
    "timestamp",
    "level",
    "component",
    "symbol",
    "lag_ms",
    "node_id",
    "stream_id",
    "event_type",
    "message",
]


def formatted(record: logging.LogRecord) -> dict[str, object]:
    line = JsonFormatter("worker", "node-1").format(record)
    assert "\n" not in line
    parsed: dict[str, object] = json.loads(line)
    return parsed


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
