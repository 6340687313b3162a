"""Every state of a journalled message, with every event."""

from __future__ import annotations

import pytest

from callbell_async import Outcome
from callbell_async.journal.states import State, StateEvent, next_state, outcome_of, states_of

EVENTS = (*StateEvent, *Outcome)

TABLE = """
           | claim     | allow_resend | crash   | confirm  | accepted | rejected | never_sent | unknown | skipped
(new)      | sending   | -            | -       | -        | -        | -        | -          | -       | -
accepted   | -         | -            | -       | accepted | -        | -        | -          | -       | -
rejected   | sending   | -            | -       | accepted | -        | -        | -          | -       | -
never_sent | sending   | -            | -       | accepted | -        | -        | -          | -       | -
skipped    | sending   | -            | -       | accepted | -        | -        | -          | -       | -
unknown    | -         | resend       | -       | accepted | -        | -        | -          | -       | -
sending    | -         | -            | unknown | accepted | accepted | rejected | never_sent | unknown | skipped
resending  | -         | -            | unknown | accepted | accepted | resend   | resend     | unknown | resend
resend     | resending | resend       | -       | accepted | -        | -        | -          | -       | -
"""


def pairs() -> dict[tuple[str, str], str]:
    """Return the cells of the table above."""
    head, *lines = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip("\n").splitlines()]
    return {(line[0], event): cell for line in lines for event, cell in zip(head[1:], line[1:], strict=True)}


def test_the_table_has_all_pairs() -> None:
    """No state and no event is missing from the table."""
    states = {"(new)", *(state.value for state in State)}
    assert set(pairs()) == {(state, event.value) for state in states for event in EVENTS}


@pytest.mark.parametrize(("pair", "after"), pairs().items(), ids="-".join)
def test_each_event_leads_to_its_state(pair: tuple[str, str], after: str) -> None:
    """Each event leads from each state to the state in the table, or is not allowed."""
    state = None if pair[0] == "(new)" else State(pair[0])
    event = next(event for event in EVENTS if event.value == pair[1])
    assert next_state(state, event) == (None if after == "-" else State(after))


def test_a_user_sees_an_outcome() -> None:
    """The five outcomes are shown as they are, and the three other states as `UNKNOWN`."""
    assert [outcome_of(State(outcome.value)) for outcome in Outcome] == list(Outcome)
    assert {outcome_of(state) for state in (State.SENDING, State.RESENDING, State.RESEND)} == {Outcome.UNKNOWN}
    assert set(states_of([Outcome.UNKNOWN])) == {State.UNKNOWN, State.SENDING, State.RESENDING, State.RESEND}
    assert set(states_of(Outcome)) == set(State)


@pytest.mark.parametrize("state", State)
def test_a_possibly_accepted_message_is_not_claimed_unless_allowed(state: State) -> None:
    """A message that may have been accepted is sent again only from `RESEND`, which the user has allowed."""
    if outcome_of(state) in (Outcome.ACCEPTED, Outcome.UNKNOWN):
        assert (next_state(state, StateEvent.CLAIM) is not None) is (state is State.RESEND)
