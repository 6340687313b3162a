"""The tests. Every process of theirs imports this module first, so that all of them keep compiled code, and use that of the others."""

import os
import sys

# Without it each worker rewrites the assertions of all tests, and each of some hundred child processes compiles the package.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
