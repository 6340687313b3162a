"""The questions that the benchmarks answer, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from tests.benchmarks import (
    campaign,
    import_time,
    instructions,
    journal,
    kills,
    latency,
    memory,
    observer_cost,
    peers,
    rate,
    retry_cost,
    scale,
    send_alone,
    shared_rate,
    webhooks,
    workers,
)
from tests.benchmarks.measure import Options
from tests.benchmarks.report import Answer, Findings

__all__ = ["QUESTIONS", "Question", "in_order"]


@attrs.frozen
class Question:
    """A title, and the function that measures."""

    title: str
    run: Callable[[Options], Findings]


QUESTIONS: Mapping[str, Question] = {
    "peers": Question("Many messages, beside other libraries", peers.run),
    "send": Question("One message at a time", send_alone.run),
    "instructions": Question("Instructions per message", instructions.run),
    "scale": Question("More messages, and more in flight", scale.run),
    "latency": Question("Latency that one send adds", latency.run),
    "memory": Question("Peak memory", memory.run),
    "campaign": Question("A campaign from a CSV file", campaign.run),
    "journal": Question("The cost of the journal", journal.run),
    "retry-cost": Question("The cost of retries", retry_cost.run),
    "observers": Question("The cost of an observer", observer_cost.run),
    "kills": Question("Killed runs", kills.run),
    "rate": Question("The rate limit", rate.run),
    "shared-rate": Question("A rate limit that processes share", shared_rate.run),
    "webhooks": Question("The cost of a webhook event", webhooks.run),
    "workers": Question("Workers that share a limit and a journal", workers.run),
    "import": Question("The time of the import", import_time.run),
}


def in_order(answers: Iterable[Answer]) -> list[Answer]:
    """Return the answers in the order of the questions, those on the same question in the order of Python's versions."""
    names = list(QUESTIONS)
    return sorted(answers, key=lambda answer: (names.index(answer.question), answer.conditions.python))
