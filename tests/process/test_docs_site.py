"""The documentation as a site, built as CI builds it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import need_package

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of what the site is built from, so that nothing is written into the checkout."""
    need_package("zensical")
    # Other tests run the examples, for which Python writes and renames files in such folders.
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".zensical.toml", tmp_path)
    for name in (".ci", "callbell_async"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def build(project: Path) -> tuple[int, str]:
    """Build the site, and return the exit status and the output without its colours."""
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", ".zensical.toml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=240)
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def test_the_site_builds(project: Path) -> None:
    """The strict build has no issue, each page is built and can be searched, and no page loads anything from another host.

    What a function returns is one entry of the reference, however many lines describe it.
    """
    status, output = build(project)
    assert status == 0, output
    assert "griffe:" not in output
    site = project / "build" / "site"
    pages = {page.relative_to(project / "docs").with_suffix("") for page in (project / "docs").rglob("*.md")}
    built = [site / "index.html" if page.name == "README" else site / page / "index.html" for page in pages]
    searched = {
        Path(item["location"].partition("#")[0]) for item in json.loads((site / "search.json").read_text())["items"]
    }
    assert searched >= {page for page in pages if page.name != "README"}
    for page in built:
        html = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', html) == []
    messages = (site / "reference" / "api" / "messages" / "index.html").read_text(encoding="utf-8")
    assert 'id="callbell_async.TextMessage"' in messages
    assert "channel_uuid" in messages.partition('id="callbell_async.ImageMessage"')[0]
    client = (site / "reference" / "api" / "client" / "index.html").read_text(encoding="utf-8")
    returned = re.findall(r"Returns:</span>.*?</ul>", client, re.DOTALL)
    assert len(returned) > 5
    assert [section.count("<li") for section in returned] == [1] * len(returned)


def test_a_broken_link_fails(project: Path) -> None:
    """A link to a page or to a heading that does not exist fails the build."""
    with (project / "docs" / "tutorial.md").open("a", encoding="utf-8") as page:
        page.write("\n[One](no-such-page.md) and [two](how-to/webhooks.md#no-such-heading).\n")
    status, output = build(project)
    assert status != 0
    assert "2 issues found" in output
