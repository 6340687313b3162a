"""The CPU time of an observer: `send` and `send_many`, each without and with one, in slices that take turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import FunctionType

from callbell_async import Observer
from callbell_async.observe import MOMENTS
from tests.benchmarks.contenders import Contender, Setup
from tests.benchmarks.contenders.ours import AwaitedSendMany, OneByOne
from tests.benchmarks.measure import Options, cpu_ratio, more_cpu, rounds, started
from tests.benchmarks.report import Aim, Chart, Column, Findings, Row, Table, worst
from tests.benchmarks.servers import accepting_server

AIM = 1.03
SLICE_SECONDS = 0.05
CAUSE = "each report builds its values and calls a method"


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


def run(options: Options) -> Findings:
    """Measure each on each loop."""
    rows, aims = [], []
    with accepting_server() as server:
        for loop in options.loops:
            for name, without, with_observer, size in (
                ("send", OneByOne, ObservedOneByOne, 1),
                ("send_many", AwaitedSendMany, ObservedSendMany, options.concurrency),
            ):
                setup = Setup(server.base_url, size, loop)
                plan: dict[str, Contender] = {"none": without(setup)}
                for label, observer in OBSERVERS.items():
                    contender = with_observer(setup)
                    contender.observer = observer()
                    plan[label] = contender
                with started(plan):
                    found = rounds(plan, slices=options.slices(SLICE_SECONDS), seconds=SLICE_SECONDS)
                none = found.pop("none")
                for label, taken in found.items():
                    ratio = cpu_ratio(taken, none)
                    rows.append(Row.of(f"{name}, {label}, {loop}", ratio, more_cpu(taken, none)))
                    what = f"CPU time of {name} with an observer: {label}, {loop}"
                    aims.append(Aim(what, ratio, AIM, unit="times", digits=3, cause=CAUSE))
    columns = (Column("CPU time, of none", "times", 3), Column("more CPU time", "µs a message", 1))
    table = Table(
        "an observer, compared with none",
        columns,
        tuple(rows),
        Chart("bars", "CPU time, as a multiple of none", bound=AIM),
    )
    return Findings((table,), (worst(aims),))
