"""Reads a Dockerfile into its stages, as far as ours uses the language: no heredocs, no parser directives."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec


class Instruction(msgspec.Struct, frozen=True):
    """One instruction: its word in capitals, the text behind it, and the flags (`--from=wheel`) taken out of that."""

    word: str
    text: str
    flags: dict[str, str] = {}

    @property
    def exec_form(self) -> list[str] | None:
        """Return the words of a command given as a JSON list, `None` if it is for a shell."""
        return msgspec.json.decode(self.text, type=list[str]) if self.text.startswith("[") else None

    @property
    def pairs(self) -> dict[str, str]:
        """Return NAME=value pairs, as ENV and LABEL have them; a name alone (ARG) has the value ''."""
        split = (part.partition("=") for part in shlex.split(self.text))
        return {name: value for name, _, value in split}

    @property
    def paths(self) -> tuple[list[str], str]:
        """Return the sources and the destination of a COPY."""
        *sources, destination = self.text.split()
        return sources, destination


class Stage(msgspec.Struct, frozen=True):
    """One stage: what it starts from, an image or another stage, its name, and what follows."""

    base: str
    name: str
    instructions: list[Instruction]

    def all(self, word: str) -> list[Instruction]:
        """Return the instructions with this word."""
        return [instruction for instruction in self.instructions if instruction.word == word]


class Dockerfile(msgspec.Struct, frozen=True):
    """The arguments before the first stage with their defaults, and the stages by name."""

    arguments: dict[str, str]
    stages: dict[str, Stage]

    def chain(self, name: str) -> list[Stage]:
        """Return the stages that `name` is built upon, the first one first, and itself."""
        stage = self.stages[name]
        return [*(self.chain(stage.base) if stage.base in self.stages else []), stage]

    def last(self, name: str, word: str) -> Instruction | None:
        """Return the instruction of this word that is in force at the end of `name`."""
        found = [instruction for stage in self.chain(name) for instruction in stage.all(word)]
        return found[-1] if found else None

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables that a container of `name` starts with."""
        return {
            key: value for stage in self.chain(name) for env in stage.all("ENV") for key, value in env.pairs.items()
        }


def read(path: Path) -> Dockerfile:
    """Return what `path` says.

    Raises:
        ValueError: a line is none of Docker's instructions.
    """
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", instruction.text).groups()  # type: ignore[union-attr] # or fail
            stage = stages[name] = Stage(base, name, [])
        elif stage is None:
            arguments |= instruction.pairs
        else:
            stage.instructions.append(instruction)
    return Dockerfile(arguments, stages)


_WORDS: Final = frozenset(
    ("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "USER", "WORKDIR")
)


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word not in _WORDS:
            raise ValueError(f"{word} is no instruction of a Dockerfile")
        flags: dict[str, str] = {}
        while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
            flags[match[1]] = match[2]
            rest = rest[match.end() :]
        yield Instruction(word, rest.strip(), flags)
