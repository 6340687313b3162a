"""Tests that need a server or a package are skipped where it is missing, and fail where nothing may be skipped."""

from __future__ import annotations

import pytest

from tests.support.services import REQUIRED, need_package


def test_a_missing_package_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the test is skipped, and the reason names the package."""
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_package is not installed"):
        need_package("no_such_package")


def test_a_missing_package_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that CI sets, a missing package is a failure; an installed one is none."""
    monkeypatch.setenv(REQUIRED, "1")
    need_package("pytest")
    with pytest.raises(
        pytest.fail.Exception, match="no_such_package is not installed, and CALLBELL_REQUIRE_SERVICES=1"
    ):
        need_package("no_such_package")
