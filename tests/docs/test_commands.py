"""Every command in README.md and in docs is run by a test, or held to the code; what can only be read says why."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.command_checks import CHECKS, check
from support.commands import SHELLS, Command, commands
from support.pages import ROOT, Block, blocks, pages, without_blocks
from support.run_commands import LINES, WALKS

# Programs of others in whose commands nothing of ours is named, so there is nothing to hold them to.
ONLY_READ: Final = {
    "export": "a shell's own word; names of settings are checked",
    "kill": "the process is the reader's own",
    "pkill": "the process is the reader's own",
    "kafka-acls.sh": "Kafka's own tool; tests/system/test_security_page.py gives the same rights",
    "kafka-configs.sh": "Kafka's own tool, for users of the reader's own broker",
    "mktemp": "makes a folder",
    "openssl": "makes keys and certificates of the reader's own",
    "claude": "a client of others; tests/report_server/test_clients_doc.py starts what its stdio entry starts",
}


def of_pages() -> Iterator[Block]:
    for page in pages():
        yield from blocks(page)


def of_shells() -> Iterator[Command]:
    for block in of_pages():
        if block.language in SHELLS:
            yield from commands(block)


def is_run(command: Command) -> bool:
    walked = command.block.title is not None and command.block.page in WALKS
    return walked or (command.block.page, command.line) in LINES


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
EVERY: Final = list(of_shells())
CHECKED: Final = [each for each in (*EVERY, *of_prose()) if not is_run(each)]


@pytest.mark.parametrize("command", CHECKED, ids=lambda each: f"{each.block.page}:{each.block.line} {each.line[:60]}")
def test_a_command_that_no_test_runs_is_one_that_the_code_takes(command: Command) -> None:
    if command.words and command.program in ONLY_READ:
        return
    assert not command.words or command.program in CHECKS, (
        f"{command.program}: add a check to tests/support/command_checks.py, or a reason to ONLY_READ"
    )
    check(command)


@pytest.mark.parametrize("test", WALKS.values())
def test_a_test_that_is_said_to_run_a_page_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_a_page_that_is_said_to_be_run_has_such_blocks() -> None:
    assert {block.page for block in of_pages() if block.language in SHELLS and block.title} == set(WALKS)


def test_a_line_that_is_said_to_be_run_is_on_its_page() -> None:
    assert set(LINES) <= {(command.block.page, command.line) for command in EVERY}


def test_no_reason_is_left_over() -> None:
    used = Counter(command.program for command in EVERY if command.words)
    assert set(ONLY_READ) <= set(used), "take it out of ONLY_READ"


def test_no_command_hides_in_a_block_without_a_language() -> None:
    programs = {*CHECKS, *ONLY_READ} - {"kill"}
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
