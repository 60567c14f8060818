import copy
import pickle
import traceback

import msgspec
import pytest

from app.security.secret import Secret, revealed, without_password
from app.settings import Settings

WORD = "correct-horse"


def test_a_secret_shows_itself_only_to_whoever_asks_for_it() -> None:
    secret = Secret(WORD)
    assert secret.reveal() == WORD
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", str([secret])):
        assert WORD not in shown


def test_settings_can_be_printed() -> None:
    settings = Settings(kafka_password=Secret(WORD), redis_password=Secret(WORD), binance_api_secret=Secret(WORD))
    assert WORD not in repr(settings)
    assert WORD not in str(msgspec.structs.asdict(settings))


def test_a_secret_is_not_in_a_traceback_of_a_call_that_it_was_given_to() -> None:
    def connect(password: Secret) -> None:
        raise ValueError(f"cannot connect with {password}")

    with pytest.raises(ValueError, match="hidden") as caught:
        connect(Secret(WORD))
    assert WORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy, msgspec.json.encode, msgspec.msgpack.encode])
def test_a_secret_is_not_written_down(write: object) -> None:
    assert callable(write)
    with pytest.raises(TypeError):
        write(Secret(WORD))


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret(WORD) == Secret(WORD)
    assert Secret(WORD) != Secret("another")
    assert Secret(WORD) != WORD
    assert len({Secret(WORD), Secret(WORD)}) == 1
    assert (revealed(None), revealed(Secret(WORD))) == (None, WORD)


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        ("redis://h:1/0", "redis://h:1/0", None),
        ("redis://reader@h:1/0", "redis://reader@h:1/0", None),
        ("redis://:pw@h:1/0", "redis://h:1/0", "pw"),
        ("rediss://reader:p%40w%2Fx@h:1/0", "rediss://reader@h:1/0", "p@w/x"),
        ("redis://us%65r:pw@[::1]:6379", "redis://us%65r@[::1]:6379", "pw"),
    ],
)
def test_a_url_gives_its_password_away(url: str, bare: str, password: str | None) -> None:
    assert without_password(url) == (bare, None if password is None else Secret(password))
