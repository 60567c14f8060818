"""Commands out of the fenced blocks of pages, taken apart as a shell would."""

import re
import shlex
from collections.abc import Iterator
from typing import Final

import msgspec

from support.pages import Block

SHELLS: Final = frozenset({"bash", "sh", "shell", "console"})
_COMMENT: Final = re.compile(r"(^|\s)#(\s.*)?$")
_HERE: Final = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
_BETWEEN: Final = frozenset({"&&", "||", "|", ";", "&", ";;", "(", ")", "|&"})
_REDIRECTION: Final = re.compile(r"^\d?(>>?|<|>&|&>|<<<|<<-?)$")
_ASSIGNMENT: Final = re.compile(r"^[A-Za-z_]\w*=")


class Command(msgspec.Struct, frozen=True):
    """One simple command: the variables set before it, and its words. `line` is the line of the page as it stands."""

    block: Block
    line: str
    variables: tuple[tuple[str, str], ...]
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """The program's name, without the folder of the project's own programs."""
        return self.words[0].removeprefix(".venv/bin/")


def lines(block: Block) -> Iterator[str]:
    """Give the command lines of a block: continued lines joined, comments and here-documents left out."""
    code = re.sub(r"\\\n\s*", " ", block.code)
    end: str | None = None
    for raw in code.splitlines():
        if end is not None:
            end = None if raw.strip() == end else end
            continue
        text = raw
        if block.language == "console":
            if not raw.startswith("$ "):
                continue
            text = raw.removeprefix("$ ")
        here = _HERE.search(text)
        if here is not None:
            end, text = here[1], _HERE.sub("", text)
        text = _COMMENT.sub("", text).strip()
        if text:
            yield text


def commands(block: Block) -> Iterator[Command]:
    """Give the simple commands of a block, whatever joins them; commands in `$(…)` count too.

    Raises:
        ValueError: a line cannot be taken apart.
    """
    for line in lines(block):
        yield from _simple(block, line)


def _simple(block: Block, line: str) -> Iterator[Command]:
    # Inside double quotes a shell runs commands too; shlex would keep them as text.
    for inner in re.findall(r'"[^"]*\$\(([^()]*)\)[^"]*"', line):
        yield from _simple(block, inner)
    splitter = shlex.shlex(line, posix=True, punctuation_chars=True)
    splitter.whitespace_split = True
    splitter.commenters = ""
    words: list[str] = []
    skip = False
    for word in [*splitter, ";"]:
        if skip:
            skip = False
        elif word in _BETWEEN:
            if words:
                yield _command(block, line, words)
            words = []
        elif _REDIRECTION.match(word):
            skip = True
            if words and words[-1].isdigit():  # the descriptor of `2>file`
                words.pop()
        else:
            words.append(word)


def _command(block: Block, line: str, words: list[str]) -> Command:
    variables: list[tuple[str, str]] = []
    rest = list(words)
    while rest and _ASSIGNMENT.match(rest[0]):
        name, _, value = rest.pop(0).partition("=")
        variables.append((name, value))
    return Command(block, line, tuple(variables), tuple(rest))
