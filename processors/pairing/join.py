"""Which halves meet: a state machine of (state, record, time) to pairs. No Kafka, no Faust, no clock in it.

A half waits for the other one until its time is over. What comes out (a :class:`Match`) is in flight until
Kafka has acknowledged it, and only then are the envelopes of its halves released. A half that comes again
is attached to the one that waits or is in flight, so that it is never acknowledged before its pair is.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from shadowlane.processors.pairing.envelopes import Envelope, Source
from shadowlane.processors.pairing.matching import Matching
from shadowlane.processors.samples import NoiseSample
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.events import Outcome, Response, Role, noise_id, pair_id

HALF_BYTES = 2048
"""What a half takes in memory beside the text of its record, by measurement 1.2 to 2 KB: objects, keys, numbers.

Text beyond Latin-1 takes 2 to 4 bytes a character in Python, and up to that much more than its record.
"""

# By names of their own: an Enum's attributes take Python five times as long.
SERVED, SHADOW = Role.SERVED, Role.SHADOW
SCORED, _, UNPAIRED = Outcome
BASELINE = Role.BASELINE.value

REMEMBERED = 100_000
"""Pairs whose ids are remembered once they are out, so that a half that comes again need not wait."""


@dataclass(slots=True)
class Counts:
    """What became of the halves since the start."""

    paired: int = 0  # pairs, so two halves each
    unpaired: int = 0
    noise: int = 0  # noise pairs, unpaired ones too, which are in none of the others
    repeated: int = 0  # the same half again
    late: int = 0  # the other half had gone out as unpaired
    no_rollout: int = 0  # served, and no rollout takes it
    other_epoch: int = 0  # shadow, of an epoch or a rollout that is not the current one


@dataclass(slots=True, eq=False)
class Half:
    """A response that waits for the other one."""

    side: Role
    response: Response
    rollout: Rollout
    epoch: str
    size: int
    deadline: float
    envelopes: list[Envelope]  # its own, and those of its repetitions
    noise: bool = False  # it waits for the other half of a noise pair

    @property
    def source(self) -> Source:
        return self.envelopes[0].source


@dataclass(slots=True, eq=False)
class Match:
    """What goes out: both halves, or the one whose time is over. In flight until :meth:`Join.delivered`.

    Without a rollout (and with epoch ``""``) it is a served half whose attributes no rollout takes.
    """

    pair_id: str
    rollout: Rollout | None
    epoch: str
    served: Response | None
    shadow: Response | None
    envelopes: list[Envelope] = field(repr=False)
    noise: bool = False
    """A noise pair: ``shadow`` is the second answer of the version that served."""
    outcome: Outcome = field(init=False)
    """Scored or unpaired, as far as the join can say."""

    def __post_init__(self) -> None:
        self.outcome = SCORED if self.served and self.shadow else UNPAIRED

    def release(self) -> None:
        """Lets go of the halves, once what goes out is made of them: their memory is there for the next ones."""
        self.served = self.shadow = None


class Join:
    """The halves that wait, in any number of partitions.

    Args:
        matching: which rollout a response belongs to.
        wait_s: how long a half waits, in seconds of the clock that ``now`` is of.
        remembered: how many ids of resolved pairs are kept.
        noise: of which requests noise pairs are made, by rollout; of one that is not there, none.
    """

    def __init__(
        self,
        matching: Matching,
        wait_s: float,
        remembered: int = REMEMBERED,
        noise: Mapping[str, NoiseSample] = MappingProxyType({}),
    ) -> None:
        self._matching = matching
        self._noise = noise
        self._wait_s = wait_s
        self._remembered = remembered
        # In the order of their deadlines, since every half waits equally long.
        self._waiting: OrderedDict[str, Half] = OrderedDict()
        self._in_flight: dict[str, Match] = {}
        self._resolved: OrderedDict[str, Outcome] = OrderedDict()
        self._waiting_bytes: Counter[Source] = Counter()
        self.counts = Counts()

    def take(
        self,
        envelope: Envelope,
        response: Response,
        size: int,
        now: float,
        *,
        again: bool = False,
        noise: bool = False,
    ) -> Match | None:
        """One record of an envelope, ``size`` bytes long. Gives what goes out because of it, if anything does.

        ``now`` never goes back. The envelope is held until the record is resolved; a record that is resolved
        at once (a repetition, or nothing of this configuration's) does not hold it. ``again`` says that a person
        has it read again: then it waits once more, where its pair has gone out as unpaired. ``noise``: as a half of
        the request's noise pair; a served half of which none is made waits for nothing.
        """
        found = self._matching.rollout_of(response.service, response.route, response.attributes)
        side = envelope.side
        if found is None:
            if side is SERVED:
                return None if noise else self._of_no_rollout(envelope, response)
            self.counts.other_epoch += 1
            return None
        rollout, epoch = found
        if side is SHADOW and (response.rollout, response.epoch) != (rollout.name, epoch):
            self.counts.other_epoch += 1
            return None
        if not noise:
            key = pair_id(response.request_id, rollout.name, epoch)
        else:
            if side is SERVED and not self._is_asked_again(rollout, response):
                return None
            key = noise_id(response.request_id, rollout.name, epoch)
        if again and self._resolved.get(key) is UNPAIRED:
            del self._resolved[key]
        if self._is_out(key, envelope):
            return None
        envelope.open += 1
        half = self._waiting.get(key)
        if half is None:
            size += HALF_BYTES
            deadline = now + self._wait_s
            self._waiting[key] = Half(side, response, rollout, epoch, size, deadline, [envelope], noise)
            self._waiting_bytes[envelope.source] += size
            return None
        if half.side is side:
            half.envelopes.append(envelope)
            self.counts.repeated += 1
            return None
        half.envelopes.append(envelope)
        if noise:
            self.counts.noise += 1
        else:
            self.counts.paired += 1
        return self._send(key, half, response)

    def expire(self, now: float, limit: int) -> list[Match]:
        """At most ``limit`` of the halves whose time is over, oldest first, as matches of one half."""
        over: list[Match] = []
        while self._waiting and len(over) < limit:
            key, half = next(iter(self._waiting.items()))
            if half.deadline > now:
                break
            if half.noise:
                self.counts.noise += 1
            else:
                self.counts.unpaired += 1
            over.append(self._send(key, half, None))
        return over

    def delivered(self, match: Match) -> None:
        """Kafka has acknowledged the pair: its halves are resolved."""
        if self._in_flight.get(match.pair_id) is match:
            del self._in_flight[match.pair_id]
        if match.rollout:  # else nothing can still come that belongs to it
            self._resolved[match.pair_id] = match.outcome
        if len(self._resolved) > self._remembered:
            self._resolved.popitem(last=False)
        for envelope in match.envelopes:
            envelope.open -= 1

    def drop(self, partitions: set[int]) -> None:
        """Forgets the halves of partitions that were taken away.

        What is in flight stays: it reaches Kafka or the process stops, so a half of it that is read again
        may rely on it.
        """
        for key, half in list(self._waiting.items()):
            if half.source[1] in partitions:
                del self._waiting[key]
                self._waiting_bytes[half.source] -= half.size

    def waiting_bytes(self, source: Source) -> int:
        """An estimate of the memory that the waiting halves of one partition of one side take."""
        return self._waiting_bytes[source]

    def oldest(self) -> float | None:
        """When the half that waits longest must go out, in the time of ``now``; None where none waits. From any
        thread."""
        try:
            return next(iter(self._waiting.values())).deadline
        except (StopIteration, RuntimeError):  # none, or changed just now
            return None

    @property
    def all_waiting_bytes(self) -> int:
        """Of all partitions of both sides. From any thread."""
        return sum(list(self._waiting_bytes.values()))

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> Iterable[Match]:
        return self._in_flight.values()

    def _of_no_rollout(self, envelope: Envelope, response: Response) -> Match | None:
        """A served half that nobody shadows. Where a rollout takes others of its service and route, it goes out.

        There the ledger has to say what became of each request, and the mirror has counted this one.
        """
        self.counts.no_rollout += 1
        if not self._matching.takes_place(response.service, response.route):
            return None
        key = pair_id(response.request_id, "", "")
        if self._is_out(key, envelope):
            return None
        envelope.open += 1
        match = self._in_flight[key] = Match(key, None, "", response, None, [envelope])
        return match

    def _is_out(self, key: str, envelope: Envelope) -> bool:
        """Whether the pair has gone out. If Kafka's word on it is not there yet, the envelope waits for that."""
        outcome = self._resolved.get(key)
        if outcome is not None:
            self._resolved.move_to_end(key)
            self._count_again(outcome)
            return True
        match = self._in_flight.get(key)
        if match is None:
            return False
        envelope.open += 1
        match.envelopes.append(envelope)
        self._count_again(match.outcome)
        return True

    def _send(self, key: str, half: Half, other: Response | None) -> Match:
        del self._waiting[key]
        self._waiting_bytes[half.source] -= half.size
        served, shadow = (half.response, other) if half.side is SERVED else (other, half.response)
        match = Match(key, half.rollout, half.epoch, served, shadow, half.envelopes, half.noise)
        self._in_flight[key] = match
        return match

    def _is_asked_again(self, rollout: Rollout, served: Response) -> bool:
        sample = self._noise.get(rollout.name)
        return sample is not None and sample.takes(served.request_id, served.key, served.arm, served.model)

    def _count_again(self, outcome: Outcome) -> None:
        if outcome is UNPAIRED:
            self.counts.late += 1
        else:
            self.counts.repeated += 1
