"""What one audit knows: what it asked first, and what it has found so far."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shadowlane.processors.audit.account import Judgement, Kind, Record, Request, Step, Where, judge
from shadowlane.processors.audit.lines import Line
from shadowlane.processors.audit.logs import Logs, Partition, Reading, Span
from shadowlane.processors.audit.mirrors import CellKey, Minute
from shadowlane.processors.audit.places import Places
from shadowlane.processors.audit.stored import Stored
from shadowlane.schemas.topics import Topics, partition_of

CHUNK = 10_000
"""Records that the store is asked about at once."""
READERS = {
    Kind.REQUEST: Step.WORKER,
    Kind.SERVED: Step.PAIRING,
    Kind.SHADOW: Step.PAIRING,
    Kind.BASELINE: Step.PAIRING,
    Kind.PAIR: Step.SINK,
    Kind.NOISE: Step.SINK,
    Kind.LETTER: Step.SINK,
    Kind.CELL: Step.SINK,
}
"""Who reads what."""
Progress = Callable[[str, int, int], None]
"""(what is read, messages read of it, messages in it)."""


@dataclass(slots=True)
class Unstored:
    """A record of which the store has no row: of a pair or dead letter, or one that can't be read at all.

    ``key`` is the id of the row: of a baseline, its noise pair's.
    """

    kind: Kind
    record: Record
    key: str
    request_id: str


@dataclass(slots=True)
class Suspects:
    """What looks lost, until it is looked at again."""

    requests: dict[str, Request] = field(default_factory=dict)
    records: list[Unstored] = field(default_factory=list)
    cells: dict[CellKey, tuple[int, Record]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sources:
    """What an audit asks, and whom it tells how far it is."""

    places: Places
    logs: Logs
    stored: Stored
    progress: Progress


@dataclass(slots=True)
class Inquiry:
    """Used by one thread. ``spans`` are read anew when it is looked again."""

    ask: Sources
    topics: Topics
    # As they were at the start. ``began``: since when each rollout is there; ``starts``: where the scope begins.
    began: Mapping[str, int]
    partitions: Mapping[str, int]
    committed: Mapping[Partition, int]
    earliest: Mapping[Partition, int]
    starts: Mapping[Partition, int]
    spans: dict[Partition, Span]
    # What was found.
    reading: Reading = field(default_factory=Reading)
    records: Counter[Partition] = field(default_factory=Counter)
    # Dead letters that Kafka has and the store has not, by their id and by their request's.
    letters: dict[str, Record] = field(default_factory=dict)
    letters_of: dict[str, Record] = field(default_factory=dict)
    open: Counter[Where] = field(default_factory=Counter)
    under_way: Counter[Minute] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)
    unproved: int = 0
    suspects: Suspects = field(default_factory=Suspects)

    def all_of(self, topic: str) -> list[Partition]:
        return [(topic, number) for number in range(self.partitions[topic])]

    def record(self, line: Line) -> Record:
        return Record(line.place, line.offset < self.committed.get((line.topic, line.partition), 0))

    def judge(self, request: Request) -> Judgement:
        """Where it is. Where its answer may be in what Kafka has removed, nobody is blamed for that."""
        asked = request.records.get(Kind.REQUEST)
        since = 0
        if asked:
            shadow = (self.topics.shadow, asked.place.partition)
            start = self.starts.get(shadow, 0)
            if start > 0 and start == self.earliest[shadow]:
                since = self.reading.began.get(shadow, 2**63)
        return judge(request, since)

    def count(self, found: Judgement) -> None:
        """A request of which no more is asked."""
        self.open[found.where] += 1
        self.unproved += found.unproved

    def strays(self, name: str, request: Request) -> list[Partition]:
        """Where to look for what became of records that are in another partition than their id's.

        They are by a producer of one's own, or from when the topics had fewer partitions.
        """
        own = [
            (topic, partition_of(name, self.partitions[topic]))
            for topic in (self.topics.shadow, self.topics.pairs)
        ]
        there = {record.place.partition for record in request.records.values()}
        return [place for place in own if there - {place[1]}]


def begin(sources: Sources, topics: Topics, since: int | None) -> Inquiry:
    """The committed offsets first, and then what the logs hold. ``since``: Unix milliseconds, None: all."""
    logs, stored = sources.logs, sources.stored
    began = sources.places.began(stored.began(), stored.traced())
    partitions = logs.partitions()
    committed = logs.committed(partitions)
    spans = logs.spans(partitions)
    earliest = {p: span.earliest for p, span in spans.items()}
    starts = earliest
    if since is not None:
        found = logs.offsets_at(spans, since)
        starts = {p: max(start, found[p]) for p, start in earliest.items()}
    return Inquiry(sources, topics, began, partitions, committed, earliest, starts, spans)
