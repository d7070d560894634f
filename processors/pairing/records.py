"""What is read and what is written: lines to responses, matches to pairs. Pure."""

import dataclasses
from typing import Any, Protocol

import orjson

from shadowlane.errors import CodecError
from shadowlane.processors.arms import check_arm, served_arm
from shadowlane.processors.pairing.join import Match
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.events import ABSTAINING, Arm, Outcome, Pair, Response, Role, copied

KEPT_TEXT = 64 * 1024
"""Characters of each output that are kept where a pair is too large for Kafka."""

KEPT_NAME = 1024
"""Characters of every other text that are kept there, and of all attributes together."""

# By names of their own: an Enum's attributes take Python five times as long, and each pair asks for a dozen.
STABLE, CANDIDATE = Arm
SHADOW, BASELINE = Role.SHADOW, Role.BASELINE.value
SCORED, ABSTAINED, UNPAIRED = Outcome

_BLANK = Pair(
    pair_id="",
    request_id="",
    rollout="",
    epoch="",
    stage="",
    service="",
    route="",
    ts=0,
    completed_at=0,
    outcome="",
)
"""What pairs are copied from; all that is not the same in each of them is set."""


class Scored(Protocol):
    """What the scorers say of one pair; what abstained is left out."""

    @property
    def stable(self) -> dict[str, float]: ...
    @property
    def candidate(self) -> dict[str, float]: ...
    @property
    def stable_quality(self) -> float | None: ...
    @property
    def candidate_quality(self) -> float | None: ...
    @property
    def quality_difference(self) -> float | None: ...
    @property
    def failed(self) -> dict[str, str]:
        """Scorer to what it raised."""
        ...


class Scorers(Protocol):
    """A rollout's scorers. Never raises; blocks for seconds at most, as it runs in the pairing loop."""

    def score(self, request_body: Any, stable: Response, candidate: Response) -> Scored: ...


def read(side: Role, line: bytes) -> Response:
    """The response in one line of the topic of a side.

    Raises:
        CodecError: it can't be read, is of the other side (a baseline is on the shadow's), names an arm that is none,
            or could not be written again.
    """
    response = decode(Response, line)
    if response.role != side and (side is not SHADOW or response.role != BASELINE):
        raise CodecError(f"Response.role is {response.role[:50]!r} on the topic of {side} responses")
    check_arm(response)
    # orjson reads JSON nested 1,024 deep and writes 254: what can't go on is refused while it is whole.
    # Only these two hold anything nested.
    if response.request is not None or response.tool_calls is not None:
        try:
            orjson.dumps((response.request, response.tool_calls))
        except TypeError:
            encode(response)  # says what is wrong
    return response


def pair_of(match: Match, scored: Scored | None) -> Pair:
    """The record that a match goes out as. ``scored`` is None where :func:`to_score` is None.

    Of a noise pair the candidate's fields are the second answer's.

    The same halves give the same pair, to the byte, whenever and however often they meet.
    """
    served, shadow, rollout, arm = match.served, match.shadow, match.rollout, _served_arm(match)
    stable, candidate = (served, shadow) if arm is STABLE else (shadow, served)
    first = served or shadow
    assert first is not None  # a match has at least one half
    pair = copied(_BLANK)
    pair.pair_id = match.pair_id
    pair.request_id = first.request_id
    pair.rollout = rollout.name if rollout else ""
    pair.epoch = match.epoch
    pair.stage = _stage(match)
    pair.service = first.service
    pair.route = first.route
    pair.ts = first.ts
    # By the worker's clock, where its half is there: a service's may be a day off, and a verdict goes by it.
    pair.completed_at = (shadow or first).completed_at
    pair.outcome, pair.reason = _outcome(match)
    pair.key = first.key or (shadow.key if shadow else "")
    pair.served_arm = arm
    pair.request_bytes = first.request_bytes or (shadow.request_bytes if shadow else 0)
    pair.attributes = first.attributes or (shadow.attributes if shadow else {})
    pair.traceparent = first.traceparent
    if shadow:
        prints = (shadow.served_fingerprint, shadow.fingerprint)
        pair.stable_fingerprint, pair.candidate_fingerprint = prints if arm is STABLE else prints[::-1]
        pair.request = shadow.request
        pair.left_out = shadow.left_out
    if stable:
        pair.stable_model = stable.model
        pair.stable_served_model = stable.served_model
        pair.stable_output = stable.output
        pair.stable_output_bytes = stable.output_bytes
        pair.stable_tool_calls = stable.tool_calls
        pair.stable_finish_reason = stable.finish_reason
        pair.stable_error = stable.error
        pair.stable_error_message = stable.error_message
        pair.stable_status = stable.status
        pair.stable_latency_ms = stable.latency_ms
        pair.stable_ttft_ms = stable.ttft_ms
        pair.stable_input_tokens = stable.input_tokens
        pair.stable_output_tokens = stable.output_tokens
    if candidate:
        pair.candidate_model = candidate.model
        pair.candidate_served_model = candidate.served_model
        pair.candidate_output = candidate.output
        pair.candidate_output_bytes = candidate.output_bytes
        pair.candidate_tool_calls = candidate.tool_calls
        pair.candidate_finish_reason = candidate.finish_reason
        pair.candidate_error = candidate.error
        pair.candidate_error_message = candidate.error_message
        pair.candidate_status = candidate.status
        pair.candidate_latency_ms = candidate.latency_ms
        pair.candidate_ttft_ms = candidate.ttft_ms
        pair.candidate_input_tokens = candidate.input_tokens
        pair.candidate_output_tokens = candidate.output_tokens
        pair.candidate_attempts = candidate.attempts
    if (
        rollout is None
    ):  # it is for the ledger alone: what nobody compares is not kept either, but for its size
        pair.stable_output_bytes, pair.candidate_output_bytes = _sizes(pair)
        pair.stable_output = pair.candidate_output = ""
        pair.stable_tool_calls = pair.candidate_tool_calls = None
    if scored:
        pair.stable_scores = scored.stable
        pair.candidate_scores = scored.candidate
        pair.stable_quality = scored.stable_quality
        pair.candidate_quality = scored.candidate_quality
        pair.quality_difference = scored.quality_difference
    return pair


def to_score(match: Match) -> tuple[Any, Response, Response] | None:
    """(request body, stable, candidate) where the scorers have a say: both halves, and none abstains.

    Of a noise pair: the answer that was served, and the second one.
    """
    if match.served is None or match.shadow is None or _outcome(match)[0] is not SCORED:
        return None
    if _served_arm(match) is STABLE:
        return match.shadow.request, match.served, match.shadow
    return match.shadow.request, match.shadow, match.served


def shortened(pair: Pair) -> Pair:
    """The pair without the request and with less text, its scores and sizes whole: for one too large for Kafka.

    Always less than 1 MB, since an id is short (:mod:`shadowlane.schemas.codec`).
    """
    texts: dict[str, Any] = {
        field.name: text[: KEPT_TEXT if field.name.endswith("_output") else KEPT_NAME]
        for field in dataclasses.fields(pair)
        if isinstance(text := getattr(pair, field.name), str) and field.name not in ("pair_id", "request_id")
    }
    stable_bytes, candidate_bytes = _sizes(pair)
    small = sum(len(name) + len(text) for name, text in pair.attributes.items()) <= KEPT_NAME
    return dataclasses.replace(
        pair,
        request=None,
        request_bytes=pair.request_bytes or (0 if pair.request is None else len(orjson.dumps(pair.request))),
        stable_output_bytes=stable_bytes,
        candidate_output_bytes=candidate_bytes,
        stable_tool_calls=None,
        candidate_tool_calls=None,
        attributes=pair.attributes if small else {},
        left_out=[],
        **texts,
    )


def _sizes(pair: Pair) -> tuple[int, int]:
    """Of both outputs, in bytes, before anything is taken from them."""
    return (
        pair.stable_output_bytes or len(pair.stable_output.encode()),
        pair.candidate_output_bytes or len(pair.candidate_output.encode()),
    )


def _served_arm(match: Match) -> Arm:
    """By the worker, which has checked it, where its half is there; else as the worker would tell it."""
    if match.noise:
        return STABLE
    if match.shadow:
        return CANDIDATE if match.shadow.arm == STABLE else STABLE
    assert match.served is not None  # a match has at least one half
    if match.rollout:
        return served_arm(match.rollout, match.served.arm, match.served.model)
    return Arm(match.served.arm or STABLE)


def _stage(match: Match) -> str:
    said = (match.shadow.stage if match.shadow else "") or (match.served.stage if match.served else "")
    return said or (match.rollout.stages[0].name if match.rollout else "")


def _outcome(match: Match) -> tuple[Outcome, str]:
    served, shadow = match.served, match.shadow
    if match.rollout is None:
        return UNPAIRED, "no_rollout"
    if shadow is None:
        return UNPAIRED, "no_baseline_response" if match.noise else "no_shadow_response"
    if served is None:
        return UNPAIRED, "no_served_response"
    if not match.noise and served.arm and served.arm == (shadow.arm or CANDIDATE):
        return ABSTAINED, "arms_disagree"  # one version would be compared with itself
    for half in (shadow, served):
        if half.error in ABSTAINING:
            return ABSTAINED, half.error
    return SCORED, ""
