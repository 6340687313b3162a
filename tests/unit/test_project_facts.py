"""Telephone numbers in the project are invented, and its files name the same Python versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"\+[0-9][0-9 ()./-]{7,}[0-9]|(?<![\w.-])[1-9][0-9]{10,14}(?![\w.-])")
INVENTED = re.compile(
    # Runs of digits that nobody has, numbers that Ofcom and the NANP keep for drama, those of Callbell's documentation, and a time in milliseconds.
    r"1234|2345|4321|0000|9999999|7700900|55501|2079460|11223344|44332211|1122336699|784111777000"
)


def written_numbers(text: str) -> set[str]:
    """The digits of everything in a text that could be a telephone number."""
    return {re.sub("[^0-9]", "", number) for number in NUMBER.findall(text)}


def test_every_telephone_number_is_invented() -> None:
    """No number in the tests, the docs or the package could be somebody's."""
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.*"), *(ROOT / "tests").rglob("*.*")]
    files += (ROOT / "callbell_async").rglob("*.py")
    found = {
        number: path.name
        for path in files
        if path.suffix in (".py", ".md", ".csv", ".json") and path != Path(__file__)
        for number in written_numbers(path.read_text(encoding="utf-8"))
        if not INVENTED.search(number)
    }
    assert not found


def test_a_number_that_could_be_real_is_noticed() -> None:
    """The search above sees a number in each of its spellings."""
    real = "31655" + "567889"
    for text in (f"+{real}", f"to='{real}'", "+31 6 5555 67889", "+31 (6) 555.567-889"):
        assert [number for number in written_numbers(text) if not INVENTED.search(number)]


def test_the_python_versions_are_those_that_ci_tests() -> None:
    """The classifiers and the README name the Python versions on which CI runs the tests, and no others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    prefix = "Programming Language :: Python :: 3."
    named = {line.removeprefix(prefix) for line in project["classifiers"] if line.startswith(prefix)}
    others = re.search(r"for version in ([0-9. ]+); do", (ROOT / ".ci/run").read_text(encoding="utf-8"))
    assert others is not None
    tested = {version.removeprefix("3.") for version in others[1].split()} | {
        project["requires-python"].removeprefix(">=3.")
    }
    readme = re.findall(r"Python ((?:3\.[0-9]+(?:, | and )?)+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {minor for names in readme for minor in re.findall(r"3\.([0-9]+)", names)} == named == tested
