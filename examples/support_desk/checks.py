"""What the demo claims, and whether it is so: each claim against what the customers, the store and the pager have."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from examples.support_desk.models import MODELS, OPENINGS
from examples.support_desk.traffic import Desk
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.fingerprint import fingerprint

# Rollout -> the phase it ends in, the stage that brought it there, and who is the stable version then.
WANTED = {
    "desk-2": ("completed", "full", "desk-2"),
    "desk-2-mini": ("rolled_back", "shadow", "desk-1"),
}
PAIRS = """
SELECT stage, served_arm, attributes['language'] AS language, request, stable_model, candidate_model,
    stable_fingerprint, candidate_fingerprint, stable_error, candidate_error, stable_output, candidate_output
FROM shadowlane.pairs WHERE rollout = '{rollout}'
"""
SIGMAS = 3  # how far the customers who are moved may be from the stage's share: they are drawn by hash


@dataclass(frozen=True)
class Claim:
    """What is said to be so, and what of it is not."""

    says: str
    faults: tuple[str, ...] = ()


def outcome(rollout: str, state: Mapping[str, Any], report: Mapping[str, Any], sent: int) -> Claim:
    """It ended as it should, and each of the ``sent`` requests is in one row of the ledger."""
    phase, stage, in_charge = WANTED[rollout]
    ledger = report["ledger"]
    faults = []
    if (state["phase"], state["stage"]) != (phase, stage):
        faults.append(f"is {state['phase']} in stage {state['stage']}, and should be {phase} in {stage}")
    if state["in_charge"] != in_charge:
        faults.append(f"{state['in_charge']} is in charge, and {in_charge} should be")
    if state["traffic_pct"] != (100 if phase == "completed" else 0):
        faults.append(f"routers send it {state['traffic_pct']:g}% of the traffic")
    if not ledger["adds_up"]:
        faults.append(f"the ledger does not add up: {ledger}")
    if ledger["in_flight"]:
        faults.append(f"{ledger['in_flight']} requests are still on their way: {ledger}")
    if ledger["eligible"] != sent:
        faults.append(f"the ledger knows of {ledger['eligible']} requests; {sent} were sent")
    ended = f"{phase.replace('_', ' ')} in stage {stage}"
    said = f"{ended}; {in_charge} is in charge; the ledger of {sent:,} requests adds up"
    return _claim(rollout, said, faults)


def shares(rollout: Rollout, desk: Desk, pairs: Sequence[Mapping[str, Any]]) -> Claim:
    """In each stage the candidate gave customers the stage's share of their answers, and the store says the same."""
    candidate = rollout.candidate.model
    faults, said = [], []
    for stage in rollout.stages:
        by_model = desk.by_model(stage.name)
        if not by_model:
            continue
        share, due = by_model[candidate] / by_model.total(), stage.traffic_pct / 100
        said.append(f"{share:.1%} in {stage.name}")
        customers = len({who for name, who, _ in desk.answers if name == stage.name})
        if abs(share - due) > SIGMAS * sqrt(due * (1 - due) / customers):
            faults.append(f"{said[-1]} of the answers were its own: {stage.traffic_pct:g}% should be")
    kept = Counter((pair["stage"], pair[f"{pair['served_arm']}_model"]) for pair in pairs)
    got: Counter[tuple[str, str]] = Counter()
    for (in_stage, _, model), count in desk.answers.items():
        got[in_stage, model] += count
    if kept != got:
        faults.append(f"customers got {dict(got)}, and the store has {dict(kept)}")
    return _claim(rollout.name, f"its share of the answers was {', '.join(said)}", faults)


def sticky(rollout: Rollout, desk: Desk) -> Claim:
    """Each customer was answered by one version within a stage, and once by the candidate, from then on."""
    faults = []
    moved: set[str] = set()
    for stage in rollout.stages:
        stable_got, candidate_got = _customers(desk, stage.name, rollout.candidate.model)
        if both := stable_got & candidate_got:
            faults.append(f"in {stage.name} {len(both)} customers were answered by both versions")
        if back := (moved & stable_got) - both:
            faults.append(f"in {stage.name} {len(back)} customers were moved back to {rollout.stable.model}")
        moved |= candidate_got
    said = (
        f"{len(moved)} customers were moved, each once" if moved else "no customer ever had an answer of it"
    )
    return _claim(rollout.name, said, faults)


def _customers(desk: Desk, stage: str, candidate: str) -> tuple[set[str], set[str]]:
    """Who was answered by the stable version in a stage, and who by the candidate."""
    of_stage = [(who, model == candidate) for (name, who, model) in desk.answers if name == stage]
    return {who for who, moved in of_stage if not moved}, {who for who, moved in of_stage if moved}


def arms(rollout: Rollout, pairs: Sequence[Mapping[str, Any]]) -> Claim:
    """In each pair both arms were who they should be: by name, by what they were asked, by how they speak."""
    models = {"stable": rollout.stable.model, "candidate": rollout.candidate.model}
    faults: Counter[str] = Counter()
    for pair in pairs:
        asked = json.loads(pair["request"])
        for arm, model in models.items():
            if pair[f"{arm}_model"] != model:
                faults[f"the {arm} was {pair[f'{arm}_model']}"] += 1
            if pair[f"{arm}_fingerprint"] != fingerprint(asked | {"model": model}):
                faults[f"the {arm}'s fingerprint is not that of {model} and these parameters"] += 1
            if not pair[f"{arm}_error"] and not _speaks(model, pair["language"], pair[f"{arm}_output"]):
                faults[f"the {arm}'s answer is none that {model} gives"] += 1
    said = f"in each of {len(pairs):,} pairs both arms were who their fingerprints say, and answered so"
    return _claim(rollout.name, said, [f"in {count} pairs {fault}" for fault, count in faults.items()])


def _speaks(model: str, language: str, output: str) -> bool:
    """Each of the three models opens its replies with words of its own."""
    return bool(json.loads(output)["reply"].startswith(OPENINGS[language][MODELS[model].voice]))


def paged(pages: Sequence[Mapping[str, Any]]) -> Claim:
    """On-call was told once, and of the one that was rolled back. The pager takes nothing without a signature."""
    told = [(page["type"], page["data"]["rollout"], page["data"]["cause"]) for page in pages]
    faults = []
    if told != [("shadowlane.rollout.triggered", "desk-2-mini", "regression")]:
        faults.append(f"was told of {told}, and should be told of the regression of desk-2-mini alone")
    return _claim("on-call", "one page, of desk-2-mini; its signature is right", faults)


def _claim(who: str, says: str, faults: list[str]) -> Claim:
    return Claim(f"{who}: {says}", tuple(f"{who}: {fault}" for fault in faults))
