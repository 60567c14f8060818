"""A text in a document that a benchmark writes: what is between its markers, and nothing else."""

from pathlib import Path

from app.stack.errors import StackError


class Markers:
    """The two lines between which the figures of a benchmark go."""

    def __init__(self, name: str) -> None:
        self.begin, self.end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"

    def require(self, document: Path) -> None:
        """Raise unless the document has both.

        Raises:
            StackError: it cannot be read, or has not.
        """
        try:
            text = document.read_text(encoding="utf-8")
        except OSError as error:
            raise StackError(f"{document} cannot be read: {error.strerror}") from None
        if not 0 <= text.find(self.begin) < text.find(self.end):
            raise StackError(f"{document} needs the lines {self.begin} and {self.end}, between which the figures go")

    def write(self, document: Path, text: str) -> None:
        """Replace what the document has between them."""
        self.require(document)
        head, _, rest = document.read_text(encoding="utf-8").partition(self.begin)
        tail = rest.partition(self.end)[2]
        document.write_text(f"{head}{self.begin}\n{text}\n{self.end}{tail}", encoding="utf-8")
