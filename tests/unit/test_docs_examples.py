"""The pages on several processes and on synchronous programs quote the files of their applications as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"scaling": "how-to/scaling-out.md", "sync": "how-to/sync-applications.md"}
"""The page of each folder of examples."""
FILES = sorted(file for folder in PAGES for file in (DOCS / "examples" / folder).glob("*.py"))


def quoted(page: Path) -> dict[str, str]:
    """Return the text of each file that a page quotes, by its name."""
    found = re.findall(r'^```py title="(.+?)"\n(.*?)^```$', page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_quoted(file: Path) -> None:
    """The page has the whole text of the file, which the tests run."""
    assert quoted(DOCS / PAGES[file.parent.name])[file.name] == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", sorted(PAGES))
def test_each_quoted_file_exists(folder: str) -> None:
    """A page quotes no file that the tests do not run."""
    assert set(quoted(DOCS / PAGES[folder])) == {file.name for file in FILES if file.parent.name == folder}
