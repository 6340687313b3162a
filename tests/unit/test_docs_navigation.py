"""The navigation of the site: the list in docs/README.md has every page once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
ENTRY = re.compile(r"^( *)- (?:\[([^]]+)\]\(([^)#:]+\.md)\)|([^\[\]]+))$")


def navigation(text: str) -> list[tuple[int, str, str | None]]:
    """Return the depth, title and page of each entry below the mark `<!--nav-->`; a group has no page."""
    entries = []
    for line in text.partition("<!--nav-->")[2].splitlines():
        if line.strip():
            entry = ENTRY.match(line)
            assert entry is not None, f"docs/README.md: not an entry of the navigation: {line!r}"
            entries.append((len(entry[1]) // 4, entry[2] or entry[4], entry[3]))
    return entries


NAVIGATION = navigation(INDEX.read_text(encoding="utf-8"))


def missing_lines(pages: set[str], listed: list[str]) -> list[str]:
    """Return the line that docs/README.md needs for each page that is not listed."""
    lines = []
    for page in sorted(pages - set(listed)):
        title = (DOCS / page).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"    - [{title}]({page})")
    return lines


def test_the_navigation_has_every_page() -> None:
    """Each page of the docs is in the list of docs/README.md, which is the navigation of the site, and only once."""
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page != INDEX}
    listed = [page for _, _, page in NAVIGATION if page is not None]
    assert missing_lines(pages, listed) == [], "add these lines to the list in docs/README.md"
    assert sorted(listed) == sorted(pages)


def test_a_page_that_is_not_listed_is_noticed() -> None:
    """The test above can fail, and it then shows the line to add."""
    assert missing_lines({"tutorial.md"}, []) == ["    - [Tutorial: ten minutes with a mock server](tutorial.md)"]


def test_every_group_of_the_navigation_has_pages() -> None:
    """A group is followed by its own pages, and an entry is at most one level deeper than the one above it."""
    for (depth, title, page), (next_depth, *_) in zip(NAVIGATION, [*NAVIGATION[1:], (0, "", "")], strict=True):
        assert (next_depth == depth + 1) if page is None else (next_depth <= depth), title


def test_every_page_has_one_title() -> None:
    """A page begins with its title, the only heading of the first level: the site and a code host show it."""
    for page in DOCS.rglob("*.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        assert text.startswith("# "), page
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, page


def test_the_site_is_built_from_these_pages() -> None:
    """The site's configuration names the folder and the list of this test, and loads no font from another host."""
    project = tomllib.loads((ROOT / ".zensical.toml").read_text(encoding="utf-8"))["project"]
    assert project["docs_dir"] == "docs"
    assert project["plugins"]["literate-nav"]["nav_file"] == INDEX.name
    assert project["theme"]["font"] is False
    assert f"{Path(project['site_dir']).parts[0]}/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
