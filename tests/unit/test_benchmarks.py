"""The benchmarks' contenders are complete: a table without one of them would look like one of a machine without its library."""

from __future__ import annotations

import pytest

from tests.benchmarks.contenders import CONTENDERS, Setup, build

OPTIONAL = {"httpx", "httpx, as installed", "requests"}


@pytest.mark.parametrize("key", sorted(CONTENDERS.keys() - OPTIONAL))
def test_every_contender_can_be_built(key: str) -> None:
    """Each contender that needs no further library is found and built."""
    assert build(key, Setup("http://127.0.0.1:1/v1", 1)) is not None
