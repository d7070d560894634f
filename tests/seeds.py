"""A day of traffic with a regression in it, as records: for tests of what the store says of them.

A request every 30 seconds of 24 hours. From the thirteenth hour on the candidate answers worse to German
requests of the tenant globex; all day its JSON is valid less often on /summary; it fails at times.
"""

import dataclasses
import random
import zlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

from shadowlane.schemas.codec import dead_letter
from shadowlane.schemas.events import DeadLetter, LedgerCell, Pair, noise_id, pair_id

ROLLOUT, EPOCH, SERVICE = "support", "0123456789ab", "desk"
REQUESTS = 24 * 120
ROUTES = ("/reply", "/summary")
TENANTS = ("acme", "globex", "initech")
FAILURES = ("timeout", "http", "bad_response")
MINUTE_MS = 60_000


@dataclass(slots=True)
class Day:
    """Records, and what became of each request: ``rows`` counts requests by ledger row and reason."""

    start: datetime
    pairs: list[Pair] = field(default_factory=list)
    cells: list[LedgerCell] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def noise(self) -> list[Pair]:
        """Every 20th of what was scored, asked again: the second answer is as good as the candidate's."""
        return [
            dataclasses.replace(pair, pair_id=noise_id(pair.request_id, pair.rollout, pair.epoch))
            for pair in self.scored[::20]
        ]

    @property
    def scored(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.outcome == "scored"]


def day(start: datetime) -> Day:
    """The day that begins at ``start``, always the same."""
    made = Day(start)
    first = int(start.timestamp() * 1000)
    cells: Counter[tuple[int, str, str, str]] = Counter()
    for number in range(REQUESTS):
        ts = first + number * 30_000
        request_id = f"{ts:013x}-{number:05}"
        route = ROUTES[number % 2]
        fate = zlib.crc32(request_id.encode()) % 200
        cells[_minute(ts), route, "eligible", ""] += 1
        if fate < 20:
            cells[_minute(ts), route, "sampled_out", ""] += 1
            made.rows["sampled_out", ""] += 1
            continue
        if fate < 24:
            cells[_minute(ts), route, "dropped", "full"] += 1
            made.rows["dropped", "full"] += 1
            continue
        cells[_minute(ts), route, "mirrored", ""] += 1
        if fate < 26:  # nothing but a dead letter is left of it
            made.letters.append(_letter(number, ts, request_id))
            made.rows["dead_lettered", "worker"] += 1
        elif fate < 28:  # the served half waited in vain, since the request is a dead letter
            made.letters.append(_letter(number, ts, request_id))
            made.pairs.append(_unpaired(number, ts, request_id, route))
            made.rows["dead_lettered", "worker"] += 1
        elif fate < 32:
            made.pairs.append(_unpaired(number, ts, request_id, route))
            made.rows["unpaired", "no_shadow"] += 1
        elif fate < 36:
            made.pairs.append(_abstained(number, ts, request_id, route))
            made.rows["abstained", "throttled"] += 1
        else:
            if fate < 40:  # late: it went out as unpaired first
                made.pairs.append(_unpaired(number, ts, request_id, route))
            made.pairs.append(_scored(number, ts, request_id, route))
            made.rows["scored", ""] += 1
    made.letters.append(_letter(-1, first, ""))
    for (minute, route, row, reason), count in cells.items():
        for so_far in {count // 2, count} - {0}:  # a mirror sends its total so far, again and again
            made.cells.append(
                LedgerCell(
                    instance="desk-1",
                    minute=minute,
                    service=SERVICE,
                    route=route,
                    row=row,
                    reason=reason,
                    count=so_far,
                )
            )
    return made


def twice_in_any_order(records: list[bytes], seed: int) -> list[bytes]:
    """Every record at least twice, shuffled."""
    again = [*records, *records]
    random.Random(seed).shuffle(again)
    return again


def yesterday(now: datetime) -> datetime:
    """The start of a day that ends within the present hour."""
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=24)


def is_worse(pair: Pair, start: datetime) -> bool:
    """Whether the pair is one of the regression's."""
    late = pair.ts >= (start + timedelta(hours=12)).timestamp() * 1000
    return late and pair.attributes["tenant"] == "globex" and pair.attributes["language"] == "de"


def _minute(ts: int) -> int:
    return ts - ts % MINUTE_MS


def _half(number: int, ts: int, request_id: str, route: str, outcome: str, reason: str) -> Pair:
    return Pair(
        pair_id=pair_id(request_id, ROLLOUT, EPOCH),
        request_id=request_id,
        rollout=ROLLOUT,
        epoch=EPOCH,
        stage="shadow",
        service=SERVICE,
        route=route,
        ts=ts,
        completed_at=ts + 900,
        outcome=outcome,
        reason=reason,
        attributes={
            "tenant": TENANTS[number // 2 % 3],
            "language": ("en", "de")[number // 6 % 2],
            "prompt_id": f"p{number // 2 % 5}",
        },
        request={"messages": [{"role": "user", "content": f"Ticket {number // 2 % 50}: where is my order?"}]},
        stable_model="model-1",
        stable_output=f'{{"answer": "On its way, {number}"}}',
        stable_finish_reason="stop",
        stable_status=200,
        stable_latency_ms=400.0 + number % 100,
        stable_input_tokens=40,
        stable_output_tokens=20,
    )


def _unpaired(number: int, ts: int, request_id: str, route: str) -> Pair:
    return _half(number, ts, request_id, route, "unpaired", "no_shadow")


def _abstained(number: int, ts: int, request_id: str, route: str) -> Pair:
    pair = _half(number, ts, request_id, route, "abstained", "throttled")
    pair.candidate_model, pair.candidate_error, pair.candidate_status = "model-2", "throttled", 429
    return pair


def _scored(number: int, ts: int, request_id: str, route: str) -> Pair:
    pair = _half(number, ts, request_id, route, "scored", "")
    chance = zlib.crc32(b"%d" % number) % 1000
    pair.completed_at = ts + 1200
    pair.candidate_model, pair.candidate_attempts = "model-2", 1
    pair.candidate_latency_ms = 500.0 + number % 100
    pair.stable_scores = {"json_valid": 1.0, "cost": 0.002}
    pair.stable_quality = 0.9
    if chance < 15:
        pair.candidate_error = FAILURES[chance % 3]
        pair.candidate_error_message = "no answer"
        pair.candidate_status = 500 if pair.candidate_error == "http" else 0
        pair.candidate_quality = 0.0
    else:
        day_start = ts - number * 30_000
        worse = is_worse(pair, datetime.fromtimestamp(day_start / 1000).astimezone())
        broken = route == "/summary" and chance >= 850
        pair.candidate_output = pair.stable_output[: -8 if broken else None] + ("." * (40 if worse else 0))
        pair.candidate_finish_reason, pair.candidate_status = "stop", 200
        pair.candidate_input_tokens, pair.candidate_output_tokens = 40, 30 if worse else 22
        pair.candidate_scores = {"json_valid": 0.0 if broken else 1.0, "fuzzy": 0.4 if worse else 0.9}
        pair.candidate_scores["cost"] = 0.001
        pair.candidate_quality = 0.5 if worse else 0.88
    pair.quality_difference = pair.candidate_quality - pair.stable_quality
    return pair


def _letter(number: int, ts: int, request_id: str) -> DeadLetter:
    line = orjson.dumps({"request_id": request_id, "ts": "no number"} if request_id else ["no record"])
    return dead_letter(
        line,
        "MirroredRequest.ts can't be a string",
        component="worker",
        topic="shadowlane.requests",
        partition=0,
        offset=number + 1,
        number=0,
        ts=ts + 50,
    )
