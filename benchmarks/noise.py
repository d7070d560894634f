"""What the noise baseline says of real answers: of a candidate that is the stable version, and of others.

The stable version is a service behind which one of three models answers, drawn anew for each call, so that it differs
from itself. Requests are drawn with replacement from the recorded ones; of each, what was served, the second answer and
the candidate's are drawn independently. Each line is how often each reading came over so many runs, and the first run.

    SHADOWLANE_RECORDED_MODELS=… python -m benchmarks.noise
"""

import gzip
import json
import os
import random
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

from shadowlane.evaluators.noise import AgainstNoise, Reading, against_noise
from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.schemas.config import Candidate, Rollout
from shadowlane.schemas.events import Response

STABLE = ("gpt4_1106_preview", "gpt-4-turbo-2024-04-09", "gpt-4o-2024-05-13")
REGRESSED = "gpt-3.5-turbo-1106"
OTHERS = (REGRESSED, "claude", "claude-2", "vicuna-13b-v1.5", "falcon-7b-instruct")
METRICS = ("fuzzy", "length_ratio", "quality_score")
SIZES = (200, 1000, 5000)
RUNS = 50

Draw = Callable[[random.Random], str]
"""Which model answers a call."""
Scores = dict[tuple[str, str, str], dict[str, float]]
"""(request, model that served, model that answered beside it) to metric to number."""


def scores(folder: Path) -> Scores:
    """Of every recorded answer beside each of the stable version's."""

    def rows(path: str) -> list[dict[str, str]]:
        with gzip.open(folder / path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    names = (*STABLE, *OTHERS)
    answers = {name: {r["id"]: r["output"] for r in rows(f"models/{name}.jsonl.gz")} for name in names}
    rollout = Rollout(name="noise", candidate=Candidate(base_url="http://127.0.0.1:1"))
    scorers, found = ScorerSet.from_rollout(rollout, {}), {}
    for row in rows("prompts.jsonl.gz"):
        given = {name: _response(of[row["id"]]) for name, of in answers.items() if row["id"] in of}
        if len(given) < len(names):
            continue
        body = {"messages": [{"role": "user", "content": row["prompt"]}]}
        for served, beside in product(STABLE, names):
            scored = scorers.score(body, given[served], given[beside])
            assert scored.candidate_quality is not None
            found[row["id"], served, beside] = scored.candidate | {"quality_score": scored.candidate_quality}
    return found


def _response(output: str) -> Response:
    return Response(
        request_id="r", ts=1, completed_at=1, service="s", route="/", role="served", output=output, status=200
    )


def stable(rng: random.Random) -> str:
    return rng.choice(STABLE)


def mixed(model: str, share: float) -> Draw:
    """The stable version, but for a share of another model's answers."""
    return lambda rng: model if rng.random() < share else stable(rng)


def run(
    known: Scores, requests: list[str], metric: str, candidate: Draw, size: int, seed: int
) -> AgainstNoise:
    rng = random.Random(seed)
    ours = theirs = squares = 0.0
    for _ in range(size):
        request, served = rng.choice(requests), stable(rng)
        c = known[request, served, candidate(rng)][metric]
        n = known[request, served, stable(rng)][metric]
        ours, theirs, squares = ours + c, theirs + n, squares + (c - n) ** 2
    found = against_noise("score", size, ours, theirs, squares, 0.02)
    assert found is not None
    return found


def main() -> None:
    if "SHADOWLANE_RECORDED_MODELS" not in os.environ:
        sys.exit("SHADOWLANE_RECORDED_MODELS names the folder that has prompts.jsonl.gz and models")
    known = scores(Path(os.environ["SHADOWLANE_RECORDED_MODELS"]))
    requests = sorted({request for request, _, _ in known})
    candidates: dict[str, Draw] = {"the same": stable}
    candidates |= {f"{share:.0%} {REGRESSED}": mixed(REGRESSED, share) for share in (0.05, 0.2, 0.5)}
    candidates |= {name: mixed(name, 1.0) for name in OTHERS}
    print(f"{len(requests)} requests, {RUNS} runs of each")
    print(
        "| metric | candidate | requests | candidate's | stable's own | difference | 95% interval | "
        + " | ".join(Reading)
        + " |"
    )
    for metric, (name, draw), size in product(METRICS, candidates.items(), SIZES):
        runs = [run(known, requests, metric, draw, size, seed) for seed in range(RUNS)]
        first = runs[0]
        assert first.interval is not None
        low, high = first.interval
        counts = " | ".join(str(sum(one.reading is reading for one in runs)) for reading in Reading)
        print(
            f"| {metric} | {name} | {size:,} | {first.candidate:.3f} | {first.again:.3f} | {first.difference:+.3f} "
            f"| {low:+.3f} … {high:+.3f} | {counts} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
