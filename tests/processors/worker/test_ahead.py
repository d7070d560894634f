"""What is made of waiting requests before they are asked: in order, some at a time, each on its own."""

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.worker.ahead import AT_ONCE, AT_ONCE_BYTES, Ahead, Made
from shadowlane.processors.worker.offsets import Offsets
from shadowlane.processors.worker.reader import Work


def works(*sizes: int) -> list[Work]:
    offsets = Offsets()
    offsets.assign(0)
    ticket = offsets.begin(0, 0, len(sizes), sum(sizes))
    return [Work(ticket, 0, number, b"x" * size, 0) for number, size in enumerate(sizes)]


class Maker:
    """Counts; what is on a line of one byte can't be made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, work: Work) -> Made:
        self.made += 1
        if len(work.line) == 1:
            raise ValueError(f"line {work.number}")
        return Made(work, str(work.number))


@given(st.lists(st.lists(st.integers(1, 4), max_size=2 * AT_ONCE), max_size=4))
def test_each_record_comes_once_in_order_and_bears_its_own_error(batches: list[list[int]]) -> None:
    maker = Maker()
    ahead = Ahead(maker)
    expected = [(size, number) for sizes in batches for number, size in enumerate(sizes)]
    for sizes in batches:
        ahead.add(works(*sizes))
    assert len(ahead) == len(expected)
    for left, (size, number) in zip(range(len(expected), 0, -1), expected, strict=True):
        assert len(ahead) == left
        made = ahead.next()
        assert made is not None
        assert (made.work.number, len(made.work.line)) == (number, size)
        if size == 1:
            assert str(made.error) == f"line {number}"
        else:
            assert (made.error, made.request_id) == (None, str(number))
    assert ahead.next() is None
    assert maker.made == len(expected)


def test_no_more_is_made_than_is_soon_asked() -> None:
    maker = Maker()
    ahead = Ahead(maker)
    ahead.add(works(*[2] * (3 * AT_ONCE)))
    assert maker.made == 0
    ahead.next()
    assert maker.made == AT_ONCE


def test_large_ones_are_made_few_at_a_time() -> None:
    maker = Maker()
    ahead = Ahead(maker)
    ahead.add(works(*[AT_ONCE_BYTES // 2] * 10))
    ahead.next()
    assert maker.made == 2
    assert ahead.clear() == 9
    assert (len(ahead), ahead.next()) == (0, None)
