"""Dead letters back to the topics that they came from.

A replay changes no number but those of the letters' requests: ids are made of the request, so a record that was
handled after all is the same pair again, and one that still can't be read is a new letter, of the place where it
stands now. It is marked after Kafka has it: a replay that breaks in the middle may repeat some, and loses none.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from confluent_kafka import KafkaException
from confluent_kafka.cimpl import KafkaError, Message, Producer

from shadowlane.errors import BrokerError, CodecError
from shadowlane.processors.dead_letters.halves import UNPAIRED, half_of, wanted_of
from shadowlane.processors.dead_letters.letters import Letter, Letters
from shadowlane.processors.dead_letters.selection import State
from shadowlane.processors.kafka import producer_options
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Response, Role, pair_id
from shadowlane.schemas.replayed import REPLAYED
from shadowlane.schemas.topics import partition_of

BATCH = 100
DELIVERED_S = 60.0

Rows = Callable[[str, Mapping[str, Any]], list[dict[str, Any]]]
"""A query and its parameters to its rows, by column. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a replay did: letters, and other halves that were sent beside them."""

    replayed: int
    halves: int
    missing: int  # letters whose pair needs a half that the store can't give


def refusal(letter: Letter, topics: Iterable[str]) -> str:
    """Why a letter can't be replayed; ``""`` where it can. ``topics`` are those that there are."""
    if letter.state is State.PURGED:
        return "its payload was purged"
    if letter.source_topic not in topics:
        return f"its topic {letter.source_topic} is not one of this system's"
    if not letter.is_whole:
        kept = len(letter.payload or b"")
        return f"the store has {kept:,} of its {letter.payload_bytes:,} bytes, and half a record is none"
    return ""


def partition_for(letter: Letter, partitions: int) -> int:
    """By the request's id, as its record says it, else as the letter does; else where it stood before."""
    request_id = letter.request_id
    try:
        record = orjson.loads(letter.payload or b"")
    except orjson.JSONDecodeError:
        record = None
    if isinstance(record, dict) and isinstance(record.get("request_id"), str):
        request_id = record["request_id"] or request_id
    return partition_of(request_id, partitions) if request_id else letter.source_partition % partitions


class Replay:
    """Sends letters back, and notes it. ``partitions`` is each topic's number of them."""

    def __init__(
        self, settings: Settings, letters: Letters, rows: Rows, partitions: Mapping[str, int], actor: str
    ) -> None:
        self._settings, self._letters, self._rows = settings, letters, rows
        self._partitions, self._actor = partitions, actor
        self._producer = Producer(producer_options(settings.kafka, "shadowlane-dlq") | {"log_level": 0})
        topics = settings.kafka.topics
        self._sides: dict[str, Role | None] = {
            topics.requests: None,
            topics.served: Role.SERVED,
            topics.shadow: Role.SHADOW,
        }
        self._topic_of = {Role.SERVED: topics.served, Role.SHADOW: topics.shadow}

    def run(self, letters: Iterable[Letter], at: int, progress: Callable[[int], object]) -> Done:
        """Replays letters that :func:`refusal` has nothing against; ``at`` is now, in Unix milliseconds.

        Raises:
            BrokerError: Kafka does not take them. Those of earlier batches are replayed, and marked.
            StoreError: they can't be marked. Replaying them again does no harm.
        """
        replayed = halves = missing = 0
        for some in _batches(letters, BATCH):
            others, lost = self._others(some)
            # The other halves first: what waits there must be met by what comes.
            self._send([(self._topic_of[Role(half.role)], *self._placed(half)) for half in others])
            places = self._send(
                [
                    (one.source_topic, self._partition(one), one.payload or b"", one.dead_letter_id)
                    for one in some
                ]
            )
            ids = [letter.dead_letter_id for letter in some]
            self._letters.mark(State.REPLAYED, zip(ids, places, strict=True), self._actor, at)
            replayed, halves, missing = replayed + len(some), halves + len(others), missing + lost
            progress(len(some))
        return Done(replayed, halves, missing)

    def _partition(self, letter: Letter) -> int:
        return partition_for(letter, self._partitions[letter.source_topic])

    def _placed(self, half: Response) -> tuple[int, bytes, str]:
        topic = self._topic_of[Role(half.role)]
        return partition_of(half.request_id, self._partitions[topic]), encode(half), half.request_id

    def _others(self, letters: Sequence[Letter]) -> tuple[list[Response], int]:
        """The halves that went out alone because of these letters, and how many of them can't be made again."""
        wanted = {
            letter.request_id: wanted_of(self._sides[letter.source_topic])
            for letter in letters
            if letter.request_id and letter.source_topic in self._sides
        }
        keys = [
            (rollout.name, rollout.epoch, pair_id(request_id, rollout.name, rollout.epoch))
            for rollout in self._settings.rollouts
            for request_id in wanted
        ]
        found: list[Response] = []
        missing = 0
        for row in self._rows(UNPAIRED, {"keys": keys}) if keys else []:
            try:
                half = half_of(row)
                if half is not None:
                    encode(half)
            except (CodecError, ValueError):  # a row that somebody else wrote
                half = None
            if half is None:
                missing += 1
            elif half.role == wanted[half.request_id]:
                found.append(half)
        return found, missing

    def _send(self, records: Sequence[tuple[str, int, bytes, str]]) -> list[str]:
        """(topic, partition, bytes, what it is) to Kafka; gives where each stands, once all are acknowledged."""
        places: dict[int, str] = {}
        failed: Counter[str] = Counter()

        def delivered(number: int, error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed[error.str()] += 1
            else:
                places[number] = f"{message.topic()}:{message.partition()}:{message.offset()}"

        for number, (topic, partition, value, what) in enumerate(records):
            headers: list[tuple[str, str | bytes | None]] = [
                (REPLAYED, what.encode("utf-8", "surrogatepass"))
            ]
            try:
                self._producer.produce(
                    topic,
                    value,
                    partition=partition,
                    headers=headers,
                    on_delivery=partial(delivered, number),
                )
            except KafkaException as exc:
                failed[exc.args[0].str()] += 1
        left = self._producer.flush(DELIVERED_S)
        if failed or left:
            why = "; ".join(failed) or f"no answer within {DELIVERED_S:g} s"
            raise BrokerError(
                f"{failed.total() + left} of {len(records)} records were not written ({why}); those of the batches "
                "before are replayed, and marked as such"
            )
        return [places[number] for number in range(len(records))]


def _batches(letters: Iterable[Letter], size: int) -> Iterator[list[Letter]]:
    some: list[Letter] = []
    for letter in letters:
        some.append(letter)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
