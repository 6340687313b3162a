"""The pytest plugin: fixtures over the sandbox for a user's own project."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from callbell_async import __version__

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest
from callbell_async import TextMessage

{mark}async def test_sends(callbell_client, callbell_sandbox):
    await callbell_client.send(TextMessage(to="+31612345678", text="Hello!"))
    callbell_sandbox.assert_sent_once(to="+31612345678", text="Hello!")

{mark}async def test_begins_with_nothing(callbell_sandbox):
    callbell_sandbox.assert_sent(0)

{mark}async def test_meets_a_fault(callbell_client, callbell_sandbox):
    from callbell_async import ConnectionLostError
    from callbell_async.sandbox import faults
    callbell_sandbox.inject(faults.accept_then_close(), times=1)
    with pytest.raises(ConnectionLostError):
        await callbell_client.send(TextMessage(to="+31612345678", text="Hello!"))
    callbell_sandbox.assert_no_duplicates()
"""


PYTEST_ASYNCIO_WARNING = "ignore:The configuration option:pytest.PytestDeprecationWarning"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's project, with the package installed: its entry points are those that `pyproject.toml` declares."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][
        "pytest11"
    ]
    installed = pytester.mkdir("installed") / f"callbell_async-{__version__}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: callbell-async\nVersion: {__version__}\n")
    lines = [f"{name} = {module}\n" for name, module in declared.items()]
    (installed / "entry_points.txt").write_text("[pytest11]\n" + "".join(lines))
    monkeypatch.setenv("PYTHONPATH", f"{installed.parent}:{ROOT}")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_a_user_s_project(project: pytest.Pytester, mode: str) -> None:
    """Three tests that use the fixtures pass in either mode of pytest-asyncio, without configuration and without a warning."""
    project.makepyfile(TESTS.format(mark="@pytest.mark.asyncio\n" if mode == "strict" else ""))
    options = [] if mode == "strict" else ["--asyncio-mode=auto"]
    result = project.runpytest_subprocess(
        "-W", "error", "-W", PYTEST_ASYNCIO_WARNING, "-p", "no:cacheprovider", *options
    )
    result.assert_outcomes(passed=3)


PAGES = [ROOT / "docs" / "how-to" / name for name in ("testing.md", "testing-web-applications.md")]
RECIPES = [
    code
    for page in PAGES
    for code in re.findall(r"```python\n(.+?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    if "def test_" in code
]


@pytest.mark.slow
def test_the_tests_on_the_pages_pass(project: pytest.Pytester) -> None:
    """Each example of a test in the docs passes as it is, without a warning: pytest alone, FastAPI, httpx, aiohttp."""
    assert len(RECIPES) == 4
    project.makepyfile(**{f"test_{place}": code for place, code in enumerate(RECIPES)})
    # Two warnings are about the test clients: pytest collects classes named Test…, and Starlette prefers another httpx.
    others = ("ignore::pytest.PytestCollectionWarning", "ignore:Using `httpx` with `starlette.testclient`")
    ignored = [part for text in (PYTEST_ASYNCIO_WARNING, *others) for part in ("-W", text)]
    result = project.runpytest_subprocess("-W", "error", *ignored, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=sum(code.count("def test_") for code in RECIPES))


@pytest.mark.slow
def test_statuses_advance_at_once(project: pytest.Pytester) -> None:
    """With the fixtures, an accepted message has been read when its status is requested."""
    project.makepyfile(
        """
        import asyncio
        import pytest
        from callbell_async import CallbellClient, TextMessage

        async def send_and_read_status(client):
            receipt = await client.send(TextMessage(to="+31612345678", text="Hello!"))
            return (await client.messages.status(receipt.uuid)).status

        @pytest.mark.asyncio
        async def test_async(callbell_client):
            assert await send_and_read_status(callbell_client) == "read"

        def test_thread(callbell_sandbox_thread):
            async def run():
                sandbox = callbell_sandbox_thread
                async with CallbellClient(sandbox.token, base_url=sandbox.url) as client:
                    return await send_and_read_status(client)
            assert asyncio.run(run()) == "read"
        """
    )
    result = project.runpytest_subprocess("-W", "error", "-W", PYTEST_ASYNCIO_WARNING, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_the_plugin_imports_nothing_until_used(project: pytest.Pytester) -> None:
    """Until a test uses a fixture, neither the sandbox nor aiohttp's server is imported; a failed assertion names the cause."""
    project.makepyfile(
        """
        import sys
        import pytest

        def imported():
            return [name for name in sys.modules if name.startswith(("callbell_async.sandbox", "aiohttp.web"))]

        def test_plain():
            assert "callbell_async.pytest_plugin" in sys.modules
            assert not imported()

        @pytest.mark.asyncio
        async def test_fails(callbell_sandbox):
            assert imported()
            callbell_sandbox.assert_sent_once(to="+31612345678")
        """
    )
    result = project.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*expected 1 message to +31612345678, but there are 0*", "*no requests*"])


def test_the_plugin_imports_nothing_of_its_own() -> None:
    """Beside pytest, pytest-asyncio and the package it is in, the plugin is one module, and imports none."""
    code = """
import pytest, pytest_asyncio, sys
import callbell_async
before = set(sys.modules)
import callbell_async.pytest_plugin
print(*set(sys.modules) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["callbell_async.pytest_plugin"]


def test_the_plugin_does_without_pytest_asyncio() -> None:
    """Without pytest-asyncio the plugin still loads, for other plugins that run async tests."""
    code = """
import sys
sys.modules["pytest_asyncio"] = None
import pytest
from callbell_async import pytest_plugin
print(pytest_plugin.fixture is pytest.fixture, type(pytest_plugin.callbell_client).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "FixtureFunctionDefinition"]
