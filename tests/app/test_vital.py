import asyncio

import pytest

from app import exit_codes, vital


class ExitError(BaseException):
    """In the place of the end of the process."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise ExitError

    monkeypatch.setattr("app.vital.os._exit", leave)
    monkeypatch.setattr("app.vital._LOOK_SEC", 0)
    return codes


async def _die() -> None:
    raise RuntimeError("the handler is closed")


async def test_a_task_that_has_ended_is_named_with_its_error() -> None:
    dead, alive = asyncio.ensure_future(_die()), asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.wait([dead])
    assert vital.ended([("cycle", alive), ("one that has not begun", None)]) is None
    assert vital.ended([("cycle", alive), ("fetcher", dead)]) == (
        "the fetcher has ended: RuntimeError('the handler is closed')"
    )
    alive.cancel()
    await asyncio.wait([alive])
    assert vital.ended([("cycle", alive)]) == "the cycle was cancelled"


async def test_the_process_ends_with_the_code_that_was_named(
    exits: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    answers = [None, None, (exit_codes.CRASHED, "the fetcher has ended")]
    with pytest.raises(ExitError):
        await vital.watch(lambda: answers.pop(0))
    assert exits == [exit_codes.CRASHED]
    assert "the fetcher has ended: ending, so that others take over" in caplog.text
