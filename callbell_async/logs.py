"""The loggers of the package, one for each area."""

from __future__ import annotations

import logging

__all__ = ["ROOT", "area_logger"]

ROOT = "callbell_async"
"""The name of the logger above all others of the package."""

# Without it, Python prints the warnings of a program that has not configured logging.
logging.getLogger(ROOT).addHandler(logging.NullHandler())


def area_logger(area: str) -> logging.Logger:
    """Return the logger of an area, such as `http`."""
    return logging.getLogger(f"{ROOT}.{area}")
