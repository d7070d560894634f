"""The pairing loop, for whoever hands in messages: join, score, write, acknowledge.

All of it runs on one thread, the owner's event loop. Only :meth:`Pairing.told` is called from another one,
the producer's: it leaves a note, and ``wake`` has the owner call :meth:`Pairing.settle`.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Protocol

from shadowlane import metrics
from shadowlane.errors import BrokerError, CodecError
from shadowlane.processors.dead_letters.limit import PoisonLimit
from shadowlane.processors.pairing.envelopes import Envelope, Source, Unacknowledged
from shadowlane.processors.pairing.join import BASELINE, Join, Match
from shadowlane.processors.pairing.matching import Matching
from shadowlane.processors.pairing.records import Scored, Scorers, pair_of, read, shortened, to_score
from shadowlane.processors.pairing.standing import Standing
from shadowlane.processors.produce import Done, RecordTooLargeError
from shadowlane.processors.samples import NoiseSample
from shadowlane.processors.watch import Family, figure, figures
from shadowlane.schemas.codec import dead_letter, decode, encode, unpack
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import DeadLetter, Outcome, Pair, Role
from shadowlane.schemas.topics import partition_of

log = logging.getLogger("shadowlane.pairing")

EXPIRE_AT_ONCE = 500
"""Halves that go out unpaired in one step, so that thousands at once don't hold up the loop."""


SENT_AT_ONCE = 32
"""Pairs that are handed to the producer in one go, of one message: more would wait for scorers that are slow."""


class Sender(Protocol):
    """What pairing needs of a producer; see :class:`shadowlane.processors.produce.EnvelopeProducer`.

    It hands the ``done`` callbacks to :meth:`Pairing.told` in place of calling them.
    """

    def send_many(self, topic: str, records: Iterable[tuple[int, bytes, Done]]) -> None: ...


class Pairing:
    """Halves in, pairs out.

    Args:
        settings: of the deployment.
        scorers: by rollout name.
        producer: where pairs and dead letters go.
        partitions: the topics' numbers of partitions.
        monotonic: seconds, never going back.
        wall: Unix milliseconds.
        wake: called on the producer's thread; :meth:`settle` must then be called on the owner's.
    """

    def __init__(
        self,
        settings: Settings,
        scorers: Mapping[str, Scorers],
        producer: Sender,
        partitions: Mapping[str, int],
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        self._topics = settings.kafka.topics
        self._inputs = {Role.SERVED: self._topics.served, Role.SHADOW: self._topics.shadow}
        self._max_bytes = self._share = settings.pairing.max_waiting_bytes
        self._wait_s = settings.pairing.wait_s
        self._noise = {r.name: sample for r in settings.rollouts if (sample := NoiseSample.of(r))}
        self._join = Join(Matching(settings.rollouts), self._wait_s, noise=self._noise)
        self._unacknowledged = Unacknowledged()
        self._scorers = scorers
        self._producer = producer
        self._partitions = partitions
        self._monotonic = monotonic
        self._wall = wall
        self._wake = wake
        self._ready: list[tuple[int, bytes, Done]] = []  # pairs that the producer is to be given
        self._settled: deque[tuple[list[Done], Exception | None]] = deque()
        self._touched: set[Source] = set()  # whose envelopes some of what has settled held
        self._written: Counter[str] = Counter()
        self._out: Counter[tuple[str, str]] = Counter()  # outcome and reason
        self._noise_out: Counter[tuple[str, str]] = Counter()  # likewise, of noise pairs
        self._failed_scorers: Counter[tuple[str, str]] = Counter()
        self._taken: dict[Source, int] = {}
        self._limit = PoisonLimit(settings.dead_letters, "pairing")

    def take(
        self,
        side: Role,
        partition: int,
        offset: int,
        value: bytes | None,
        acknowledge: Callable[[], object],
        *,
        stamp: int = 0,
        again: bool = False,
    ) -> None:
        """One message. ``acknowledge`` is called once it may be committed, in the order of the offsets.

        ``stamp`` is when it came to Kafka, in Unix milliseconds; 0 where that is not known. ``again``: it was
        replayed from the dead letters.

        Raises:
            PoisonError: too many records can't be read. This message is not acknowledged.
        """
        envelope = Envelope(side, partition, offset, acknowledge)
        self._unacknowledged.add(envelope)
        self._taken[envelope.source] = offset
        now = self._monotonic()
        try:
            for number, line in unpack(value):
                try:
                    response = read(side, line)
                except CodecError as exc:
                    self._bury(envelope, number, line, str(exc), stamp)
                    continue
                if response.role != BASELINE:
                    match = self._join.take(envelope, response, len(line), now, again=again)
                    if match is not None:
                        self._send(match)
                    if not self._noise or side is not Role.SERVED:
                        continue
                match = self._join.take(envelope, response, len(line), now, again=again, noise=True)
                if match is not None:
                    self._send(match)
        finally:
            self._hand_on()
        envelope.open -= 1
        self._acknowledge({envelope.source})

    def expire(self) -> bool:
        """Sends halves whose time is over as unpaired; True where there may be more of them."""
        over = self._join.expire(self._monotonic(), EXPIRE_AT_ONCE)
        for match in over:
            self._send(match)
        self._hand_on()
        return len(over) == EXPIRE_AT_ONCE

    def settle(self) -> None:
        """Takes in what Kafka has acknowledged, and acknowledges the envelopes that are resolved with it.

        Raises:
            BrokerError: a record could not be written; going on would lose it.
        """
        while self._settled:
            waiting, error = self._settled.popleft()
            for done in waiting:
                done(error)
        touched, self._touched = self._touched, set()
        self._acknowledge(touched)

    def drop(self, partitions: set[int]) -> None:
        """Forgets what waits of partitions that were taken away; whoever has them now reads it again."""
        self._join.drop(partitions)
        self._unacknowledged.drop(partitions)
        for source in [source for source in self._taken if source[1] in partitions]:
            del self._taken[source]

    def assign(self, partitions: set[int]) -> None:
        """Starts on these partitions. Each has an equal share of the bytes that one side may hold."""
        self._share = self._max_bytes // max(1, len(partitions))

    def full(self, source: Source) -> bool:
        """Whether a partition of one side holds as much as it may: its reading pauses.

        The share is by partition because halves meet within one: with one bound for a whole side, served
        halves of some partitions and shadow halves of others could fill both and wait for each other. Within
        a partition both sides may still be full, of halves whose partners are further apart than the share.
        That ends: what waits expires, which needs no reading, and makes room.
        """
        return self._join.waiting_bytes(source) + self._unacknowledged.bytes_of(source) >= self._share

    def progress(self) -> dict[str, int]:
        """Counters since the start, and what is held now."""
        counts = self._join.counts
        return {
            "paired": counts.paired,
            "unpaired": counts.unpaired,
            "scored": self._sum(Outcome.SCORED),
            "abstained": self._sum(Outcome.ABSTAINED),
            "noise": counts.noise,
            "dead_lettered": self._written["dead_lettered"],
            "repeated": counts.repeated,
            "late": counts.late,
            "no_rollout": counts.no_rollout,
            "other_epoch": counts.other_epoch,
            "shortened": self._written["shortened"],
            "scorer_failures": self._failed_scorers.total(),
            "waiting": self._join.waiting,
            "unacknowledged": len(self._unacknowledged),
        }

    def standing(self) -> Standing:
        """What waits, and how far each partition is. From any thread."""
        due = self._join.oldest()
        overdue = None if due is None else self._monotonic() - due
        return Standing(
            # The offsets first: what is taken meanwhile may only make less of it done, never more.
            dict(self._taken),
            self._unacknowledged.heads(),
            due,
            None if overdue is None else max(0.0, overdue + self._wait_s),
            overdue,
            self._join.waiting,
            self._join.all_waiting_bytes,
            self._join.counts.paired + self._join.counts.unpaired + self._join.counts.noise,
        )

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        standing, counts = self.standing(), self._join.counts
        yield figures(metrics.PAIRING_PAIRS, self._out.copy())
        yield figures(metrics.PAIRING_NOISE, self._noise_out.copy())
        yield figure(metrics.PAIRING_REPEATED, counts.repeated)
        yield figure(metrics.PAIRING_LATE, counts.late)
        yield figure(metrics.PAIRING_OTHER_EPOCH, counts.other_epoch)
        yield figure(metrics.PAIRING_SHORTENED, self._written["shortened"])
        yield figures(metrics.PAIRING_SCORER_FAILURES, self._failed_scorers.copy())
        yield figure(metrics.PAIRING_DEAD_LETTERS, self._written["dead_lettered"])
        yield figure(metrics.PAIRING_WAITING, standing.waiting)
        yield figure(metrics.PAIRING_WAITING_BYTES, standing.waiting_bytes)
        yield figure(metrics.PAIRING_OLDEST, standing.oldest_s or 0.0)
        yield figure(metrics.PAIRING_UNACKNOWLEDGED, len(self._unacknowledged))

    def told(self, waiting: list[Done], error: Exception | None) -> None:
        """What became of some records, by their callbacks. Called on the producer's thread."""
        self._settled.append((waiting, error))
        self._wake()

    def _sum(self, outcome: Outcome) -> int:
        return sum(n for (each, _), n in self._out.items() if each == outcome)

    def _send(self, match: Match) -> None:
        halves, scored = to_score(match), None
        if halves is not None and match.rollout is not None:
            scored = self._scorers[match.rollout.name].score(*halves)
            if scored.failed:
                self._note_failures(match.rollout.name, halves[1].request_id, scored)
        pair = pair_of(match, scored)
        if match.noise:
            self._noise_out[pair.outcome, pair.reason] += 1
            line = encode(pair)
            match.release()
            self._produce(self._topics.noise, pair.request_id, line, partial(self._delivered, match, line))
            return
        self._out[pair.outcome, pair.reason] += 1
        partition = partition_of(pair.request_id, self._partitions[self._topics.pairs])
        line = encode(pair)
        match.release()
        self._ready.append((partition, line, partial(self._delivered, match, line)))
        if len(self._ready) == SENT_AT_ONCE:
            self._hand_on()

    def _hand_on(self) -> None:
        if self._ready:
            ready, self._ready = self._ready, []
            self._producer.send_many(self._topics.pairs, ready)

    def _delivered(self, match: Match, line: bytes, error: Exception | None) -> None:
        if isinstance(error, RecordTooLargeError):
            pair = decode(Pair, line)
            # The numbers are what decides; the texts are for people to read, and they keep their beginnings.
            self._written["shortened"] += 1
            about = {"request_id": pair.request_id, "rollout": pair.rollout}
            log.warning("pair %s is too large for Kafka: its texts were cut", pair.pair_id, extra=about)
            topic = self._topics.noise if match.noise else self._topics.pairs
            short = encode(shortened(pair))
            self._produce(topic, pair.request_id, short, partial(self._delivered_short, match))
            return
        self._delivered_short(match, error)

    def _delivered_short(self, match: Match, error: Exception | None) -> None:
        if error is not None:
            raise BrokerError(f"pair {match.pair_id} was not written, so pairing stops: {error}") from error
        self._join.delivered(match)
        for envelope in match.envelopes:
            self._touched.add(envelope.source)

    def _bury(self, envelope: Envelope, number: int, line: bytes, reason: str, stamp: int) -> None:
        letter = dead_letter(
            line,
            reason,
            component="pairing",
            topic=self._inputs[envelope.side],
            partition=envelope.partition,
            offset=envelope.offset,
            number=number,
            ts=self._wall(),
        )
        if not self._limit.admit(letter, stamp):
            assert self._limit.error is not None
            raise self._limit.error
        self._written["dead_lettered"] += 1
        log.warning(
            "dead letter %s: %s", letter.dead_letter_id, reason, extra={"request_id": letter.request_id}
        )
        envelope.open += 1
        then = partial(self._buried, envelope, letter)
        self._produce(self._topics.dead_letters, letter.request_id, encode(letter), then)

    def _buried(self, envelope: Envelope, letter: DeadLetter, error: Exception | None) -> None:
        if error is not None:
            raise BrokerError(
                f"dead letter {letter.dead_letter_id} was not written, so pairing stops: {error}"
            ) from error
        envelope.open -= 1
        self._touched.add(envelope.source)

    def _produce(self, topic: str, request_id: str, line: bytes, then: Done) -> None:
        partition = partition_of(request_id, self._partitions[topic])
        self._producer.send_many(topic, [(partition, line, then)])

    def _acknowledge(self, sources: set[Source]) -> None:
        for source in sources:
            for envelope in self._unacknowledged.resolved(source):
                envelope.acknowledge()

    def _note_failures(self, rollout: str, request_id: str, scored: Scored) -> None:
        for scorer, what in scored.failed.items():
            name = (rollout, scorer)
            if name not in self._failed_scorers:
                about = {"request_id": request_id, "rollout": rollout}
                log.error(
                    "scorer %s of rollout %s failed, so it abstains: %s", scorer, rollout, what, extra=about
                )
            self._failed_scorers[name] += 1
