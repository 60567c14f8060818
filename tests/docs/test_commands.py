"""Every command in README.md and in docs is run by a test.

CI runs what it can; `make test-long` runs those that take minutes. What would need a program or a system that is not
here is held to the code (tests/support/command_checks.py), and `NEEDS` says what it would need.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.command_checks import CHECKS, check
from support.commands import SHELLS, Command, commands
from support.pages import ROOT, Block, blocks, pages, without_blocks
from support.run_commands import ELSEWHERE, LONG, PLAYED, WALKS

NEEDS: Final = {
    "docker": "an engine; tests/deploy/test_compose_system.py starts the services as the file says",
    "kubectl": "a cluster; tests/deploy/test_kubernetes_runbook.py tries it as far as it goes without",
    "cp": "is of use only to kubectl's user",
    "rpk": "Redpanda's own tool",
    "kafka-acls.sh": "Kafka's own tool; tests/system/test_security_page.py gives the same rights",
    "claude": "a client of others; tests/report_server/test_clients_doc.py starts what its stdio entry starts",
}


def of_pages() -> Iterator[Block]:
    for page in pages():
        yield from blocks(page)


def of_shells() -> Iterator[Command]:
    for block in of_pages():
        if block.language in SHELLS:
            yield from commands(block)


def is_walked(command: Command) -> bool:
    return command.block.title is not None and command.block.page in WALKS


def is_run(command: Command) -> bool:
    return command.line in RUN or (command.block.page, command.program) in ELSEWHERE


def of_prose() -> Iterator[Command]:
    """Commands of our own that stand in a sentence or a table."""
    for page in pages():
        text = without_blocks(page)
        for found in INLINE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            words = " ".join(found[1].split())
            # A command's name alone is spoken of, not meant to be typed.
            code = f"{words} --help" if re.fullmatch(r"context8 \w+", words) else words
            yield from commands(Block(str(page.relative_to(ROOT)), line, "bash", None, code))


INLINE: Final = re.compile(r"(?<!`)`((?:[A-Z][A-Z_]+=\S+ )*(?:context8|make) [a-z][^`]*)`(?!`)")
EVERY: Final = [command for command in of_shells() if command.words]
RUN: Final = {each.line for each in PLAYED} | {each.line for each in EVERY if is_walked(each)}
NOT_RUN: Final = [each for each in EVERY if not is_run(each)]
LONG_LINES: Final = {each.line for each in LONG}


def _id(command: Command) -> str:
    return f"{command.block.page}:{command.block.line} {command.line[:60]}"


@pytest.mark.parametrize("command", NOT_RUN, ids=_id)
def test_a_command_that_ci_does_not_run_takes_minutes_or_needs_what_is_not_here(command: Command) -> None:
    assert command.line in LONG_LINES or command.program in NEEDS, (
        "have it typed by a test: tests/support/run_commands.py"
    )


@pytest.mark.parametrize("command", [*NOT_RUN, *of_prose()], ids=_id)
def test_a_command_that_ci_does_not_run_is_one_that_the_code_takes(command: Command) -> None:
    if command.program not in CHECKS:
        assert command.program in NEEDS, f"{command.program}: add a check to tests/support/command_checks.py"
        return
    check(command)


@pytest.mark.parametrize("test", sorted({*WALKS.values(), *ELSEWHERE.values()}))
def test_a_test_that_is_said_to_run_a_page_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_a_page_that_is_said_to_be_run_has_such_blocks() -> None:
    assert {block.page for block in of_pages() if block.language in SHELLS and block.title} == set(WALKS)


def test_a_line_that_is_said_to_be_run_is_on_its_page() -> None:
    on_pages = {(command.block.page, command.line) for command in EVERY}
    assert {(each.page, each.line) for each in (*PLAYED, *LONG)} <= on_pages


def test_no_line_is_typed_twice() -> None:
    assert [line for line, times in Counter(each.line for each in PLAYED).items() if times > 1] == []


def test_no_reason_is_left_over() -> None:
    assert set(NEEDS) == {command.program for command in NOT_RUN} & set(NEEDS), "take it out of NEEDS"


def test_no_command_hides_in_a_block_without_a_language() -> None:
    programs = {*CHECKS, *NEEDS}
    hidden = [
        f"{block.page}:{block.line}: {line}"
        for block in of_pages()
        if block.language not in SHELLS
        for line in block.code.splitlines()
        if block.language in ("", "text") and re.match(rf"(\$ )?({'|'.join(map(re.escape, programs))}) ", line)
    ]
    assert hidden == [], "say ```bash there"


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("context8 reader --no-such-option", "unrecognized arguments"),
        ("context8 nosuch", "no command nosuch"),
        ("NO_SUCH=1 context8 worker", "no setting"),
        ("make nosuch", "no target"),
        ("make demo NO_SUCH=1", "nobody reads"),
        ("curl 127.0.0.1:8080/nosuch", "/nosuch"),
        ("curl 127.0.0.1:1234/health", "nothing of ours"),
        ("kcat -b x:1 -C -t nt.nosuch", "topics are"),
        ("docker compose up nosuch --scale nosuch=3", "no service"),
        ("kubectl apply -k deploy/nosuch", "does not exist"),
        ("kubectl -n context8 rollout status deployment/nosuch", "no manifest has deployment nosuch"),
        ("kubectl -n context8 delete job nosuch", "no manifest has job nosuch"),
        (".venv/bin/pytest tests/nosuch", "does not exist"),
        ("python -m nosuch", "no module"),
    ],
)
def test_what_is_not_there_is_found_out(code: str, wrong: str) -> None:
    (command,) = commands(Block("page.md", 1, "bash", None, code))
    with pytest.raises(AssertionError, match=re.escape(wrong)):
        check(command)


def test_a_line_is_taken_apart_as_a_shell_would() -> None:
    code = "A=1 context8 report X 2>/dev/null | jq . && make \\\n  demo  # why\nkill -9 $(cat pid) &\n"
    found = [(each.variables, each.words) for each in commands(Block("page.md", 1, "bash", None, code))]
    assert ((("A", "1"),), ("context8", "report", "X")) in found
    assert ((), ("jq", ".")) in found
    assert ((), ("make", "demo")) in found
    assert ((), ("cat", "pid")) in found


def test_every_page_is_looked_at() -> None:
    assert {Path(each.block.page).name for each in EVERY} >= {"README.md", "quickstart.md", "failover.md", "reader.md"}
