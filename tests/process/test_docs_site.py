"""The documentation as a site, built as CI builds it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.services import need_package

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def copy_sources(to: Path) -> Path:
    """Copy what the site is built from into a directory, so that nothing is written into the checkout."""
    need_package("zensical")
    # Other tests run the examples, for which Python writes and renames files in such folders.
    shutil.copytree(ROOT / "docs", to / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".zensical.toml", to)
    for name in (".ci", "callbell_async"):
        (to / name).symlink_to(ROOT / name)
    return to


class Build(NamedTuple):
    """The directory in which the site was built, the exit status, and the output."""

    project: Path
    status: int
    output: str

    @property
    def site(self) -> Path:
        """The directory of the site."""
        return self.project / "build" / "site"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build the site, once for all workers."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    shared = tmp_path_factory.getbasetemp().parent if parallel else tmp_path_factory.getbasetemp()
    kept = shared / "docs-site.json"
    with (shared / "docs-site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            project = copy_sources(tmp_path_factory.mktemp("docs"))
            kept.write_text(json.dumps([str(project), *build(project)]))
    project_path, status, output = json.loads(kept.read_text())
    return Build(Path(project_path), status, output)


def build(project: Path) -> tuple[int, str]:
    """Build the site, and return the exit status and the output without its colours."""
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", ".zensical.toml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=240)
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def test_the_site_builds(built: Build) -> None:
    """The strict build has no issue, each page is built and can be searched, and no page loads anything from another host.

    What a function returns is one entry of the reference, however many lines describe it.
    """
    assert built.status == 0, built.output
    assert "griffe:" not in built.output
    site, docs = built.site, built.project / "docs"
    pages = {page.relative_to(docs).with_suffix("") for page in docs.rglob("*.md")}
    files = [site / "index.html" if page.name == "README" else site / page / "index.html" for page in pages]
    searched = {
        Path(item["location"].partition("#")[0]) for item in json.loads((site / "search.json").read_text())["items"]
    }
    assert searched >= {page for page in pages if page.name != "README"}
    for page in files:
        html = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', html) == []
    messages = (site / "reference" / "api" / "messages" / "index.html").read_text(encoding="utf-8")
    assert 'id="callbell_async.TextMessage"' in messages
    assert "channel_uuid" in messages.partition('id="callbell_async.ImageMessage"')[0]
    client = (site / "reference" / "api" / "client" / "index.html").read_text(encoding="utf-8")
    returned = re.findall(r"Returns:</span>.*?</ul>", client, re.DOTALL)
    assert len(returned) > 5
    assert [section.count("<li") for section in returned] == [1] * len(returned)


def test_a_broken_link_fails(tmp_path: Path) -> None:
    """A link to a page or to a heading that does not exist fails the build."""
    project = copy_sources(tmp_path)
    with (project / "docs" / "tutorial.md").open("a", encoding="utf-8") as page:
        page.write("\n[One](no-such-page.md) and [two](how-to/webhooks.md#no-such-heading).\n")
    status, output = build(project)
    assert status != 0
    assert "2 issues found" in output
