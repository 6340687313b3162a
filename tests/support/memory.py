"""How much memory a piece of code takes."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["traced_memory"]


@contextmanager
def traced_memory() -> Iterator[None]:
    """What is allocated in the block is traced, beginning without the garbage of what came before."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
