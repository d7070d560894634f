"""The offsets that may be committed, whatever is finished when, and whoever owns the partition."""

from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shadowlane.processors.worker.offsets import Offsets, Ticket

PARTITIONS = st.integers(0, 2)


class AnyOrder(RuleBasedStateMachine):
    """A model that knows, of each owned partition, every message and how many of its records are open."""

    @initialize()
    def start(self) -> None:
        self.offsets = Offsets()
        self.open: dict[int, dict[int, int]] = {}  # owned partition -> offset -> open records
        self.tickets: list[tuple[int, int, Ticket]] = []  # one for each open record
        self.stale: list[Ticket] = []
        self.next_offset: dict[int, int] = defaultdict(int)
        self.highest: dict[int, int] = {}

    @rule(partition=PARTITIONS)
    def assign(self, partition: int) -> None:
        if partition in self.open:
            self.revoke(partition)
        self.offsets.assign(partition)
        self.open[partition] = {}

    @rule(partition=PARTITIONS)
    def revoke(self, partition: int) -> None:
        self.offsets.revoke(partition)
        self.open.pop(partition, None)
        self.stale += [t for p, _, t in self.tickets if p == partition]
        self.tickets = [entry for entry in self.tickets if entry[0] != partition]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), records=st.integers(0, 4), gap=st.integers(0, 3), size=st.integers(0, 5000))
    def begin(self, data: st.DataObject, records: int, gap: int, size: int) -> None:
        partition = data.draw(st.sampled_from(sorted(self.open)))
        offset = self.next_offset[partition] + gap
        self.next_offset[partition] = offset + 1
        ticket = self.offsets.begin(partition, offset, records, size)
        self.open[partition][offset] = records
        self.tickets += [(partition, offset, ticket)] * records

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.tickets) - 1))
        partition, offset, ticket = self.tickets.pop(at)
        self.offsets.finish(ticket)
        self.open[partition][offset] -= 1

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def finish_what_is_no_longer_ours(self, data: st.DataObject) -> None:
        before = self.offsets.committable()
        ticket = self.stale.pop(data.draw(st.integers(0, len(self.stale) - 1)))
        assert not ticket.owned
        self.offsets.finish(ticket)
        assert self.offsets.committable() == before

    @rule(fails=st.booleans())
    def commit(self, fails: bool) -> None:
        moved = self.offsets.committable()
        self.offsets.committed(moved)
        assert self.offsets.committable() == {}
        if fails:
            for partition in moved:
                self.offsets.not_committed(partition)
            assert self.offsets.committable() == moved

    @invariant()
    def only_the_finished_prefix_may_be_committed(self) -> None:
        for partition, position in self.offsets.committable().items():
            unfinished = [o for o, records in self.open[partition].items() if records]
            finished = [o for o, records in self.open[partition].items() if not records]
            below = [o for o in finished if not unfinished or o < min(unfinished)]
            assert position == max(below) + 1

    @invariant()
    def what_is_open_is_counted(self) -> None:
        assert self.offsets.records == len(self.tickets)
        assert (self.offsets.bytes == 0) or self.tickets


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_a_gap_holds_back_all_that_comes_after_it() -> None:
    offsets = Offsets()
    offsets.assign(0)
    first, second, third = (offsets.begin(0, n, 1, 10) for n in (5, 6, 9))
    offsets.finish(third)
    offsets.finish(second)
    assert offsets.committable() == {}
    offsets.finish(first)
    assert offsets.committable() == {0: 10}


def test_a_message_without_records_is_finished_when_its_turn_comes() -> None:
    offsets = Offsets()
    offsets.assign(0)
    first = offsets.begin(0, 0, 1, 10)
    offsets.begin(0, 1, 0, 0)
    assert offsets.committable() == {}
    offsets.finish(first)
    assert offsets.committable() == {0: 2}


def test_only_the_partitions_asked_for() -> None:
    offsets = Offsets()
    for partition in (0, 1):
        offsets.assign(partition)
        offsets.begin(partition, 3, 0, 0)
    assert offsets.committable([1]) == {1: 4}


def test_what_can_not_be_is_refused() -> None:
    offsets = Offsets()
    with pytest.raises(ValueError, match="not assigned"):
        offsets.begin(0, 0, 1, 1)
    offsets.assign(0)
    ticket = offsets.begin(0, 4, 1, 1)
    with pytest.raises(ValueError, match="offset 4 after 4"):
        offsets.begin(0, 4, 1, 1)
    offsets.finish(ticket)
    with pytest.raises(ValueError, match="more records finished"):
        offsets.finish(ticket)
