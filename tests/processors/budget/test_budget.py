"""Several workers, one budget: whatever the order, and whoever dies, they never spend more than there is."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shadowlane.processors.budget.amounts import NOTHING, Amount, Limits, cost
from shadowlane.processors.budget.book import KEPT_S, Book, Entry, Span, Window
from shadowlane.processors.budget.purse import AGAIN_S, Exhausted, Later, Purse, Reservation

NOW = 1_795_456_000.0
WORKERS = ["a", "b", "c", "d"]
amounts = st.builds(Amount, st.integers(0, 40), st.integers(0, 500), st.just(1), st.integers(0, 2000))


class Workers(RuleBasedStateMachine):
    """Four workers and their log, which each reads in its own time; workers die and come back under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Entry] = []
        self.now = NOW
        self.spent: dict[Window, Amount] = defaultdict(lambda: NOTHING)
        self.born = 0

    @initialize(
        dollars=st.none() | st.integers(1, 1000),
        tokens=st.none() | st.integers(1, 10_000),
        calls=st.none() | st.integers(1, 30),
    )
    def begin(self, dollars: int | None, tokens: int | None, calls: int | None) -> None:
        self.limits: dict[Span, Limits] = {
            "hour": Limits(dollars, tokens, calls),
            "rollout": Limits(None if dollars is None else 3 * dollars, None, 100),
        }
        self.purses: dict[str, tuple[Purse, Book]] = {}
        self.read: dict[str, int] = {}
        self.open: dict[str, list[Reservation]] = {}
        for slot in WORKERS:
            self._born(slot)

    def _born(self, slot: str) -> None:
        self.born += 1
        book = Book()
        self.purses[slot] = (Purse(f"{slot}{self.born}", book), book)
        self.read[slot] = 0
        self.open[slot] = []

    @rule(slot=st.sampled_from(WORKERS), amount=amounts)
    def call(self, slot: str, amount: Amount) -> None:
        purse, _ = self.purses[slot]
        answer = purse.reserve("r", "e", self.limits, amount, self.now)
        if isinstance(answer, Reservation):
            self.open[slot].append(answer)
        elif isinstance(answer, Later):
            self.log += answer.entries

    @rule(slot=st.sampled_from(WORKERS), share=st.floats(0, 1), data=st.data())
    def settle(self, slot: str, share: float, data: st.DataObject) -> None:
        if not self.open[slot]:
            return
        reservation = self.open[slot].pop(data.draw(st.integers(0, len(self.open[slot]) - 1)))
        actual = Amount(*(int(part * share) for part in reservation.amount))
        self.purses[slot][0].settle(reservation, actual)
        for window in reservation.windows:
            self.spent[window] = self.spent[window].plus(actual)

    @rule(slot=st.sampled_from(WORKERS), data=st.data())
    def read_the_log(self, slot: str, data: st.DataObject) -> None:
        """A piece of it, some lines of which may come twice."""
        until = data.draw(st.integers(self.read[slot], len(self.log)))
        again = data.draw(st.integers(0, 2))
        book = self.purses[slot][1]
        book.apply(self.log[self.read[slot] : until])
        if again and self.log[:until]:
            book.apply(self.log[max(0, until - again) : until])
        self.read[slot] = until

    @rule(slot=st.sampled_from(WORKERS))
    def begin_again(self, slot: str) -> None:
        """Kafka was away, or something was missing."""
        self.purses[slot][1].begin()
        self.read[slot] = 0

    @rule(slot=st.sampled_from(WORKERS))
    def die(self, slot: str) -> None:
        """What was under way may have been paid for in full."""
        for reservation in self.open[slot]:
            for window in reservation.windows:
                self.spent[window] = self.spent[window].plus(reservation.amount)
        self._born(slot)

    @precondition(lambda self: any(not self.open[slot] for slot in WORKERS))
    @rule(slot=st.sampled_from(WORKERS))
    def stop(self, slot: str) -> None:
        """In good order: all is settled, what is left is given back, and another one takes its place."""
        if self.open[slot]:
            return
        self.read_all(slot)
        purse, _ = self.purses[slot]
        self.log += purse.close(self.now)
        self._born(slot)

    def read_all(self, slot: str) -> None:
        self.purses[slot][1].apply(self.log[self.read[slot] :])
        self.read[slot] = len(self.log)

    @rule(seconds=st.sampled_from([60, 1800, 3600]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def nobody_spends_more_than_there_is(self) -> None:
        for window, spent in self.spent.items():
            held = spent
            for slot in WORKERS:
                for reservation in self.open[slot]:
                    if window in reservation.windows:
                        held = held.plus(reservation.amount)
            assert not self.limits[window.span].exceeded_by(held), (window, held)

    @invariant()
    def all_who_read_the_same_agree(self) -> None:
        books = [
            book
            for slot, (_, book) in getattr(self, "purses", {}).items()
            if self.read[slot] == len(self.log)
        ]
        windows = {entry.window for entry in self.log}
        assert len({tuple(book.taken(window) for window in sorted(windows)) for book in books}) <= 1
        for window in windows:
            assert not any(self.limits[window.span].exceeded_by(book.taken(window)) for book in books)


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)

HOUR: dict[Span, Limits] = {"hour": Limits(nanodollars=6400, calls=6400)}


def _one(limits: dict[Span, Limits], amount: Amount, count: int) -> int:
    """How many such calls a worker alone may make, one after the other."""
    book, made = Book(), 0
    purse = Purse("w", book)
    for _ in range(2 * count):
        answer = purse.reserve("r", "e", limits, amount, NOW)
        if isinstance(answer, Later):
            assert answer.entries
            book.apply(answer.entries)
            answer = purse.reserve("r", "e", limits, amount, NOW)
        if isinstance(answer, Exhausted):
            break
        assert isinstance(answer, Reservation)
        purse.settle(answer, amount)
        made += 1
    return made


@given(limit=st.integers(1, 500), each=st.integers(1, 50))
def test_one_worker_alone_spends_all_of_it_and_no_more(limit: int, each: int) -> None:
    assert (
        _one({"hour": Limits(nanodollars=limit)}, Amount(nanodollars=each), limit // each + 5)
        == limit // each
    )


def test_a_call_that_costs_less_than_was_reserved_leaves_the_rest() -> None:
    book = Book()
    purse = Purse("w", book)
    limits: dict[Span, Limits] = {"day": Limits(nanodollars=100)}
    for _ in range(100):
        answer = purse.reserve("r", "e", limits, Amount(nanodollars=40), NOW)
        if isinstance(answer, Later):
            book.apply(answer.entries)
            answer = purse.reserve("r", "e", limits, Amount(nanodollars=40), NOW)
        if isinstance(answer, Exhausted):
            break
        assert isinstance(answer, Reservation)
        purse.settle(answer, Amount(nanodollars=1))
    assert (book.spent(Window.at("r", "e", "day", NOW)), isinstance(answer, Exhausted)) == (NOTHING, True)
    book.apply(purse.report(NOW))
    assert book.spent(Window.at("r", "e", "day", NOW)) == Amount(nanodollars=61)


def test_a_call_that_cost_more_than_was_reserved_is_paid_by_the_next_ones() -> None:
    book = Book()
    purse = Purse("w", book)
    limits: dict[Span, Limits] = {"hour": Limits(nanodollars=100)}
    first = purse.reserve("r", "e", limits, Amount(nanodollars=10), NOW)
    assert isinstance(first, Later)
    book.apply(first.entries)
    reservation = purse.reserve("r", "e", limits, Amount(nanodollars=10), NOW)
    assert isinstance(reservation, Reservation)
    purse.settle(reservation, Amount(nanodollars=95))
    assert isinstance(purse.reserve("r", "e", limits, Amount(nanodollars=10), NOW), Exhausted)
    later = purse.reserve(
        "r", "e", limits, Amount(nanodollars=10), NOW + 3600
    )  # the next hour is another one
    assert isinstance(later, Later)


def test_who_waits_for_the_log_asks_once() -> None:
    purse = Purse("w", Book())
    assert isinstance(first := purse.reserve("r", "e", HOUR, Amount(calls=1), NOW), Later)
    assert len(first.entries) == 1
    assert purse.reserve("r", "e", HOUR, Amount(calls=1), NOW) == Later()


def test_a_line_that_was_lost_is_written_again() -> None:
    purse = Purse("w", Book())
    first = purse.reserve("r", "e", HOUR, Amount(calls=1), NOW)
    assert isinstance(first, Later)
    purse.lost(first.entries[0])
    again = purse.reserve("r", "e", HOUR, Amount(calls=1), NOW)
    assert isinstance(again, Later)
    assert again.entries[0].number > first.entries[0].number


def test_a_call_that_no_window_can_hold_says_so() -> None:
    answer = Purse("w", Book()).reserve("r", "e", HOUR, Amount(nanodollars=6401), NOW)
    assert isinstance(answer, Exhausted)
    assert answer.why == "one call may take more nanodollars than the whole hour has"


def taken(answer: object, book: Book) -> None:
    """What was asked for is in the log."""
    assert isinstance(answer, Later)
    assert answer.entries
    book.apply(answer.entries)


def test_what_a_stopped_worker_did_not_use_is_there_for_the_others() -> None:
    book = Book()
    purse = Purse("a", book)
    for _ in range(2):
        answer = purse.reserve("r", "e", HOUR, Amount(50, calls=2), NOW)
        if isinstance(answer, Later):
            taken(answer, book)
    assert isinstance(answer, Reservation)
    window = Window.at("r", "e", "hour", NOW)
    assert book.taken(window) == Amount(150, calls=102)  # and a 64th of it for those that follow
    cut_off = purse.reserve("r", "e", HOUR, Amount(50, calls=2), NOW)
    assert isinstance(cut_off, Reservation)
    purse.settle(answer, Amount(20, calls=1))
    book.apply(purse.close(NOW))
    assert (book.taken(window), book.spent(window)) == (Amount(70, calls=3), Amount(70, calls=3))


def test_a_line_that_does_not_come_is_written_again() -> None:
    book = Book()
    purse = Purse("w", book)
    first = purse.reserve("r", "e", HOUR, Amount(calls=1), NOW)
    assert isinstance(first, Later)
    assert purse.reserve("r", "e", HOUR, Amount(calls=1), NOW + AGAIN_S / 2) == Later()
    again = purse.reserve("r", "e", HOUR, Amount(calls=1), NOW + AGAIN_S)
    taken(again, book)
    assert isinstance(purse.reserve("r", "e", HOUR, Amount(calls=1), NOW + AGAIN_S), Reservation)
    before = book.taken(Window.at("r", "e", "hour", NOW))
    book.apply(first.entries)  # late, and after one that came later: nobody counts it
    assert book.taken(Window.at("r", "e", "hour", NOW)) == before


def test_a_raised_limit_leaves_as_much_more_as_it_was_raised_by() -> None:
    book, made = Book(), 0
    for worker, limit in (("before", 10), ("after", 15)):
        limits: dict[Span, Limits] = {"day": Limits(calls=limit)}
        purse = Purse(worker, book)
        while not isinstance(answer := purse.reserve("r", "e", limits, Amount(calls=1), NOW), Exhausted):
            if isinstance(answer, Later):
                taken(answer, book)
            else:
                purse.settle(answer, answer.amount)
                made += 1
    assert made == 15


@given(
    st.integers(0, 10**6), st.integers(0, 10**6), st.decimals(0, 200, places=4), st.decimals(0, 200, places=4)
)
def test_what_tokens_cost_is_never_rounded_down(
    asked: int, answered: int, one: object, other: object
) -> None:
    from decimal import Decimal

    assert isinstance(one, Decimal)
    assert isinstance(other, Decimal)
    exact = (asked * one + answered * other) / 1_000_000
    found = Decimal(cost(asked, answered, float(one), float(other))) / 1_000_000_000
    assert 0 <= found - exact < Decimal("0.000000001")


def test_windows_that_are_long_over_are_forgotten() -> None:
    book, three = Book(), Amount(calls=3)
    hour, rollout = Window.at("r", "e", "hour", NOW), Window.at("r", "e", "rollout", NOW)
    book.apply([Entry(hour, "a", 1, three), Entry(rollout, "a", 2, three)])
    book.forget(hour.start + 3599 + KEPT_S)  # of a worker whose clock is ahead
    assert (book.taken(hour), book.taken(rollout)) == (three, three)
    book.forget(hour.start + 3600 + KEPT_S)
    assert (book.taken(hour), book.taken(rollout)) == (NOTHING, three)
