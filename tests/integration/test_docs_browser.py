"""The documentation's site in a browser: it fits the screen, its search works, and it loads nothing from other hosts."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.process.test_docs_site import Build, built
from tests.support.browser import browser, wait_until

__all__ = ["built"]

pytestmark = pytest.mark.slow

PAGES = (
    "",
    "tutorial/",
    "reference/options/",
    "reference/api/messages/",
    "how-to/sandbox/",
    "examples/fastapi-service/",
)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is that of the base class
        """Write nothing."""


@pytest.fixture
def site(built: Build) -> Iterator[str]:
    """Serve the site on a free port of this machine."""
    assert built.status == 0, built.output
    handler = functools.partial(Handler, directory=str(built.site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_the_site_in_a_browser(site: str) -> None:
    """No page is wider than a wide or a narrow screen; the search finds a method; everything comes from the site itself."""
    with browser() as chromium:
        from selenium.webdriver.common.by import By
        from selenium.webdriver.common.keys import Keys

        for width in (390, 1440):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
            chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            for page in PAGES:
                chromium.get(site + page)
                assert chromium.execute_script("return document.documentElement.scrollWidth") <= width, page
                loaded = chromium.execute_script("return performance.getEntries().map(entry => entry.name)")
                assert [name for name in loaded if name.startswith("http") and not name.startswith(site)] == []

        # The dialog of the search is a component of its own, which has the focus while it is open.
        dialog = "document.activeElement.shadowRoot"

        def search_is_open() -> bool:
            # The key has an effect once the page's script has run, and would close an open dialog.
            if not chromium.execute_script(f"return {dialog} !== null"):
                chromium.find_element(By.TAG_NAME, "body").send_keys(Keys.CONTROL, "k")
            return bool(chromium.execute_script(f"return {dialog} !== null"))

        def results() -> str:
            return str(chromium.execute_script(f"return {dialog} === null ? '' : {dialog}.textContent"))

        wait_until(chromium, search_is_open)
        chromium.switch_to.active_element.send_keys("reconcile")
        wait_until(chromium, lambda: "histories for the journal's" in results())

        def scheme() -> str:
            return str(chromium.execute_script("return document.body.dataset.mdColorScheme"))

        chromium.get(site)
        before = scheme()
        chromium.find_element(By.CSS_SELECTOR, "[data-md-component=palette] label:not([hidden])").click()
        wait_until(chromium, lambda: scheme() != before)
        assert {before, scheme()} == {"default", "slate"}
        assert chromium.get_log("browser") == []  # type: ignore[no-untyped-call]
