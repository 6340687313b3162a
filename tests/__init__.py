"""The tests. Every process of theirs imports this module first, so that all of them share compiled code."""

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    # Each worker would rewrite the assertions of all tests, and each child process compile the package. The sources stay clean.
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".cache" / "bytecode")
    sys.dont_write_bytecode = False
    # Child processes inherit it.
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
