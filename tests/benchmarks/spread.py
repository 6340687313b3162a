"""The median of repeated measurements, with its error."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import attrs


@attrs.frozen
class Spread:
    """A median with its error and its quartiles.

    Attributes:
        median: The median.
        error: Half of the range that holds the true median in 95 of 100 cases.
        low: The lower quartile.
        high: The upper quartile.
        count: The number of values.
    """

    median: float
    error: float
    low: float
    high: float
    count: int = 1

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of one or more values."""
        values = sorted(values)
        size = len(values)
        if size == 1:
            return cls(float(values[0]), 0.0, float(values[0]), float(values[0]))
        # The ranks between which the true median lies, for any distribution.
        reach = 0.98 * math.sqrt(size)
        first = max(0, math.floor(size / 2 - reach))
        last = min(size - 1, math.ceil(size / 2 + reach))
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, (values[last] - values[first]) / 2, low, high, size)

    def text(self, digits: int) -> str:
        """Return the median and its error, such as `1.05 ±0.01`; of a single value only the value."""
        value = f"{self.median:,.{digits}f}"
        return value if self.count == 1 else f"{value} ±{self.error:,.{digits}f}"

    def verdict(self, *, at_most: float = math.inf, at_least: float = -math.inf) -> str:
        """Return `met`, `missed`, or `too close to decide` if the bound is within the error of the median."""
        distance = min(at_most - self.median, self.median - at_least)
        if self.error and abs(distance) <= self.error:
            return "too close to decide"
        return "met" if distance >= 0 else "missed"
