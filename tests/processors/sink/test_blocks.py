from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.sink.blocks import BEHIND_S, PROMISE_S, Blocks, promised_last
from shadowlane.schemas.config import Sink

LIMITS = Sink(max_rows=5, max_bytes=1024, max_wait_s=1.0)
P, Q = ("pairs", 0), ("pairs", 1)

envelopes = st.lists(st.one_of(st.none(), st.integers(1, 7)), max_size=40)


def envelope(rows: int | None) -> bytes | None:
    return None if rows is None else b"\n".join([b"{}"] * rows)


@given(p=envelopes, q=envelopes, flush_at=st.sets(st.integers(0, 80)), promise=st.none() | st.integers(0, 50))
def test_every_message_is_in_one_block_in_order(
    p: list[int | None], q: list[int | None], flush_at: set[int], promise: int | None
) -> None:
    blocks = Blocks(LIMITS)
    if promise is not None:
        blocks.promise(P, promise)
    out = []
    now = 0.0
    messages = [(P, o, v) for o, v in enumerate(p)] + [(Q, o, v) for o, v in enumerate(q)]
    for number, (partition, offset, rows) in enumerate(messages):
        blocks.add(partition, offset, envelope(rows), now)
        if number in flush_at:
            now += LIMITS.max_wait_s
        out += blocks.due(now)
    out += blocks.due(now + PROMISE_S)
    assert blocks.wait(now) is None
    for partition, sent in ((P, p), (Q, q)):
        mine = [block for block in out if block.partition == partition]
        assert [offset for block in mine for offset in block.offsets] == list(range(len(sent)))
        assert [value for block in mine for value in block.values] == [envelope(n) or b"" for n in sent]
        assert sum(block.rows for block in mine) == sum(n or 0 for n in sent)
        if partition == P and promise is not None and mine:
            assert mine[0].last == min(promise, len(p) - 1)
            mine = mine[1:]
        for block in mine:  # full only by its last message
            assert sum(value.count(b"\n") + 1 for value in block.values[:-1] if value) < LIMITS.max_rows


@given(first=st.integers(0, 2**63), length=st.integers(0, 1000))
def test_a_promise_is_read_back(first: int, length: int) -> None:
    blocks = Blocks(Sink())
    blocks.add(P, first, b"{}", 0.0)
    blocks.add(P, first + length, b"{}", 0.0)
    (block,) = blocks.due(10.0)
    assert promised_last(block.promise, first) == first + length
    assert block.token.startswith(f"pairs:0:{first}-{first + length}:")


def test_offsets_that_come_again_with_other_messages_are_another_block() -> None:
    def token(*values: bytes) -> str:
        blocks = Blocks(LIMITS)
        for offset, value in enumerate(values):
            blocks.add(P, offset, value, 0.0)
        (block,) = blocks.due(LIMITS.max_wait_s)
        return block.token

    assert token(b"1", b"2") == token(b"1", b"2")
    assert len({token(b"1", b"2"), token(b"1", b"3"), token(b"12", b""), token(b"", b"12")}) == 4


def test_what_is_no_promise_is_none() -> None:
    for metadata in (None, "", "-", "5", "a-b", "5-4", "-5-7", "6-9"):
        assert promised_last(metadata, 5) is None


def test_a_promised_block_outgrows_the_limits() -> None:
    blocks = Blocks(LIMITS)
    blocks.promise(P, 3)
    for offset in range(3):
        blocks.add(P, offset, envelope(4), 0.0)
    assert blocks.due(LIMITS.max_wait_s) == []
    assert blocks.due(LIMITS.max_wait_s, everything=True) == []
    blocks.add(P, 3, envelope(1), 2.0)
    (block,) = blocks.due(2.0)
    assert (block.first, block.last, block.rows) == (0, 3, 13)


def test_a_promise_ends_where_the_log_has_lost_its_end() -> None:
    blocks = Blocks(LIMITS)
    blocks.promise(P, 3)
    blocks.add(P, 2, envelope(1), 0.0)
    blocks.add(P, 9, envelope(1), 0.0)
    assert [block.offsets for block in blocks.due(0.0)] == [[2]]
    assert [block.offsets for block in blocks.due(LIMITS.max_wait_s)] == [[9]]


def test_waits_for_the_oldest_block() -> None:
    blocks = Blocks(LIMITS)
    assert blocks.wait(0.0) is None
    blocks.add(P, 0, envelope(1), 10.0)
    blocks.add(Q, 0, envelope(1), 10.5)
    assert blocks.wait(10.25) == 0.75
    blocks.add(Q, 1, envelope(5), 10.5)
    assert blocks.wait(10.5) == 0.0


def test_a_block_that_will_soon_be_larger_waits_for_it() -> None:
    blocks = Blocks(LIMITS)
    blocks.add(P, 0, envelope(1), 0.0)
    blocks.add(Q, 0, envelope(1), 0.0)
    (block,) = blocks.due(LIMITS.max_wait_s, more=lambda partition: partition == P)
    assert block.partition == Q
    assert blocks.due(BEHIND_S - 0.01, more=lambda _: True) == []
    assert [block.partition for block in blocks.due(BEHIND_S, more=lambda _: True)] == [P]


def test_more_to_read_keeps_no_full_block_and_no_stop_waiting() -> None:
    blocks = Blocks(LIMITS)
    blocks.add(P, 0, envelope(LIMITS.max_rows), 0.0)
    blocks.add(P, 1, envelope(1), 0.0)
    assert [block.offsets for block in blocks.due(0.0, more=lambda _: True)] == [[0]]
    assert [block.offsets for block in blocks.due(0.0, more=lambda _: True, everything=True)] == [[1]]


def test_a_dropped_partition_is_forgotten() -> None:
    blocks = Blocks(LIMITS)
    blocks.promise(P, 100)
    blocks.add(P, 0, envelope(1), 0.0)
    blocks.add(Q, 0, envelope(9), 0.0)
    blocks.drop([P, Q])
    assert blocks.due(100.0, everything=True) == []
    blocks.add(P, 0, envelope(9), 0.0)
    assert [block.offsets for block in blocks.due(0.0)] == [[0]]


def test_many_partitions_hold_no_more_than_one_block_may() -> None:
    blocks = Blocks(Sink(max_rows=1000, max_bytes=1024, max_wait_s=60.0))
    held = 0
    for number in range(200):
        blocks.add(("pairs", number % 20), number // 20, b"x" * 100, 0.0)
        held += 100 - sum(block.size for block in blocks.due(0.0))
        assert held < 1024 + 100
    assert held == sum(block.size for block in blocks.due(60.0))
