"""What must be true of a staged upgrade whatever its verdict: read from the store, and held against what is known."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import orjson

from benchmarks.judged.recorded_win import Recorded, asked
from benchmarks.judged.service import Place
from shadowlane.rollout.routing import candidate_serves
from shadowlane.schemas.fingerprint import fingerprint

_PAIRS = """
SELECT stage, key, served_arm, attributes['slice'] AS slice, request,
    stable_model, stable_fingerprint, stable_output, stable_error,
    candidate_model, candidate_fingerprint, candidate_output, candidate_error
FROM pairs WHERE rollout = {rollout:String}
"""
# How many pairs of all traffic the evidence of each stage rests on, and how many were stored in its time. What is in a
# slice that was taken out is no evidence from then on.
_FOLDED = """
SELECT e.stage AS stage, e.folded AS folded,
    countIf(
        e.since < {excluded_since:Int64} OR NOT has({excluded:Array(String)}, concat('slice=', p.slice))
    ) AS stored
FROM (
    SELECT stage, since, max(until) AS end, argMax(pairs, until) AS folded
    FROM evidence_log FINAL WHERE rollout = {rollout:String} AND slice = '' GROUP BY stage, since
) AS e
CROSS JOIN (
    SELECT stored_at, attributes['slice'] AS slice FROM pair_log FINAL
    WHERE rollout = {rollout:String} AND outcome = 'scored'
) AS p
WHERE p.stored_at >= e.since AND p.stored_at < e.end
GROUP BY stage, e.since, folded
ORDER BY e.since
"""


class Reader(Protocol):
    """Where the pairs and the evidence are."""

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]: ...


def untrue(
    store: Reader,
    rollout: str,
    *,
    history: list[dict[str, Any]],
    router: Mapping[str, Any],
    served: Counter[Place],
    afterwards: Counter[Place],
    recordings: Mapping[str, Mapping[str, Recorded]],
    ids: Mapping[str, str],
    faulty: bool,
) -> list[str]:
    """What is not as it must be, a line each.

    Args:
        history: the rollout's log, oldest first.
        router: its last word.
        served: all requests by place; ``afterwards`` those after the end.
        recordings: by arm, its answers by prompt id; ``ids`` by the prompt's text.
        faulty: the candidate's server makes other answers than the recorded ones.
    """
    pairs = store.rows(_PAIRS, {"rollout": rollout})
    last = history[-1]["state"]
    return [
        *_routed_as_decided(last, router, afterwards),
        *_each_arm_is_itself(pairs, last, recordings, ids, faulty),
        *_as_served(pairs, served),
        *_sticky(rollout, pairs, history),
        *_all_folded(store, rollout, history),
    ]


def _routed_as_decided(
    last: Mapping[str, Any], router: Mapping[str, Any], afterwards: Counter[Place]
) -> Iterator[str]:
    for name in ("epoch", "seq", "phase", "stage", "traffic_pct"):
        if router[name] != last[name]:
            yield f"the router ended at {name} {router[name]}, the log at {last[name]}"
    if last["traffic_pct"] not in (0, 100):
        return
    arm = "candidate" if last["traffic_pct"] else "stable"
    for place, count in afterwards.items():
        excluded = f"slice={place.slice}" in last["excluded"]
        if place.arm != ("stable" if excluded else arm):
            yield f"after the end {count} requests of slice {place.slice} were served by the {place.arm} version"


def _each_arm_is_itself(
    pairs: list[dict[str, Any]],
    last: Mapping[str, Any],
    recordings: Mapping[str, Mapping[str, Recorded]],
    ids: Mapping[str, str],
    faulty: bool,
) -> Iterator[str]:
    wrong: Counter[str] = Counter()
    for pair in pairs:
        prompt = ids[asked(orjson.loads(pair["request"]))]
        for arm in ("stable", "candidate"):
            model = last[arm]["model"]
            wrong[f"have another {arm} model than {model}"] += pair[f"{arm}_model"] != model
            same = pair[f"{arm}_fingerprint"] == fingerprint({"model": model})
            wrong[f"contradict the fingerprint of the {arm} version"] += not same
            if not faulty or arm == "stable":
                recorded = recordings[arm][prompt].output
                wrong[f"have another {arm} answer than {model} gave"] += pair[f"{arm}_output"] != recorded
                wrong[f"have an error of the {arm} version"] += pair[f"{arm}_error"] != ""
    for what, count in wrong.items():
        if count:
            yield f"{count:,} of {len(pairs):,} pairs {what}"


def _as_served(pairs: list[dict[str, Any]], served: Counter[Place]) -> Iterator[str]:
    stored = Counter(Place(pair["stage"], pair["served_arm"], pair["slice"]) for pair in pairs)
    for place in sorted({*stored, *served}, key=str):
        if stored[place] != served[place]:
            yield f"{served[place]:,} requests were served at {place}, and {stored[place]:,} pairs say so"


def _sticky(rollout: str, pairs: list[dict[str, Any]], history: list[dict[str, Any]]) -> Iterator[str]:
    shares: dict[str, set[float]] = {}
    for entry in history:
        shares.setdefault(entry["state"]["stage"], set()).add(entry["state"]["traffic_pct"])
    excluded = set(history[-1]["state"]["excluded"])
    wrong = 0
    for pair in pairs:
        arms = {
            "candidate" if candidate_serves(rollout, pair["key"], share) else "stable"
            for share in shares.get(pair["stage"], ())
        }
        if f"slice={pair['slice']}" in excluded:
            arms.add("stable")
        wrong += pair["served_arm"] not in arms
    if wrong:
        yield f"{wrong:,} of {len(pairs):,} pairs were served by another version than their user's place says"


def _all_folded(store: Reader, rollout: str, history: list[dict[str, Any]]) -> Iterator[str]:
    excluded = history[-1]["state"]["excluded"]
    since = next((e["state"]["since"] for e in history if e["state"]["excluded"] == excluded), 0)
    parameters = {"rollout": rollout, "excluded": excluded, "excluded_since": since if excluded else 0}
    folds = store.rows(_FOLDED, parameters)
    if not folds:
        yield "no pair is evidence of any stage"
    for row in folds:
        if row["folded"] != row["stored"]:
            folded, stored = f"{row['folded']:,} pairs are evidence", f"{row['stored']:,} were stored then"
            yield f"{folded} of stage {row['stage']}, and {stored}"
