"""The page on the architecture names what is in the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.unit.test_architecture import FLOORS, HEIGHT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")

NAMES = sorted(
    name
    for name in set(re.findall(r"`([a-z_]\w*(?:\.\w+)+)`", PAGE))
    # `callbell.send` is a user's code.
    if name.partition(".")[0] in HEIGHT
)


def find(name: str) -> object:
    """Return the module, class or function with this dotted name; raises `AttributeError` if there is none."""
    parts = name.split(".")
    found: object = None
    for count in range(1, len(parts) + 1):
        try:
            found = importlib.import_module(".".join(["callbell_async", *parts[:count]]))
        except ModuleNotFoundError:
            for part in parts[count - 1 :]:
                found = getattr(found, part)
            break
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_name_on_the_page_exists(name: str) -> None:
    """A module, class or function that the page names is in the code under that name."""
    find(name)


def test_a_wrong_name_is_noticed() -> None:
    """The test above can fail: it finds neither a function nor a module that does not exist."""
    assert len(NAMES) > 50
    for name in ("http.retry.RetryPolicy.wait_before", "http.retries.RetryPolicy"):
        with pytest.raises(AttributeError):
            find(name)


def test_the_page_has_the_floors_of_the_code() -> None:
    """The table of floors is the one that the tests enforce, from the top down."""
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", PAGE, re.MULTILINE)
    floors = {int(number): set(re.findall(r"`(\w+)`", names)) for number, names in rows}
    assert [floors[number] for number in sorted(floors)] == FLOORS


def test_the_page_has_the_tree_of_the_package() -> None:
    """The tree shows every module and every folder of the package."""
    tree = re.findall(r"^  (\w+)(?:\.py|/) ", PAGE, re.MULTILINE)
    assert sorted(tree) == sorted(set(HEIGHT) - {"_version", "__main__"})
