"""The ledger adds up exactly when every request is in one row, or young enough to be on its way."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.rollout.ledger import RESOLVED, SLACK, Entry, add_up

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WAIT = timedelta(minutes=10)
OLD = NOW - timedelta(hours=2)
YOUNG = NOW - timedelta(minutes=1)

counts = st.fixed_dictionaries({row: st.integers(0, 50) for row in RESOLVED})
minutes = st.dictionaries(
    st.integers(0, 60 * 24).map(lambda m: NOW - timedelta(minutes=m)), counts, max_size=10
)


def entries_of(resolved: dict[datetime, dict[str, int]]) -> list[Entry]:
    """The rows of a system that lost nothing."""
    found = []
    for minute, rows in resolved.items():
        found.append(Entry(minute, "eligible", "", sum(rows.values())))
        found += [Entry(minute, row, "because", count) for row, count in rows.items()]
    return found


@given(minutes)
def test_a_system_that_loses_nothing_adds_up(resolved: dict[datetime, dict[str, int]]) -> None:
    ledger = add_up(entries_of(resolved), NOW, WAIT)
    assert ledger.adds_up
    assert ledger.in_flight == 0
    assert ledger.eligible == sum(getattr(ledger, row) for row in RESOLVED)


@given(minutes, st.sampled_from([OLD, YOUNG]), st.integers(1, 20))
def test_what_is_open_is_in_flight_while_young_and_missing_after(
    resolved: dict[datetime, dict[str, int]], minute: datetime, count: int
) -> None:
    ledger = add_up([*entries_of(resolved), Entry(minute, "eligible", "", count)], NOW, WAIT)
    assert (ledger.in_flight, ledger.missing) == ((count, 0) if minute == YOUNG else (0, count))
    assert ledger.adds_up == (minute == YOUNG)


@given(minutes, st.sampled_from(RESOLVED), st.integers(1, 20))
def test_a_request_that_is_counted_twice_shows(
    resolved: dict[datetime, dict[str, int]], row: str, count: int
) -> None:
    ledger = add_up([*entries_of(resolved), Entry(OLD, row, "", count)], NOW, WAIT)
    assert ledger.excess == count
    assert not ledger.adds_up


@given(minutes, st.integers(0, 5), st.integers(0, 5))
def test_the_equation_of_the_documentation_holds(
    resolved: dict[datetime, dict[str, int]], lost: int, twice: int
) -> None:
    extra = [
        Entry(OLD, "eligible", "", lost),
        Entry(OLD - timedelta(days=3), "scored", "", twice),
        Entry(YOUNG, "eligible", "", 3),
    ]
    ledger = add_up([*entries_of(resolved), *extra], NOW, WAIT)
    open_ones = ledger.in_flight + ledger.missing - ledger.excess
    assert ledger.eligible == sum(getattr(ledger, row) for row in RESOLVED) + open_ones


def test_one_minutes_surplus_does_not_hide_anothers_loss() -> None:
    ledger = add_up(
        [
            Entry(OLD, "eligible", "", 10),
            Entry(OLD, "scored", "", 9),
            Entry(OLD + timedelta(minutes=1), "eligible", "", 10),
            Entry(OLD + timedelta(minutes=1), "scored", "", 11),
        ],
        NOW,
        WAIT,
    )
    assert (ledger.missing, ledger.excess, ledger.adds_up) == (1, 1, False)


@given(minutes, st.sampled_from(RESOLVED), st.integers(1, 20))
def test_an_answer_that_comes_before_its_request_is_counted_adds_up(
    resolved: dict[datetime, dict[str, int]], row: str, count: int
) -> None:
    ledger = add_up([*entries_of(resolved), Entry(YOUNG, row, "", count)], NOW, WAIT)
    assert ledger.adds_up
    assert ledger.in_flight == 0
    assert ledger.eligible == sum(getattr(ledger, row) for row in RESOLVED)


def test_young_ends_where_the_wait_and_its_slack_end() -> None:
    edge = NOW - WAIT - SLACK
    assert add_up([Entry(edge, "eligible", "", 1)], NOW, WAIT).in_flight == 1
    assert add_up([Entry(edge - timedelta(minutes=1), "eligible", "", 1)], NOW, WAIT).missing == 1


def test_reasons_are_kept_and_unreadable_records_stand_beside() -> None:
    ledger = add_up(
        [
            Entry(OLD, "eligible", "", 3),
            Entry(OLD, "dropped", "buffer_full", 2),
            Entry(OLD, "unpaired", "no_shadow_response", 1),
            Entry(OLD, "unreadable", "", 7),
            Entry(OLD, "mirrored", "", 1),
        ],
        NOW,
        WAIT,
    )
    assert ledger.reasons["dropped"] == {"buffer_full": 2}
    assert ledger.unreadable == 7
    assert ledger.adds_up


def test_nothing_is_a_ledger_too() -> None:
    assert add_up([], NOW, WAIT).adds_up
