"""The ledger against a store that keeps the largest count of each cell."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.producers.ledger import FORGET_EVERY_S, MINUTE_MS, OTHER_ROUTES, Ledger, Row
from shadowlane.schemas.events import LedgerCell


def stored(messages: list[LedgerCell]) -> Counter[str]:
    largest: dict[tuple[Any, ...], int] = {}
    for cell in messages:
        key = (cell.instance, cell.minute, cell.service, cell.route, cell.row, cell.reason)
        largest[key] = max(largest.get(key, 0), cell.count)
    rows: Counter[str] = Counter()
    for key, count in largest.items():
        rows[key[4]] += count
    return rows


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from(["eligible", "mirrored"])),
            st.tuples(st.just("send"), st.integers(0, 2), st.just("")),
            st.tuples(st.just("forget"), st.just(0), st.just("")),
        ),
        max_size=80,
    )
)
def test_what_is_lost_repeated_or_forgotten_changes_no_sum(actions: list[tuple[str, int, str]]) -> None:
    ledger = Ledger("m1")
    arrived: list[LedgerCell] = []
    truth: Counter[str] = Counter()
    for action, number, row in actions:
        if action == "add":
            ledger.add(number * MINUTE_MS + 5, "shop", "/", row)
            truth[row] += 1
        elif action == "send":
            sent = ledger.unacknowledged()
            if number > 0:  # 0: lost on the way
                arrived += [cell for _, cell in sent]
            if number > 1:  # 1: it arrived, and the acknowledgement was lost
                ledger.acknowledge(sent)
        else:
            ledger.forget()
    arrived += [cell for _, cell in ledger.unacknowledged()]
    assert stored(arrived) == truth
    assert {row: ledger.total(row) for row in truth} == dict(truth)


def test_an_acknowledgement_of_an_older_count_leaves_the_newer_to_be_sent() -> None:
    ledger = Ledger("m1")
    ledger.add(0, "shop", "/", "eligible")
    sent = ledger.unacknowledged()
    ledger.add(0, "shop", "/", "eligible")
    ledger.acknowledge(sent)
    assert [cell.count for _, cell in ledger.unacknowledged()] == [2]


def test_routes_without_end_take_up_no_memory_without_end() -> None:
    ledger = Ledger("m1", max_cells=100)
    for number in range(10_000):
        ledger.add(0, "shop", f"/users/{number}", "eligible")
    cells = [cell for _, cell in ledger.unacknowledged()]
    assert len(cells) == 101
    assert sum(cell.count for cell in cells) == 10_000
    assert max(cells, key=lambda cell: cell.count).route == OTHER_ROUTES


def test_a_minute_is_the_requests_own() -> None:
    ledger = Ledger("m1")
    ledger.add(MINUTE_MS - 1, "shop", "/", "eligible")
    ledger.add(MINUTE_MS, "shop", "/", "eligible")
    assert sorted(cell.minute for _, cell in ledger.unacknowledged()) == [0, MINUTE_MS]


def test_two_hundred_routes_keep_their_names_for_as_long_as_the_process_runs() -> None:
    ledger, forgot = Ledger("i"), 0
    for minute in range(90):
        if 60 * minute - forgot >= FORGET_EVERY_S:
            ledger.forget()
            forgot = 60 * minute
        for route in range(200):
            for row in (Row.ELIGIBLE, Row.MIRRORED):
                ledger.add(minute * MINUTE_MS, "shop", f"/{route}", row)
        cells = ledger.unacknowledged()
        assert OTHER_ROUTES not in {cell.route for _, cell in cells}, minute
        ledger.acknowledge(cells)
