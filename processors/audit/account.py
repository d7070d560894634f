"""Where one request is, by what Kafka and the store hold of it. Pure.

What is promised makes this a proof: a component commits an offset only after Kafka, or the store, has
acknowledged what it made of the records before it. So of a record before a committed offset there must be a
trace further on, provided that the offsets were read first and what is further on after them. Where there is
none, that component has lost it.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class Step(StrEnum):
    """A component that reads from Kafka."""

    WORKER = "worker"
    PAIRING = "pairing"
    SINK = "sink"


class Kind(StrEnum):
    """What a record is: one kind for each topic, and one for the baselines on that of the shadow responses."""

    REQUEST = "request"
    SERVED = "served"
    SHADOW = "shadow"
    BASELINE = "baseline"
    PAIR = "pair"
    NOISE = "noise pair"
    LETTER = "dead letter"
    CELL = "ledger cell"


class Where(StrEnum):
    """Where a request is. Those of the steps: that component has not finished it yet."""

    STORED = "stored"
    WORKER = "worker"
    PAIRING = "pairing"
    SINK = "sink"
    NOBODY = "no_rollout"  # no rollout takes it, so that no row is owed
    UNPROVED = "unproved"  # there is nothing further on, and it may be in what Kafka has removed
    LOST = "lost"


class Row(IntEnum):
    """What the store holds of a request."""

    NONE = 0
    UNANSWERED = 1  # unpaired, no_shadow_response: it does not say that the worker had it
    SETTLED = 2


@dataclass(frozen=True, slots=True)
class Place:
    """One record in Kafka. ``checksum`` is the CRC-32 of its line."""

    topic: str
    partition: int
    offset: int
    line: int
    checksum: int

    @property
    def letter_id(self) -> str:
        """What its dead letter would be called (:func:`shadowlane.schemas.codec.dead_letter`)."""
        return f"{self.topic}:{self.partition}:{self.offset}:{self.line}:{self.checksum:08x}"


@dataclass(frozen=True, slots=True)
class Record:
    """A record, and whether its reader has committed an offset after it."""

    place: Place
    past: bool


@dataclass(frozen=True, slots=True)
class Owed:
    """What the configuration owes a request: ``rollout`` is the one that takes it, ``""`` where none does.

    ``answer``: the worker has to answer it. ``row``: it has to get a row, since some rollout takes requests of
    its service and route.
    """

    rollout: str
    answer: bool
    row: bool


@dataclass(slots=True)
class Request:
    """What is known of one request of which the store does not hold all."""

    ts: int
    service: str
    route: str
    owed: Owed
    row: Row = Row.NONE
    records: dict[Kind, Record] = field(default_factory=dict)
    answered: bool = False  # there is a trace of the worker's answer
    lettered: bool = False  # the store has a dead letter of it
    letter_past: bool | None = None  # Kafka has one, and whether the sink has committed past it

    def note(self, kind: Kind, record: Record) -> None:
        """One more record of it. Of two of a kind (a replay) the one that is still to be read counts."""
        if kind not in self.records or not record.past:
            self.records[kind] = record
        if kind is Kind.SHADOW:
            self.answered = True


@dataclass(frozen=True, slots=True)
class Loss:
    """A component has committed past this record, and there is no trace of what it made of it."""

    step: Step
    record: Record


@dataclass(frozen=True, slots=True)
class Judgement:
    """``unproved``: the worker's answer may be in what Kafka has removed, and so nobody is blamed for it."""

    where: Where
    losses: tuple[Loss, ...] = ()
    unproved: bool = False


def judge(request: Request, answers_since: int = 0) -> Judgement:
    """Where a request is, and who lost it, if anyone.

    ``answers_since``: the log of the worker's answers begins with this time (Unix milliseconds; 0: it is whole).
    That a request from before it has no answer there says nothing.

    A pair or dead letter that is in Kafka, that the sink has committed past, and that is not in the store, makes
    the request lost; who lost it is said once for each such record, by whoever holds these to the store, and not
    here.
    """
    losses = []
    asked = request.records.get(Kind.REQUEST)
    lettered = request.lettered or request.letter_past is not None
    unanswered = (
        asked is not None
        and asked.past
        and request.owed.answer
        and not (request.answered or lettered or request.row is Row.SETTLED)
    )
    unproved = unanswered and request.ts < answers_since
    if asked and unanswered and not unproved:
        losses.append(Loss(Step.WORKER, asked))
    where = _where(request)
    if isinstance(where, Record):
        losses.append(Loss(Step.PAIRING, where))
        where = Where.LOST
    elif where is Where.NOBODY and unanswered:
        where = Where.UNPROVED if unproved else Where.LOST
    return Judgement(where, tuple(losses), unproved)


def _where(request: Request) -> Where | Record:
    """By what is furthest on; a half that the pairing has committed past, where there is no trace of it."""
    if request.row is not Row.NONE or request.lettered:
        return Where.STORED
    if pair := request.records.get(Kind.PAIR):
        return Where.LOST if pair.past else Where.SINK
    if request.letter_past is not None:
        return Where.LOST if request.letter_past else Where.SINK
    halves = [request.records[kind] for kind in (Kind.SERVED, Kind.SHADOW) if kind in request.records]
    past = next((half for half in halves if half.past), None)
    if past and request.owed.row:
        return past
    if any(not half.past for half in halves):
        return Where.PAIRING
    asked = request.records.get(Kind.REQUEST)
    return Where.WORKER if asked and not asked.past else Where.NOBODY
