"""The query, run by ClickHouse's own engine, gives the sums that Python computes from the same pairs."""

import random
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client

from shadowlane.errors import StoreError
from shadowlane.evaluators.gates.baselines import BASELINE_PAIRS
from shadowlane.evaluators.gates.buckets import MOST_SLICES, UNTRACKED, Bucket
from shadowlane.evaluators.gates.expressions import parse_criteria, parse_trigger
from shadowlane.evaluators.gates.fold import Fold, fold
from shadowlane.evaluators.gates.query import bucket_query, buckets_of_rows
from shadowlane.evaluators.gates.reading import advance, closed_until, stored
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import Scope
from shadowlane.processors.store import connect, insert_lines
from shadowlane.schemas.config import ClickHouse
from tests.databases import migrated
from tests.evaluators.gates.building import FAILED, START, Pair
from tests.evaluators.gates.stored import Row, at, expected_buckets, scope
from tests.services import ClickHouseAddress

RULES = Rules(
    parse_criteria({"error_rate": "<0.5%", "quality_score": ">0.90", "json_valid": ">95%"}),
    parse_trigger("error_rate > 2% OR quality_score < 0.80 AND json.schema < 0.5"),
)
MINUTE = timedelta(minutes=1)


class Store:
    """A pair_log of its own."""

    def __init__(self, settings: ClickHouse) -> None:
        self.settings = settings
        self.client: Client = connect(settings)

    def insert(self, rows: Sequence[Row]) -> None:
        """In one block."""
        insert_lines(
            self.client,
            self.settings,
            "pair_log",
            b"\n".join(row.line() for row in rows),
            uuid.uuid4().hex,
        )

    def rows(self, text: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(self.client.query(text, parameters=dict(parameters)).named_results())

    def buckets(self, of: Scope, rules: Rules = RULES, known: Sequence[str] = ()) -> list[Bucket]:
        query = bucket_query(rules, of, known)
        return buckets_of_rows(rules, self.rows(query.text, query.parameters))


@pytest.fixture
def store(clickhouse: ClickHouseAddress) -> Iterator[Store]:
    with migrated(clickhouse) as settings:
        yield Store(settings)


def some_pairs(n: int, seed: int = 11) -> list[Pair]:
    """All that a pair can be: failed on either side, scored by some scorers, without a grade."""
    rng = np.random.default_rng(seed)
    pairs = []
    for quality, luck in zip(rng.random(n).tolist(), rng.random(n).tolist(), strict=True):
        scores = {"json_valid": float(luck > 0.3)} | ({"json.schema": quality} if luck > 0.6 else {})
        if luck < 0.1:
            pairs.append(FAILED)
        elif luck < 0.2:
            pairs.append(Pair(quality, 0.0, "", "timeout", candidate_scores=scores))
        elif luck < 0.25:
            pairs.append(Pair(None, None))
        else:
            other = scores if luck < 0.8 else {}
            pairs.append(Pair(quality, luck, candidate_scores=scores, stable_scores=other))
    return pairs


def traffic(n: int, seed: int = 3) -> list[Row]:
    """Twenty minutes: sessions and none, two attributes, pairs that come again, come late, or never were a pair."""
    luck = random.Random(seed)
    rows = []
    for number, pair in enumerate(some_pairs(n, seed)):
        attributes = {
            "language": luck.choice(["de", "en", ""]),
            "it's \\ \t": luck.choice(["a\n'\\", "b", "c"]),
        }
        key = luck.choice(["", f"r{number}", f"user-{luck.randrange(12)}"])
        row = Row(f"r{number}", luck.random() * 20 * MINUTE, pair, key=key, attributes=attributes)
        rows.append(row)
        later = row.at + luck.random() * 5 * MINUTE
        if luck.random() < 0.2:  # delivered again, graded otherwise
            rows.append(replace(row, at=later, pair=FAILED))
        if luck.random() < 0.2:  # it was late: it went out as unpaired first
            rows.append(replace(row, at=row.at * luck.random(), outcome="unpaired"))
        if luck.random() < 0.1:
            rows.append(replace(row, at=later, outcome="abstained"))
        if luck.random() < 0.1:
            rows.append(replace(row, name=f"a{number}", outcome="abstained"))
        if luck.random() < 0.1:
            rows.append(replace(row, at=later, epoch="1", pair=FAILED))
    luck.shuffle(rows)
    return rows


def insert_in_parts(store: Store, rows: Sequence[Row]) -> None:
    for part in range(4):
        store.insert(rows[part::4])


def same(found: Sequence[Bucket], expected: Sequence[Bucket]) -> None:
    assert [(b.start, b.slice, b.pairs, b.first, b.last) for b in found] == [
        (b.start, b.slice, b.pairs, b.first, b.last) for b in expected
    ]
    for theirs, ours in zip(found, expected, strict=True):
        for name, sums in ours.moments.items():
            assert theirs.moments[name].n == sums.n, name
            assert theirs.moments[name].total == pytest.approx(sums.total, abs=1e-9)
            assert theirs.moments[name].squares == pytest.approx(sums.squares, abs=1e-9)
        for name, logs in ours.log_sums.items():
            assert theirs.log_sums[name] == pytest.approx(logs, abs=1e-9), name


SCOPES: dict[str, Callable[[], Scope]] = {
    "pairs": lambda: scope(21),
    "other buckets": lambda: scope(21, bucket_s=10),
    "slices": lambda: scope(21, slices=("language", "it's \\ \t")),
    "sessions": lambda: scope(21, sessions_by="key", session_minutes=1.5),
    "sessions by attribute": lambda: scope(21, sessions_by="language", session_minutes=0.05),
    "sessions and slices": lambda: scope(
        21, slices=("language", "it's \\ \t"), sessions_by="key", session_minutes=1.5
    ),
    "a slice taken out": lambda: scope(
        21,
        slices=("it's \\ \t",),
        sessions_by="key",
        session_minutes=3,
        excluded=("it's \\ \t=a\n'\\", "language=de"),
    ),
}


def test_clickhouse_and_python_agree_to_a_billionth(store: Store) -> None:
    rows = traffic(300)
    insert_in_parts(store, rows)
    for name, make in SCOPES.items():
        of = make()
        whole = expected_buckets(RULES, of, rows)
        assert len({b.start for b in whole}) > 15, name
        same(store.buckets(of), whole)
        # A part of the time has the same buckets: what is looked at beyond it is enough.
        part = replace(of, since=at(7), until=at(9))
        same(store.buckets(part), [b for b in whole if at(7) <= b.start < at(9)])


@pytest.mark.parametrize("name", ["slices", "sessions and slices"])
def test_step_by_step_or_at_once_it_is_the_same_evidence(store: Store, name: str) -> None:
    rows = traffic(200)
    insert_in_parts(store, rows)
    of, until = SCOPES[name](), at(25)
    at_once = advance(store.rows, RULES, of, Fold.start(START), until)
    by_steps = Fold.start(START)
    for minute in (1, 2, 3, 7, 7, 8, 20, 25):
        by_steps = Fold.load(advance(store.rows, RULES, of, by_steps, at(minute)).dump())
    expected = fold(
        RULES, Fold.start(START, sliced=True), expected_buckets(RULES, replace(of, until=until), rows), until
    )
    assert at_once.pairs == sum(
        b.pairs for b in expected_buckets(RULES, replace(of, until=until), rows) if not b.slice
    )
    for found in (at_once, by_steps):
        assert (found.until, found.pairs, found.first, found.last) == (
            until,
            expected.pairs,
            expected.first,
            expected.last,
        )
        assert list(found.slices) == list(expected.slices)
        for slice_name, state in expected.slices.items():
            other = found.slices[slice_name]
            for one, two in ((state.gains, other.gains), (state.alarms, other.alarms)):
                assert {k: w.log_e for k, w in two.items()} == pytest.approx(
                    {k: w.log_e for k, w in one.items()}, abs=1e-9
                )


def test_a_closed_bucket_never_changes_and_what_comes_late_is_in_its_own(store: Store) -> None:
    """A pair that is delivered again counts where it was first; a pair that was unpaired until now counts now."""
    rows = [Row(f"r{n}", n * 0.2 * MINUTE, pair) for n, pair in enumerate(some_pairs(20))]
    store.insert(rows)
    before = store.buckets(scope(5))
    again = [replace(row, at=5.5 * MINUTE, pair=FAILED) for row in rows[:7]]
    unpaired = Row("late", 1.5 * MINUTE, FAILED, outcome="unpaired")
    store.insert([*again, unpaired])
    store.insert([replace(unpaired, at=5.7 * MINUTE, outcome="scored")])
    same(store.buckets(scope(5)), before)
    (new,) = store.buckets(replace(scope(6), since=at(5)))
    assert (new.pairs, new.first) == (1, at(5.7))
    store.client.command("OPTIMIZE TABLE pair_log FINAL")
    same(store.buckets(scope(5)), before)


def test_a_session_is_what_comes_within_its_minutes_and_the_next_one_begins_after_as_long_a_silence(
    store: Store,
) -> None:
    minutes = (0, 1, 2, 3, 5.9, 8.9, 9, 12)  # of one id, in sessions of three minutes
    failed = (0, 3, 9)
    rows = [Row(f"r{m}", m * MINUTE, FAILED if m in failed else Pair(), key="k") for m in minutes]
    rows += [Row(f"n{m}", m * MINUTE, FAILED) for m in (1, 2)]
    store.insert(rows)
    of = scope(20, sessions_by="key", session_minutes=3)
    found = [
        (b.start, b.pairs, b.moments["candidate_error"].n, b.moments["candidate_error"].total)
        for b in store.buckets(of)
    ]
    assert found == [
        (at(1), 1, 1, 1),  # without a session, at once
        (at(2), 1, 1, 1),
        (at(3), 3, 1, pytest.approx(1 / 3)),  # what came at 0, 1 and 2; at 3 and 5.9 it went on
        (at(11), 2, 1, 0.5),  # after three minutes of silence, at 8.9 and 9
        (at(15), 1, 1, 0),
    ]
    same(store.buckets(of), expected_buckets(RULES, of, rows))


def test_what_a_minute_costs_does_not_grow_with_the_stage(store: Store) -> None:
    store.client.command(
        "INSERT INTO pair_log (pair_id, request_id, rollout, epoch, ts, completed_at, stored_at, outcome)"
        " SELECT leftPad(toString(number), 9, '0'), toString(number), 'assistant', '2', t, t, t, 'scored'"
        " FROM (SELECT number, {start:Int64} + number * 60 AS t FROM numbers(100000))",
        parameters={"start": int(START.timestamp() * 1000)},
    )
    last = replace(scope(100), since=at(99))
    query = bucket_query(RULES, last)
    plan = [row["explain"] for row in store.rows(f"EXPLAIN indexes = 1 {query.text}", query.parameters)]
    granules = [
        tuple(map(int, found)) for line in plan for found in re.findall(r"Granules: (\d+)/(\d+)", line)
    ]
    assert max(of for _, of in granules) >= 13
    assert granules[-1][0] <= 2
    (bucket,) = store.buckets(last)
    assert bucket.pairs == 1000


def test_a_million_values_harm_nobody(store: Store) -> None:
    """Those that come first are followed, by bucket and name; the others are counted as one."""
    early = [Row(f"e{n}", MINUTE / 2, attributes={"user": f"z{n:03}"}) for n in range(150)]
    late = [Row(f"l{n}", 1.5 * MINUTE, attributes={"user": f"a{n:03}"}) for n in range(100)]
    again = [Row(f"g{n}", 2.5 * MINUTE, attributes={"user": f"a{n:03}"}) for n in range(40, 60)]
    store.insert([*early, *late, *again])
    of = scope(4, slices=("user",))
    names = {b.slice for b in store.buckets(of)}
    followed = [f"user=z{n:03}" for n in range(150)] + [f"user=a{n:03}" for n in range(50)]
    assert names == {"", UNTRACKED, *followed}
    by_steps = Fold.start(START)
    for minute in (1, 2, 3, 4):
        by_steps = advance(store.rows, RULES, of, by_steps, at(minute))
    at_once = advance(store.rows, RULES, of, Fold.start(START), at(4))
    for found in (by_steps, at_once):
        assert list(found.slices) == ["", *followed]
        assert len(found.slices) == MOST_SLICES + 1
        assert found.untracked == 50 + 10
        assert found.pairs == 270


def test_a_baseline_is_frozen_once_enough_pairs_have_it_and_only_later_ones_are_held_to_it(
    store: Store,
) -> None:
    rules = Rules(parse_criteria({"latency_p95": "<1.2x"}))
    luck = random.Random(5)

    def timed(n: int) -> Row:
        fields = {"stable_latency_ms": luck.uniform(0, 100), "candidate_latency_ms": luck.uniform(0, 200)}
        return Row(f"r{n}", n * MINUTE / 60, fields=fields if n % 3 else {})

    rows = [timed(n) for n in range(500)]  # 60 a minute, of which 40 have a latency
    insert_in_parts(store, [*rows, *(replace(row, at=row.at + 6 * MINUTE) for row in rows[:50])])
    frozen_after = -(-BASELINE_PAIRS // 40)
    sampled = sorted(row.fields["stable_latency_ms"] for row in rows[: frozen_after * 60] if row.fields)
    p95 = sampled[int(0.95 * len(sampled))]
    over = [
        float(row.fields["candidate_latency_ms"] > 1.2 * p95)
        for row in rows[frozen_after * 60 :]
        if row.fields
    ]
    at_once = advance(store.rows, rules, scope(0), Fold.start(START), at(9))
    by_steps = Fold.start(START)
    for minute in range(10):
        by_steps = Fold.load(advance(store.rows, rules, scope(0), by_steps, at(minute)).dump())
        assert bool(by_steps.baselines) == (minute >= frozen_after)
    for found in (at_once, by_steps):
        (baseline,) = found.baselines.values()
        assert baseline.value == pytest.approx(p95)
        assert baseline.counts_from == at(frozen_after)
        (candidate,) = [m.candidate for m in rules.metrics if m.candidate and m.candidate.baseline]
        seen = found.whole(rules).seen[candidate.name].moments
        assert (seen.n, seen.total) == (len(over), sum(over))
    (latency,) = [h.name for h in rules.required if h.observable.baseline]
    assert by_steps.whole(rules).gains[latency].log_e == pytest.approx(
        at_once.whole(rules).gains[latency].log_e, abs=1e-9
    )


def test_no_pairs_are_no_buckets_and_no_first_pair(store: Store) -> None:
    store.insert([Row("r", MINUTE, epoch="1"), Row("s", MINUTE, outcome="abstained")])
    assert store.buckets(scope(5)) == []
    assert stored(store.rows, "assistant", "2") is None
    store.insert([Row("t", 2 * MINUTE), Row("u", 3 * MINUTE)])
    found = stored(store.rows, "assistant", "2")
    assert found is not None
    assert found.first == at(2)
    assert found.now.tzinfo is UTC


def test_a_number_out_of_range_stays_within_and_one_that_is_none_is_skipped(store: Store) -> None:
    store.insert(
        [
            Row("r", timedelta(0), fields={"quality_difference": -7.5, "candidate_quality": 1.5}),
            Row("s", timedelta(0), fields={"quality_difference": "nan", "candidate_quality": "inf"}),
        ]
    )
    (bucket,) = store.buckets(scope(1))
    assert bucket.moments["quality_difference"].n == 1
    assert bucket.moments["quality_difference"].total == -1
    assert bucket.moments["candidate_quality"].total == 1


def test_what_a_user_wrote_travels_as_a_parameter() -> None:
    rules = Rules(parse_criteria({"json.schema": ">0.5"}))
    of = replace(
        scope(5, slices=("'; DROP TABLE a",), sessions_by="'; DROP TABLE b", excluded=("'; DROP TABLE c=d",)),
        rollout="it's",
        epoch="'; DROP TABLE pairs",
    )
    query = bucket_query(rules, of, ["'; DROP TABLE a='; DROP TABLE e"])
    assert "json.schema" not in query.text
    assert "DROP" not in query.text
    assert set(re.findall(r"\{(\w+):", query.text)) == set(query.parameters)


def test_a_bucket_closes_some_seconds_after_its_end() -> None:
    assert closed_until(START + timedelta(seconds=64, milliseconds=999), 60, 5) == START
    assert closed_until(START + timedelta(seconds=65), 60, 5) == at(1)
    assert closed_until(START + timedelta(seconds=65), 10, 5) == at(1)
    assert closed_until(START, 60, 0) == START


def test_rows_without_numbers_are_refused(store: Store) -> None:
    store.insert([Row("r", timedelta(0))])
    query = bucket_query(RULES, scope(1))
    (row,) = store.rows(query.text, query.parameters)
    broken = {name: [float("nan")] * len(x) if name.startswith("logs") else x for name, x in row.items()}
    with pytest.raises(StoreError, match="not numbers"):
        buckets_of_rows(RULES, [broken])
