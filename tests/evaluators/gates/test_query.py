"""The query, run by ClickHouse's own engine, gives the sums that Python computes from the same pairs."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pytest

from shadowlane.errors import StoreError
from shadowlane.evaluators.gates.expressions import parse_criteria, parse_trigger
from shadowlane.evaluators.gates.query import bucket_query, buckets_of_rows, close_of_buckets
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.verdict import decide
from tests.evaluators.gates.building import FAILED, START, Pair, buckets

RULES = Rules(
    parse_criteria({"error_rate": "<0.5%", "quality_score": ">0.90", "json_valid": ">95%"}),
    parse_trigger("error_rate > 2% OR quality_score < 0.80 AND json.schema < 0.5"),
)
END = START + timedelta(minutes=5)

# One process may hold one chDB; other tests in this one may need it.
ENGINE = """
import sys, chdb, orjson
given = orjson.loads(sys.stdin.buffer.read())
store = chdb.connect(":memory:")
store.query(
    "CREATE TABLE pairs (rollout String, epoch String, completed_at DateTime64(3),"
    " stable_error String, candidate_error String, stable_quality Nullable(Float64),"
    " candidate_quality Nullable(Float64), quality_difference Nullable(Float64),"
    " stable_scores Map(String, Float64), candidate_scores Map(String, Float64)) ENGINE = Memory"
)
store.query("SET session_timezone = 'America/St_Johns'")
store.query("SET input_format_json_read_numbers_as_strings = 1, date_time_input_format = 'best_effort'")
store.query("INSERT INTO pairs FORMAT JSONEachRow " + given["rows"])
sys.stdout.write(str(store.query(given["text"], "JSONEachRow", params=given["parameters"])))
"""


def run(rows: list[dict[str, Any]], rules: Rules = RULES) -> list[dict[str, Any]]:
    query = bucket_query(rules, "assistant", "2", END)
    given = {
        "rows": b"\n".join(map(orjson.dumps, rows)).decode(),
        "text": query.text,
        "parameters": query.parameters,
    }
    done = subprocess.run(
        [sys.executable, "-c", ENGINE], input=orjson.dumps(given), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def row(pair: Pair, completed_at: datetime, **other: Any) -> dict[str, Any]:
    return {
        "rollout": "assistant",
        "epoch": "2",
        "completed_at": completed_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "stable_error": pair.stable_error,
        "candidate_error": pair.candidate_error,
        "stable_quality": pair.stable_quality,
        "candidate_quality": pair.candidate_quality,
        "quality_difference": pair.quality_difference,
        "stable_scores": pair.stable_scores,
        "candidate_scores": pair.candidate_scores,
    } | other


def some_pairs(n: int) -> list[Pair]:
    """All that a pair can be: failed on either side, scored by some scorers, without a grade."""
    rng = np.random.default_rng(11)
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


def test_clickhouse_and_python_agree_to_a_billionth() -> None:
    minutes = [some_pairs(60), some_pairs(41)[20:], [Pair(None, None)]]
    rows = [
        row(pair, START + timedelta(minutes=minute, milliseconds=999 * i))
        for minute, pairs in enumerate(minutes)
        for i, pair in enumerate(pairs)
    ]
    rows += [row(FAILED, START, epoch="1"), row(FAILED, START, rollout="other"), row(FAILED, END)]
    found, expected = buckets_of_rows(RULES, run(rows)), buckets(RULES, minutes)
    assert [b.start for b in found] == [b.start for b in expected]
    for ours, theirs, pairs in zip(expected, found, minutes, strict=True):
        assert theirs.pairs == len(pairs)
        assert theirs.first == ours.start
        assert theirs.last == ours.start + timedelta(milliseconds=999 * (len(pairs) - 1))
        for name, sums in ours.moments.items():
            assert theirs.moments[name].n == sums.n, name
            assert theirs.moments[name].total == pytest.approx(sums.total, abs=1e-9)
            assert theirs.moments[name].squares == pytest.approx(sums.squares, abs=1e-9)
        for name, logs in ours.log_sums.items():
            assert theirs.log_sums[name] == pytest.approx(logs, abs=1e-9), name
    ours_, theirs_ = (decide(RULES, b, started=START, now=END) for b in (expected, found))
    assert [e.log_e for e in theirs_.promote] == pytest.approx([e.log_e for e in ours_.promote], abs=1e-9)
    assert [e.log_e for e in theirs_.alarms] == pytest.approx([e.log_e for e in ours_.alarms], abs=1e-9)


def test_no_pairs_are_no_buckets() -> None:
    assert buckets_of_rows(RULES, run([row(FAILED, START, epoch="1")])) == []


def test_a_number_out_of_range_stays_within_and_one_that_is_none_is_skipped() -> None:
    rows = [
        row(Pair(), START, quality_difference=-7.5, candidate_quality=1.5),
        row(Pair(), START, quality_difference="nan", candidate_quality="inf"),
    ]
    (bucket,) = buckets_of_rows(RULES, run(rows))
    assert bucket.moments["quality_difference"].n == 1
    assert bucket.moments["quality_difference"].total == -1
    assert bucket.moments["candidate_quality"].total == 1


def test_a_scorers_name_travels_as_a_parameter() -> None:
    rules = Rules(parse_criteria({"json.schema": ">0.5"}))
    query = bucket_query(rules, "it's", "'; DROP TABLE pairs", END)
    assert "json.schema" not in query.text
    assert "DROP" not in query.text
    named = set(re.findall(r"\{(\w+):", query.text))
    assert named == set(query.parameters)
    assert query.parameters["closed_before"] == "2026-03-02 09:05:00"


def test_a_time_zone_is_brought_to_utc() -> None:
    elsewhere = END.astimezone(tz=None).astimezone(UTC)
    assert bucket_query(RULES, "r", "1", elsewhere).parameters["closed_before"] == "2026-03-02 09:05:00"


def test_a_minute_closes_once_the_watermark_has_passed_it() -> None:
    assert close_of_buckets(START + timedelta(seconds=59, microseconds=1)) == START
    assert close_of_buckets(END) == END


def test_rows_out_of_order_or_without_numbers_are_refused() -> None:
    rows = run([row(Pair(), START), row(Pair(), START + timedelta(minutes=1))])
    with pytest.raises(StoreError, match="came after"):
        buckets_of_rows(RULES, rows[::-1])
    with pytest.raises(StoreError, match="came after"):
        buckets_of_rows(RULES, [rows[0], rows[0]])
    broken = {name: [float("nan")] * len(x) if name.startswith("logs") else x for name, x in rows[0].items()}
    with pytest.raises(StoreError, match="not numbers"):
        buckets_of_rows(RULES, [broken])
