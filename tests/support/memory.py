"""Measuring the memory of a piece of code."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["traced_memory"]


@contextmanager
def traced_memory() -> Iterator[None]:
    """Trace the memory that is allocated in the block. Earlier garbage is collected first."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
