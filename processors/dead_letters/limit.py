"""How many dead letters are too many. Pure: time is handed in.

Letters are counted by when their records came to Kafka, not by when they were read: a component that catches
up on a day of rare letters within seconds must go on, and one that reads what it has read before, after a
rebalance, must not count it twice. So time is cut into windows, and each letter counts once in the window of its
record, in whatever order and however often it is read.
"""

import re
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field

from shadowlane.errors import PoisonError
from shadowlane.schemas.config import DeadLetters
from shadowlane.schemas.events import DeadLetter

KEPT = 10_000
"""Letters that are remembered in all windows together, beyond the limit; then the window least lately touched goes."""

SHOWN_REASON = 200
SHOWN_PARTITIONS = 4

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class Window:
    """The letters of one window: id to kind of reason; an example of each kind; and how far each partition is."""

    reasons: dict[str, str] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    offsets: dict[Place, tuple[int, int]] = field(default_factory=dict)  # the first and the last


def shown(reason: str) -> str:
    """A reason as one short line, safe to print."""
    return "".join(c if c.isprintable() else "·" for c in " ".join(reason.split()))[:SHOWN_REASON]


def pattern_of(reason: str) -> str:
    """A reason without what differs from record to record: numbers become N."""
    return re.sub(r"\d+", "N", shown(reason))


class PoisonLimit:
    """Says of each record that can't be read whether it may still become a dead letter.

    At most ``limit`` letters of one window may, per process. Once one may not, none may: the component has
    to stop, and leave that record and all after it uncommitted.
    """

    def __init__(self, config: DeadLetters, component: str) -> None:
        self._limit, self._window_s, self._component = config.limit, config.window_s, component
        self._windows: OrderedDict[int, Window] = OrderedDict()
        self._kept = 0
        self._error: PoisonError | None = None

    @property
    def error(self) -> PoisonError | None:
        """Why the component has to stop; None as long as it may go on."""
        return self._error

    def admit(self, letter: DeadLetter, stamp: int) -> bool:
        """Whether this may become a dead letter.

        ``stamp`` is when its record came to Kafka, in Unix milliseconds; 0, where Kafka does not say, counts as
        the letter's own time.
        """
        if not self._limit:
            return True
        number = int((stamp if stamp > 0 else letter.ts) // (self._window_s * 1000))
        window = self._windows.setdefault(number, Window())
        self._windows.move_to_end(number)
        if letter.dead_letter_id in window.reasons:  # read again
            return True
        if self._error is not None:
            return False
        if len(window.reasons) >= self._limit:
            self._error = PoisonError(self._told(window, letter))
            return False
        pattern = pattern_of(letter.reason)
        window.reasons[letter.dead_letter_id] = pattern
        window.examples.setdefault(pattern, shown(letter.reason))
        place = (letter.source_topic, letter.source_partition)
        first, last = window.offsets.get(place, (letter.source_offset, letter.source_offset))
        window.offsets[place] = min(first, letter.source_offset), max(last, letter.source_offset)
        self._kept += 1
        while self._kept > self._limit + KEPT:
            _, gone = self._windows.popitem(last=False)
            self._kept -= len(gone.reasons)
        return True

    def _told(self, window: Window, refused: DeadLetter) -> str:
        pattern, count = Counter(window.reasons.values()).most_common(1)[0]
        reason = window.examples[pattern]
        name = self._component
        return (
            f"{name} stops: {len(window.reasons):,} records that came within {self._window_s:g} s could not be "
            f"read and became dead letters, and here is another, at {refused.source_topic}, partition "
            f"{refused.source_partition}, offset {refused.source_offset}, line {refused.source_line}. They are from "
            f"{_listed(window.offsets)}. The commonest reason, of {count:,}: {reason}. Nothing is lost: that record "
            f"and all after it stay in Kafka, and {name} goes on there when it is started again. Look at them with "
            f"`shadowlane dlq list --component {name}`, and stop whoever writes such records. Then, to let what is "
            f"left of them become dead letters too, start {name} once with SHADOWLANE_DEAD_LETTERS__LIMIT=0, or "
            f"with a higher dead_letters.limit than {self._limit:,}"
        )


def _listed(offsets: dict[Place, tuple[int, int]]) -> str:
    """Topics with the offsets of each partition, as ``t (partition 0: offsets 3 to 9)``."""
    topics: dict[str, list[str]] = defaultdict(list)
    for (topic, partition), (first, last) in sorted(offsets.items()):
        topics[topic].append(f"partition {partition}: offsets {first} to {last}")
    told = []
    for topic, parts in topics.items():
        more = len(parts) - SHOWN_PARTITIONS
        rest = f", and {more} partitions more" if more > 0 else ""
        told.append(f"{topic} ({', '.join(parts[:SHOWN_PARTITIONS])}{rest})")
    return " and ".join(told)
