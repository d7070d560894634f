"""The records that travel over Kafka: one dataclass each, version 1.

A record is one line of JSON in an envelope (:mod:`shadowlane.schemas.codec`). Times are integers, Unix
milliseconds; durations are floats, milliseconds. Text that may be missing is ``""``, a number that may be
missing is ``None``. Every record repeats the request's ``ts``, so that what becomes of a request is always
booked in the minute in which the request came.

A score is an entry of a pair's ``stable_scores`` or ``candidate_scores``, under its scorer's name; an unpaired
half is a :class:`Pair` with one side, whose outcome says so.

They are plain dataclasses because orjson writes those directly: pydantic would cost 12 µs a record on the hot
path. It stands at the edge, where text comes from outside (:mod:`shadowlane.producers.recorded`).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

SCHEMA_VERSION = 1


class Protocol(StrEnum):
    """What the body of a mirrored request is, and so which candidates can answer it."""

    OPENAI_CHAT = "openai.chat"  # the JSON body of POST /v1/chat/completions
    OPENAI_RESPONSES = "openai.responses"  # of POST /v1/responses
    ANTHROPIC_MESSAGES = "anthropic.messages"  # of POST /v1/messages
    BEDROCK_CONVERSE = "bedrock.converse"  # of POST /model/{modelId}/converse
    JSON = "json"  # the JSON body of a web service's request
    CALL = "call"  # the arguments of an observed function, by name


class Arm(StrEnum):
    """The version that answered."""

    STABLE = "stable"
    CANDIDATE = "candidate"


class Role(StrEnum):
    """Who got the answer: the user, or nobody."""

    SERVED = "served"
    SHADOW = "shadow"
    BASELINE = "baseline"  # of the version that served, asked once more: what it differs by is noise


class Outcome(StrEnum):
    """What became of a request that was mirrored; ``scored`` always beats the others under one pair id."""

    SCORED = "scored"
    ABSTAINED = "abstained"  # both halves came, and they say nothing of the candidate (throttled, …)
    UNPAIRED = "unpaired"  # one half never came


class Failure(StrEnum):
    """Why a response has no answer: the values of ``Response.error``."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"  # refused, reset, cut in the middle of the body
    HTTP = "http"  # a status of 400 or more that is not one of the others; see Response.status
    REJECTED_PARAMETER = "rejected_parameter"  # 400 or 422: it does not take a parameter of the request
    BAD_RESPONSE = "bad_response"  # 200, and not what the protocol says
    EXCEPTION = "exception"  # the observed callable or the client raised
    ABANDONED = "abandoned"  # the service stopped reading the stream
    # From here on they say nothing of the model's quality, and the pair abstains.
    THROTTLED = "throttled"  # still 429 or 529 after the last attempt, or a spend limit
    UNSUPPORTED = "unsupported"  # the candidate's kind can't answer this protocol
    OTHER_MODEL = "other_model"  # the service had asked another model than the rollout's stable one
    NO_CONTENT = "no_content"  # the request was mirrored without its content
    STOPPED = "stopped"  # calls were stopped by hand
    OVER_BUDGET = "over_budget"  # what the shadow side may spend was used up
    CIRCUIT_OPEN = "circuit_open"  # the version did not answer for a while, and was left alone
    SAMPLED_OUT = "sampled_out"  # not in the rollout's own sample
    SIDE_EFFECT = "side_effect"  # to ask it might do more than answer: a tool that the provider runs, …
    OTHER_PARAMETERS = (
        "other_parameters"  # the request is not what the arm that served it would have been asked
    )


ABSTAINING = frozenset(
    {
        Failure.ABANDONED,
        Failure.THROTTLED,
        Failure.UNSUPPORTED,
        Failure.OTHER_MODEL,
        Failure.NO_CONTENT,
        Failure.STOPPED,
        Failure.OVER_BUDGET,
        Failure.CIRCUIT_OPEN,
        Failure.SAMPLED_OUT,
        Failure.SIDE_EFFECT,
        Failure.OTHER_PARAMETERS,
    }
)
"""Failures that are nobody's: the pair is in the ledger, and not in the test."""


@dataclass(kw_only=True)  # without slots orjson writes it in a third of the time
class MirroredRequest:
    """One production request. Topic ``shadowlane.requests``."""

    request_id: str
    ts: int  # when the service got it
    service: str
    route: str
    protocol: str
    key: str = ""  # what sampling and routing stick to: a session, a user; "" is the request id
    arm: str = ""  # who served it, as the router said; "" is for the model to tell, else the stable version
    stage: str = ""  # of the rollout when it was routed; "" where no router was asked
    host: str = (
        ""  # of a web service's request: the host that it was sent to, with its port where it named one
    )
    model: str = ""  # the model that the service asked for
    body: Any = (
        None  # the request's JSON, as the mirror's mode lets it out; None where its content was left out
    )
    without_content: str = ""  # why nobody can be asked from the body: hashed, metadata, request_too_large, …
    body_bytes: int = 0  # where the content was hashed or left out on purpose: how long it was
    attributes: dict[str, str] = field(default_factory=dict)  # tenant, prompt id, language, …: for slices
    traceparent: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(kw_only=True)  # without slots orjson writes it in a third of the time
class Response:
    """One arm's answer to one mirrored request.

    Topics ``shadowlane.responses.served`` and, of the roles shadow and baseline, ``shadowlane.responses.shadow``.
    A failure is a response too: ``error`` says which (:class:`Failure`), and is ``""`` where there is an answer.
    """

    request_id: str
    ts: int  # the request's, not the response's
    completed_at: int
    service: str
    route: str
    role: str
    arm: str = ""  # "" on what was served while no rollout is known to the service: it is the stable version
    rollout: str = ""  # the shadow side knows its rollout and epoch, the served side does not
    epoch: str = ""
    model: str = ""  # as asked; the name that the server resolved it to may differ
    output: str = ""  # the text of the answer; the JSON text of a JSON service's response
    output_bytes: int = 0  # as ``body_bytes``; also where it had to be cut for Kafka
    request_bytes: int = 0  # the request's ``body_bytes``
    tool_calls: Any = None  # list of {"name": str, "arguments": str}, or None
    finish_reason: str = ""
    error: str = ""
    error_message: str = ""
    status: int = 0  # HTTP status; 0 where there was none
    latency_ms: float = 0.0
    ttft_ms: float | None = None  # time to first token, of streams
    input_tokens: int | None = None
    output_tokens: int | None = None
    attempts: int = 1
    served_model: str = ""  # as the server that answered names it
    left_out: list[str] = field(
        default_factory=list
    )  # of the request: its API has no words for it, or refused it
    key: str = ""  # the request's
    stage: str = ""  # on the shadow side: the request's
    fingerprint: str = ""  # on the shadow side: of what was asked (schemas/fingerprint.py)
    served_fingerprint: str = ""  # on the shadow side: of what the serving arm was asked
    request: Any = None  # on the shadow side: the body as the candidate was asked, for whom reads the pair
    attributes: dict[str, str] = field(default_factory=dict)
    traceparent: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(kw_only=True)  # without slots orjson writes it in two thirds of the time
class Pair:
    """Both arms' responses to one request, scored; or what there is of it. Topic ``shadowlane.pairs``.

    On the topic ``shadowlane.noise`` it is a noise pair: both answers are the stable version's, the second one in the
    candidate's fields. Also the row of the tables ``pair_log`` and ``noise_log``, column by column. ``pair_id`` is made
    of the request, the rollout and its epoch alone (:func:`pair_id`, :func:`noise_id`), so that what is delivered, read
    or scored twice is still one pair.
    """

    pair_id: str
    request_id: str
    rollout: str
    epoch: str
    stage: str
    service: str
    route: str
    ts: int
    completed_at: int  # when the shadow half was, by the worker's clock; of a lone served half, when that was
    outcome: str
    reason: str = ""  # why abstained or unpaired
    key: str = ""  # the request's: a session, a user
    served_arm: str = ""  # whose answer the user got
    attributes: dict[str, str] = field(default_factory=dict)
    request: Any = None
    request_bytes: int = 0  # where ``request`` is not what was asked, or was cut: how long that was
    left_out: list[str] = field(default_factory=list)  # what one arm was asked and the other could not be
    stable_model: str = ""
    stable_served_model: str = ""  # as the server that answered names it
    stable_fingerprint: str = ""  # of the model and parameters that it was asked with
    stable_output: str = ""
    stable_output_bytes: int = 0  # where its text was hashed, left out or cut: how long it was
    stable_tool_calls: Any = None
    stable_finish_reason: str = ""
    stable_error: str = ""
    stable_error_message: str = ""
    stable_status: int = 0
    stable_latency_ms: float | None = None
    stable_ttft_ms: float | None = None
    stable_input_tokens: int | None = None
    stable_output_tokens: int | None = None
    candidate_model: str = ""
    candidate_served_model: str = ""
    candidate_fingerprint: str = ""
    candidate_output: str = ""
    candidate_output_bytes: int = 0
    candidate_tool_calls: Any = None
    candidate_finish_reason: str = ""
    candidate_error: str = ""
    candidate_error_message: str = ""
    candidate_status: int = 0
    candidate_latency_ms: float | None = None
    candidate_ttft_ms: float | None = None
    candidate_input_tokens: int | None = None
    candidate_output_tokens: int | None = None
    candidate_attempts: int = 0
    stable_scores: dict[str, float] = field(default_factory=dict)
    candidate_scores: dict[str, float] = field(default_factory=dict)
    stable_quality: float | None = None  # weighted mean of the quality scorers; 0 for a side that failed
    candidate_quality: float | None = None
    quality_difference: float | None = None  # candidate − stable, over the scorers that grade both sides
    traceparent: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(slots=True, kw_only=True)
class DeadLetter:
    """A record that could not be read, as it came. Topic ``shadowlane.dead-letters``."""

    # topic:partition:offset:line:crc32 of the line; offsets come again where a broker begins anew
    dead_letter_id: str
    ts: int
    component: str
    reason: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_line: int  # from 0, in its envelope
    request_id: str = ""  # where it could be made out
    payload: str = ""
    payload_encoding: str = "utf-8"  # or base64, where the bytes are no UTF-8
    payload_bytes: int = 0  # of the record as it came; more than the payload where that was cut
    schema_version: int = SCHEMA_VERSION


@dataclass(slots=True, kw_only=True)
class LedgerCell:
    """How many requests one mirror saw in one minute, by what it did with them. Topic ``shadowlane.ledger``.

    ``count`` is the total so far, not the increase: a cell that is sent again, or lost and then sent with a
    larger count, is right in the end. The store keeps the largest count of each cell.
    """

    instance: str  # one per mirror and process
    minute: int  # Unix milliseconds of the minute's start
    service: str
    route: str
    row: str  # eligible, sampled_out, dropped, mirrored
    reason: str = ""
    count: int = 0
    schema_version: int = SCHEMA_VERSION


@dataclass(slots=True, kw_only=True)
class RolloutState:
    """Who serves whom, for routers. Topic ``shadowlane.rollouts``, compacted, key: the rollout.

    Of several states of one rollout the one with the largest ``seq`` holds: it counts the rollout's decisions.
    """

    rollout: str
    epoch: str
    seq: int
    ts: int  # when it was decided
    phase: str  # shadowlane.rollout.state.Phase
    stage: str
    traffic_pct: float  # of the keys, to the candidate; 0 in every phase in which it may not serve
    stable_model: str = ""
    candidate_model: str = ""
    stable_overrides: dict[str, Any] = field(default_factory=dict)
    candidate_overrides: dict[str, Any] = field(default_factory=dict)
    stable_prompt: dict[str, Any] = field(default_factory=dict)  # shadowlane.rollout.state.VersionRef
    candidate_prompt: dict[str, Any] = field(default_factory=dict)
    excluded: list[str] = field(
        default_factory=list
    )  # slices (``language=de``) that the stable version serves
    schema_version: int = SCHEMA_VERSION


Copied = TypeVar("Copied", MirroredRequest, Response, Pair)


def copied(record: Copied) -> Copied:
    """A copy of its own fields. A tenth of what it takes to make a record of thirty, each by its name."""
    made: Copied = object.__new__(type(record))
    made.__dict__ = record.__dict__.copy()
    return made


@dataclass(slots=True, kw_only=True)
class BudgetEntry:
    """One line of the budgets' log (:mod:`shadowlane.processors.budget.book`). Topic ``shadowlane.budgets``,
    compacted.

    What a worker took of a window stays for as long as the window lasts, under a key of its own; what it says that it
    spent there so far, under one key.
    """

    ts: int
    worker: str
    number: int  # grows with each line of a worker
    rollout: str
    epoch: str
    span: str  # hour, day, rollout
    start: int  # of the window, Unix seconds; 0 of a rollout's
    # Each by measure: nanodollars, tokens, calls, bytes.
    take: dict[str, int] = field(default_factory=dict)  # asked for; below zero: given back
    limits: dict[str, int] = field(
        default_factory=dict
    )  # what the window has; a measure without one has no limit
    spent: dict[str, int] | None = None  # by this worker in this window so far; None of a line that takes
    schema_version: int = SCHEMA_VERSION


@dataclass(slots=True, kw_only=True)
class Stop:
    """Whether the calls of a rollout, or of all of them, are stopped by hand. Topic ``shadowlane.stops``, compacted,
    key: the rollout."""

    ts: int
    rollout: str  # "" is all of them
    stopped: bool
    by: str = ""
    why: str = ""
    schema_version: int = SCHEMA_VERSION


Record = MirroredRequest | Response | Pair | DeadLetter | LedgerCell | RolloutState | BudgetEntry | Stop


def pair_id(request_id: str, rollout: str, epoch: str) -> str:
    """The id of the pair that a request makes in one epoch of one rollout. Sorts by the request's time."""
    return f"{request_id}:{rollout}:{epoch}"


def noise_id(request_id: str, rollout: str, epoch: str) -> str:
    """The id of its noise pair."""
    return f"{request_id}:{rollout}:{epoch}:noise"
