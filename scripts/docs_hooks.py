"""What MkDocs does besides its usual work: links from the pages to files of the repository work on the site too.

A page links to `../deploy/redis-users.acl` so that the link works where the Markdown is read, in the repository. On the
site nothing lies beside `docs`, so the file becomes a part of the site as plain text, and a folder a list of its
files. A link to something that does not exist is left as it is, for MkDocs to refuse.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT: Final = Path(__file__).parents[1]
_FENCES: Final = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its links to files outside `docs` turned to their copies, which are added to the site."""
    here = PurePosixPath(page.file.src_uri).parent

    def turned(link: re.Match[str]) -> str:
        target = (_ROOT / "docs" / here / link[1]).resolve()
        if target.is_relative_to(_ROOT / "docs") or not target.is_relative_to(_ROOT) or not target.exists():
            return link[0]
        # MkDocs leaves out what begins with a dot.
        copy = f"repository/{'/'.join(part.lstrip('.') for part in target.relative_to(_ROOT).parts)}.txt"
        if files.get_file_from_path(copy) is None:
            files.append(File.generated(config, copy, content=_text(target)))
        return f"]({os.path.relpath(copy, here)})"

    return "".join(part if part.startswith("```") else _LINK.sub(turned, part) for part in _FENCES.split(markdown))


def _text(target: Path) -> str:
    if target.is_file():
        return target.read_text(encoding="utf-8")
    found = (path.relative_to(_ROOT) for path in sorted(target.rglob("*")) if path.is_file())
    return "".join(f"{path}\n" for path in found if "__pycache__" not in path.parts)
