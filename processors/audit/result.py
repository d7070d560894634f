"""What an audit found, as it is told: to a script as one JSON document (docs/audit.md), to a person by the CLI."""

from dataclasses import dataclass, field

EXAMPLES = 100
"""How many records of one gap are named."""


@dataclass(frozen=True, slots=True)
class Example:
    """One record. ``request_id`` is ``""`` where it could not be made out."""

    topic: str
    partition: int
    offset: int
    line: int
    request_id: str


@dataclass(slots=True)
class Gap:
    """One thing that does not add up: ``kind``, who is at fault (``step``, ``topic``), of how many requests.

    Kinds: ``lost``, ``gone``, ``undecided``, ``committed_past_end``, ``removed_unread`` (docs/audit.md).
    ``minutes`` are of the ledger, where it is about that.
    """

    kind: str
    step: str
    topic: str
    count: int
    text: str
    examples: list[Example] = field(default_factory=list)
    minutes: list[dict[str, int | str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Note:
    """What was found, and is no gap."""

    kind: str
    count: int
    text: str


@dataclass(slots=True)
class Log:
    """One partition, as it was read."""

    topic: str
    partition: int
    earliest: int
    latest: int
    committed: int | None  # by its reader; None where that has committed nothing
    records: int
    reader: str


@dataclass(slots=True)
class Audit:
    """The result. ``open`` says where the requests are that the store does not have yet, by step."""

    at: int  # Unix milliseconds: when the committed offsets were read
    took_s: float = 0.0
    rollout: str | None = None
    since: int | None = None
    until: int | None = None
    logs: list[Log] = field(default_factory=list)
    records: int = 0
    open: dict[str, int] = field(default_factory=dict)
    ledger: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    pairs: int = 0
    gaps: list[Gap] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def adds_up(self) -> bool:
        return not self.gaps
