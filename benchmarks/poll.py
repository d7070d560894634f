"""What a poll of the controller costs: 5,000,000 pairs in the store, 20 slices, 12 metrics; cold and warm.

The pairs are of one stage, a day of minutes, in an embedded store. A poll is the whole of it: lease, state, fold,
verdict, evidence and fold written; nothing is decided. Three kinds, at a tenth of the stage and at all of it, one
minute of new pairs each:

- *warm*: as a controller polls;
- *cold*: a new controller, in a process of its own, which goes on from the kept fold; its peak memory;
- *idle*: warm, with nothing new: what most polls are.

Beside them, in the same run: counting the same minute's pairs in ClickHouse, the least that a poll has to read; and,
for once, the fold of all pairs from nothing, as `Keeper.recompute` does it.

    python -m benchmarks.poll [PAIRS]
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shadowlane.evaluators.gates.fold import evidence_rows
from shadowlane.evaluators.gates.scope import moment
from shadowlane.processors.store import connect, migrate
from shadowlane.rollout.controller import Controller
from shadowlane.rollout.evidence import Keeper, Stage
from shadowlane.rollout.log import Log
from shadowlane.rollout.state import Entry, State
from shadowlane.rollout.store import ClickHouseStore
from shadowlane.schemas.config import ClickHouse, Confirm, Rollout, Settings
from shadowlane.schemas.events import RolloutState
from tests.services import embedded_store  # found where the script is run from

PAIRS = 5_000_000
SLICES = 20
MINUTES = 1440
MINUTE_MS = 60_000
BEGAN = 1_772_323_200_000  # 2026-03-01 00:00 UTC
SCORERS = tuple(f"scorer_{letter}" for letter in "abcdefghij")  # with error rate and quality: 12 metrics
ROUNDS = 5

_PAIRS = """
INSERT INTO pair_log (pair_id, request_id, rollout, epoch, service, route, ts, completed_at, outcome, key, served_arm,
    attributes, stable_model, candidate_model, candidate_error, stable_error, stable_scores, candidate_scores,
    stable_quality, candidate_quality, quality_difference, stored_at)
SELECT
    concat(request_id, ':', {rollout:String}, ':', {epoch:String}), request_id, {rollout:String}, {epoch:String},
    'desk', 'chat', at, at, 'scored', concat('user', toString(rand(2) % 50000)), 'stable',
    map('tenant', concat('t', toString(rand(3) % {slices:UInt32}))), 'a', 'b',
    if(rand(4) % 1000 = 0, 'http', ''), if(rand(6) % 1000 = 0, 'http', ''),
    mapFromArrays({scorers:Array(String)}, arrayMap(s -> 0.9 + (rand(s) % 1000) / 10000, range(10, 20))),
    mapFromArrays({scorers:Array(String)}, arrayMap(s -> 0.9 + (rand(s) % 1000) / 10000, range(20, 30))),
    0.9 + (rand(31) % 1000) / 10000 AS stable, 0.9 + (rand(32) % 1000) / 10000 AS candidate, candidate - stable,
    at
FROM (
    SELECT
        {from:Int64} + intDiv(number * ({until:Int64} - {from:Int64}), {count:UInt64}) AS at,
        concat(leftPad(lower(hex(at)), 12, '0'), leftPad(lower(hex(rand64(5))), 16, '0')) AS request_id
    FROM numbers({count:UInt64})
)
SETTINGS max_insert_block_size = 100000
"""


def run(pairs: int = PAIRS) -> dict[str, Any]:
    """Milliseconds of each kind of poll, by how many pairs there are; prints a table."""
    per_minute = pairs // MINUTES
    results: dict[str, Any] = {
        "pairs": pairs,
        "slices": SLICES,
        "metrics": 2 + len(SCORERS),
        "per_minute": per_minute,
    }
    with tempfile.TemporaryDirectory() as folder, embedded_store(Path(folder)) as address:
        clickhouse = ClickHouse(host=address.host, port=address.port, database="bench")
        client = connect(clickhouse)
        migrate(client, clickhouse.database)
        store = Clocked(clickhouse)
        controller = make(store)
        store.at = BEGAN
        controller.poll()
        print(f"{'':<28}{'warm':>10}{'cold':>10}{'idle':>10}{'count()':>10}{'cold, peak':>13}")
        done = 0
        for part in (0.1, 1.0):
            minutes = round(MINUTES * part) - done
            fill(store, minutes * per_minute, BEGAN + done * MINUTE_MS, minutes)
            done += minutes
            store.at = BEGAN + done * MINUTE_MS
            started = time.perf_counter()
            controller.poll()
            catching_up = time.perf_counter() - started
            warm, idle, count = [], [], []
            for _ in range(ROUNDS):
                fill(store, per_minute, BEGAN + done * MINUTE_MS, 1)
                done += 1
                store.at = BEGAN + done * MINUTE_MS
                warm.append(timed(controller.poll))
                idle.append(timed(controller.poll))
                count.append(timed(lambda: counted(store)))
            cold, memory = [], []
            for _ in range(3):
                fill(store, per_minute, BEGAN + done * MINUTE_MS, 1)
                done += 1
                store.at = BEGAN + done * MINUTE_MS
                answer = colder(clickhouse, store.at)
                cold.append(answer["ms"])
                memory.append(answer["peak_mib"])
                controller = make(store)
            row = {
                "warm_ms": statistics.median(warm),
                "cold_ms": statistics.median(cold),
                "idle_ms": statistics.median(idle),
                "count_ms": statistics.median(count),
                "cold_peak_mib": max(memory),
                "folded_at_once_s": catching_up,
            }
            results[f"{part:.0%}"] = row
            print(
                f"{done * per_minute:>12,} pairs{'':<10}{row['warm_ms']:>7.0f} ms{row['cold_ms']:>7.0f} ms"
                f"{row['idle_ms']:>7.0f} ms{row['count_ms']:>7.0f} ms{row['cold_peak_mib']:>9.0f} MiB"
            )
            controller.poll()
        state = Log(store).head("poll")
        assert state is not None
        assert state.seq == 1, f"something was decided: {Log(store).history('poll')[-1]}"
        results["recomputed_s"], results["apart"] = recompute(store, state)
        assert results["apart"] <= 1e-9, f"what is kept is not what the pairs say: {results['apart']}"
        client.close()
    growth = results["100%"]["warm_ms"] / results["10%"]["warm_ms"]
    results["growth"] = growth
    print(f"a warm poll at all of it / at a tenth of it: {growth:.2f}")
    print(
        f"all evidence from the pairs alone: {results['recomputed_s']:.0f} s; "
        f"it differs from what is kept by at most {results['apart']:.1g} of log E"
    )
    return results


class Clocked(ClickHouseStore):
    """At the time that the benchmark says."""

    at: int = BEGAN

    def __init__(self, clickhouse: ClickHouse) -> None:
        self.clickhouse = clickhouse
        self.client = connect(clickhouse)
        super().__init__(clickhouse, self.client)

    def now(self) -> int:
        return self.at


class Nowhere:
    """Routers and on-call, who are not measured."""

    def publish(self, states: list[RolloutState]) -> None: ...

    def step(self, now: int) -> None: ...


def settings(clickhouse: ClickHouse) -> Settings:
    """Rules that decide nothing, so that the stage goes on: every metric a criterion, none within reach."""
    rollout = Rollout.model_validate(
        {
            "name": "poll",
            "stable": {"model": "a"},
            "candidate": {"model": "b", "base_url": "http://127.0.0.1:1/v1"},
            "scorers": [{"name": name} for name in SCORERS],
            "success_criteria": {"error_rate": "<0.1%", "quality_score": ">0.99"}
            | dict.fromkeys(SCORERS, ">0.99"),
            "auto_rollback": {"trigger": "error_rate > 2% OR quality_score < 0.80"},
            "slices": ["tenant"],
            "stages": [{"name": "shadow", "duration_hours": 1, "max_hours": 1000}],
        }
    )
    controller = {"close_after_s": 0, "lease_s": 1e-6}
    return Settings.model_validate(
        {"clickhouse": clickhouse, "rollouts": [rollout], "controller": controller}
    )


def make(store: Clocked) -> Controller:
    """A controller that knows nothing yet."""

    def gate(gate: Confirm, entry: Entry, stage: str) -> tuple[bool, str]:
        return False, ""

    return Controller(settings(store.clickhouse), store, Nowhere(), Nowhere(), gate, "benchmark")


def fill(store: Clocked, count: int, begin: int, minutes: int) -> None:
    """``count`` pairs, stored evenly over so many minutes."""
    rollout = settings(store.clickhouse).rollouts[0]
    parameters = {
        "rollout": rollout.name,
        "epoch": rollout.epoch,
        "from": begin,
        "until": begin + minutes * MINUTE_MS,
        "count": count,
        "slices": SLICES,
        "scorers": list(SCORERS),
    }
    store.client.command(_PAIRS, parameters=parameters)


def counted(store: Clocked) -> int:
    """The pairs of the last minute."""
    query = "SELECT count() AS n FROM pair_log WHERE stored_at >= {since:Int64} AND stored_at < {until:Int64}"
    return int(store.rows(query, {"since": store.at - MINUTE_MS, "until": store.at})[0]["n"])


def timed(what: Any) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    what()
    return (time.perf_counter() - started) * 1000


def colder(clickhouse: ClickHouse, at: int) -> dict[str, float]:
    """One poll of a new process, and its peak memory."""
    code = (
        "import sys; from benchmarks import poll; poll.cold(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
    )
    arguments = [clickhouse.host, str(clickhouse.port), str(at)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True, cwd=root)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def cold(host: str, port: int, at: int) -> None:
    """In the new process: prints what its first poll took."""
    store = Clocked(ClickHouse(host=host, port=port, database="bench"))
    store.at = at
    controller = make(store)
    ms = timed(controller.poll)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": ms, "peak_mib": peak}))


def recompute(store: Clocked, state: State) -> tuple[float, float]:
    """Seconds to fold all pairs again, and by how much of log E that differs from what is kept, at most."""
    configured = settings(store.clickhouse)
    stage = Stage.of(configured.rollouts[0], state, configured.controller)
    keeper = Keeper(store, configured.controller)
    kept = keeper.advance(stage, moment(store.at))
    started = time.perf_counter()
    again = keeper.recompute(stage, moment(store.at))
    seconds = time.perf_counter() - started
    assert (kept.pairs, kept.latch) == (again.pairs, again.latch)
    both = zip(evidence_rows(stage.rules, kept), evidence_rows(stage.rules, again), strict=True)
    return seconds, max(abs(one.log_e - other.log_e) for one, other in both)


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS)
