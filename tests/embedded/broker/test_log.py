"""No reader of a partition is ever made to skip a batch, and none is left without one, whatever is listed."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from shadowlane.embedded.broker.log import AHEAD, BEHIND, HOLE_S, UNSAFE_S, Batch, PartitionLog, Read


def filled(count: int, records: int = 1) -> PartitionLog:
    log = PartitionLog()
    for n in range(count):
        log.add(Batch(n * records, (n + 1) * records, 100, n * 1e-3))
    return log


@dataclass
class Reader:
    """What the broker does with a fetch: a list, then batches in order, all within half of UNSAFE_S."""

    at: int
    wanted: list[int] = field(default_factory=list)

    def list(self, log: PartitionLog, now: float) -> None:
        bases = [batch.base for batch in log.listing(now)]
        self.wanted = [base for base in bases if base >= self.at]
        before = [base for base in bases if base < self.at]
        if before and self.wanted[:1] != [self.at]:
            self.wanted.insert(0, before[-1])

    def read(self, log: PartitionLog, now: float, most: int) -> None:
        fetched = self.at
        for base in self.wanted[:most]:
            batch = log.find(base)
            if batch is None:
                break
            match log.read(base, now):
                case Read.REFUSED:
                    fetched = self.at  # the whole fetch fails
                    break
                case Read.NOTHING:
                    continue
                case Read.BATCH:
                    if batch.end > fetched:
                        assert batch.base <= fetched, "a batch was skipped"
                        fetched = batch.end
        self.at, self.wanted = fetched, []


@settings(deadline=None, max_examples=60)
@given(
    starts=st.lists(st.integers(0, 3000), min_size=1, max_size=3),
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 400), st.floats(0.0, 0.45), st.integers(0, 300)),
        max_size=40,
    ),
    records=st.integers(1, 3),
)
def test_readers_anywhere_get_every_batch_in_order(
    starts: list[int], steps: list[tuple[int, int, float, int]], records: int
) -> None:
    log = filled(1000, records)
    readers = [Reader(min(start, 1000 * records)) for start in starts]
    now, count = 100.0, 1000
    for who, most, passes, written in steps:
        reader, other = readers[who % len(readers)], readers[(who + 1) % len(readers)]
        reader.list(log, now)
        now += passes
        for _ in range(written):
            log.add(Batch(count * records, (count + 1) * records, 100, now))
            count += 1
        if other is not reader:  # in the middle of the first one's fetch
            other.list(log, now)
            other.read(log, now, most)
        reader.read(log, now, most)
    for reader in readers:
        for _ in range(3 * count // AHEAD + 40):
            reader.list(log, now)
            now += 0.02
            reader.read(log, now, 50)
            now += 0.3
        assert reader.at == count * records


def test_a_list_stays_short_for_a_reader_far_from_either_end() -> None:
    log, now = filled(50_000), 1000.0
    reader = Reader(20_000)
    while reader.at == 20_000:
        reader.list(log, now)
        reader.read(log, now, 20)
        now += 0.02
    for _ in range(300):
        reader.list(log, now)
        reader.read(log, now, 20)
        now += 0.02
    assert reader.at > 20_000
    now += 0.02
    assert len(log.listing(now)) < 4000


def test_the_last_batch_is_always_shown_so_that_the_end_is_known() -> None:
    log = filled(10_000)
    assert log.listing(100.0)[-1].base == 9_999
    assert log.read(9_999, 100.0) == Read.NOTHING
    assert log.read(9_999, 101.0 + UNSAFE_S) == Read.BATCH


def test_a_batch_behind_a_hole_waits_for_the_one_that_fills_it() -> None:
    log = filled(3)
    log.add(Batch(4, 5, 100, 50.0))
    assert [batch.base for batch in log.listing(51.0)] == [0, 1, 2]
    log.add(Batch(3, 4, 100, 51.1))
    assert [batch.base for batch in log.listing(51.2)] == [0, 1, 2, 3, 4]


def test_a_partitions_first_batches_may_come_in_any_order() -> None:
    log = PartitionLog()
    log.add(Batch(1, 2, 100, 50.0))
    assert log.listing(50.0) == []
    log.add(Batch(0, 1, 100, 50.1))
    assert [batch.base for batch in log.listing(50.1)] == [0, 1]
    log.trim(1)
    assert [batch.base for batch in log.listing(50.2)] == [1]


def test_a_hole_that_nobody_fills_is_passed() -> None:
    log = filled(3)
    log.add(Batch(4, 5, 100, 50.0))
    assert [batch.base for batch in log.listing(50.0 + HOLE_S)] == [0, 1, 2, 4]


def test_what_is_trimmed_is_the_read_prefix() -> None:
    log = filled(10, records=3)
    assert log.done(7) == 2
    assert [batch.base for batch in log.trim(log.done(7))] == [0, 3]
    assert (log.low, log.high, log.bytes) == (6, 30, 800)


def test_a_reader_that_pauses_finds_a_short_list_however_much_was_read_before() -> None:
    log = filled(3000)
    reader = Reader(0)
    now = 100.0
    while reader.at < 2000:
        now += 0.1
        reader.list(log, now)
        reader.read(log, now, 10)
    for pause in (2.0, 600.0):
        now += pause
        assert (
            len(log.listing(now)) <= BEHIND + 2 * 100 + AHEAD + 2
        )  # what was read within two seconds, and around it
        before = reader.at
        reader.list(log, now)
        reader.read(log, now, 10)
        assert reader.at > before
