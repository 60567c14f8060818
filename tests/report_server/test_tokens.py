import os
from pathlib import Path

import pytest

from report_server.tokens import TokenFileError, Tokens


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "tokens"
    made.write_text("# who may ask\n\nalice:0123456789abcdef\n  bob:fedcba9876543210  \n")
    return made


def rewritten(path: Path, text: str, clock: Clock) -> None:
    path.write_text(text)
    os.utime(path, ns=(0, int((clock.now + 1) * 1e9)))
    clock.now += 1.5


def test_a_token_is_its_holders(path: Path) -> None:
    tokens = Tokens(path)

    assert tokens.holder(bearer("0123456789abcdef")) == "alice"
    assert tokens.holder(bearer("fedcba9876543210")) == "bob"
    assert tokens.holder(bearer("nosuch")) is None
    assert tokens.holder(b"\xff\x00") is None
    assert tokens.holder(None) is None


def test_a_changed_file_is_in_force_within_a_second(path: Path) -> None:
    clock = Clock()
    tokens = Tokens(path, clock)

    rewritten(path, "carol:aaaabbbbccccdddd\n", clock)

    assert tokens.holder(bearer("0123456789abcdef")) is None
    assert tokens.holder(bearer("aaaabbbbccccdddd")) == "carol"


def test_an_emptied_file_lets_nobody_in(path: Path) -> None:
    clock = Clock()
    tokens = Tokens(path, clock)

    rewritten(path, "", clock)

    assert tokens.holder(bearer("0123456789abcdef")) is None


@pytest.mark.parametrize("text", ["alice\n", "alice:short\n", "a:0123456789abcdef\na:0123456789abcdef\n", "\xff"])
def test_a_slip_in_a_changed_file_changes_nothing_and_is_logged_without_the_secret(
    path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    tokens = Tokens(path, clock)

    rewritten(path, text, clock)

    assert tokens.holder(bearer("0123456789abcdef")) == "alice"
    assert "tokens stay as they were" in caplog.text
    assert "0123456789abcdef" not in caplog.text


def test_a_file_that_is_gone_changes_nothing(path: Path) -> None:
    clock = Clock()
    tokens = Tokens(path, clock)

    path.unlink()
    clock.now += 2

    assert tokens.holder(bearer("0123456789abcdef")) == "alice"


def test_a_reader_does_not_start_without_its_file(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"READER_TOKENS_FILE=.* cannot be read"):
        Tokens(tmp_path / "nosuch")


def test_a_wrong_line_is_named_by_its_number_only(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("alice:0123456789abcdef\nmy-secret-without-name\n")

    with pytest.raises(TokenFileError, match="line 2: allowed is name:token") as refused:
        Tokens(path)
    assert "my-secret" not in str(refused.value)
