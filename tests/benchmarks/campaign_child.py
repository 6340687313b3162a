"""The command line in a process that prints its peak memory at its end: `python -m tests.benchmarks.campaign_child ...`."""

from __future__ import annotations

import atexit
import sys

from callbell_async.cli import main
from tests.benchmarks.contender_child import peak_kilobytes

atexit.register(lambda: print(f"peak: {peak_kilobytes()} KB", file=sys.stderr))  # noqa: T201

main()
