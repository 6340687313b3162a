"""A headless Chromium, for the tests of the inbox."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.services import need_package, skip_or_fail

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["browser", "wait_until"]

PATIENCE = 20.0
"""The number of seconds that a condition may take; on a machine with other work, too."""

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--lang=en",
)


@contextmanager
def browser() -> Iterator[Chrome]:
    """Start Chromium with an empty profile, and end it with the block; skip the test where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        skip_or_fail("chromium and chromedriver are not installed (Debian: chromium chromium-driver)")
    need_package("selenium")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        started: Chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            yield started
        finally:
            started.quit()


def wait_until(started: Chrome, condition: Callable[[], bool]) -> None:
    """Return when a condition is true; fail after `PATIENCE` seconds."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    # An element may be built again while it is read.
    ignored = [StaleElementReferenceException]
    WebDriverWait(started, PATIENCE, poll_frequency=0.05, ignored_exceptions=ignored).until(lambda _: condition())
