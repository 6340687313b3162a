"""The CPU time of an observer: `send` and `send_many`, each without and with one, in slices that take turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType

from callbell_async import Observer
from callbell_async.observe import MOMENTS
from tests.benchmarks.contenders import Contender, Setup
from tests.benchmarks.contenders.ours import AwaitedSendMany, OneByOne
from tests.benchmarks.measure import Spread, paired
from tests.benchmarks.report import show, table
from tests.benchmarks.retry_cost import measured
from tests.benchmarks.servers import fast_server

AIM = 1.03


def _overriding(name: str, moments: Iterable[str]) -> type[Observer]:
    """Return a subclass that overrides these methods by functions of its own, which have the same parameters and do nothing."""
    methods = {moment: vars(Observer)[moment] for moment in moments}
    return type(name, (Observer,), {key: FunctionType(one.__code__, globals(), key) for key, one in methods.items()})


EveryMoment = _overriding("EveryMoment", MOMENTS)
"""Overrides every method."""


TwoMoments = _overriding("TwoMoments", ("call_ended", "attempt_ended"))
"""Overrides the two methods that count outcomes and measure requests."""


OBSERVERS: Mapping[str, type[Observer]] = {
    "Observer itself": Observer,
    "two moments": TwoMoments,
    "every moment": EveryMoment,
}


class ObservedSendMany(AwaitedSendMany):
    """`send_many` with an observer."""

    observer: Observer

    async def open(self) -> None:
        """Open the client as `AwaitedSendMany` does, and derive one with the observer from it."""
        await super().open()
        self._base, self._client = self._client, self._client.with_options(observer=self.observer)

    async def close(self) -> None:
        """Close the client."""
        await self._base.close()


class ObservedOneByOne(ObservedSendMany, OneByOne):
    """`send`, one message after the other, with an observer."""


def run(*, loops: Sequence[str], concurrency: int, seconds: float, slice_seconds: float) -> None:
    """Measure each for about `seconds`, and print the ratios."""
    slices = max(3, round(seconds / slice_seconds))
    rows, verdicts = [], []
    with fast_server() as server:
        for loop in loops:
            for name, without, with_observer, size in (
                ("send", OneByOne, ObservedOneByOne, 1),
                ("send_many", AwaitedSendMany, ObservedSendMany, concurrency),
            ):
                setup = Setup(server.base_url, size, loop)
                plan: dict[str, Contender] = {"none": without(setup)}
                for label, observer in OBSERVERS.items():
                    contender = with_observer(setup)
                    contender.observer = observer()
                    plan[label] = contender
                found = measured(plan, slices, slice_seconds)
                alone = Spread.of(one.cpu_us for one in found["none"]).median
                for label in OBSERVERS:
                    ratio = paired(found[label], found["none"], lambda one: one.cpu_us)
                    rows.append((f"{name}, {loop} loop", f"{alone:.1f}", label, ratio.text(3)))
                    verdicts.append(f"aim: {name}, {loop} loop, {label}: {ratio.verdict(at_most=AIM)}")
    show(f"CPU microseconds per message, {slices} rounds, about {slice_seconds} s each, send_many at {concurrency}", "")
    show(table(("", "without", "observer", "CPU / without"), rows))
    show(f"the aim is at most {AIM:g} times the CPU", *verdicts)
