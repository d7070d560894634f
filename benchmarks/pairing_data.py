"""What benchmarks/pairing.py pairs: halves that look like a chat service's, and how they get into the topics."""

from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic, Producer

from shadowlane.processors.kafka import client_options, ensure_topics, producer_options
from shadowlane.schemas.codec import encode, pack
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Response
from shadowlane.schemas.topics import partition_of

SENTENCE = 128  # characters

Lines = dict[int, tuple[list[bytes], list[bytes]]]  # by partition: served, shadow


@dataclass(frozen=True)
class Load:
    """How much there is: ``size`` characters of output on each side, ``envelope`` records a message."""

    pairs: int = 32_000
    size: int = 1024
    partitions: int = 4
    envelope: int = 32


def configure(bootstrap: str, prefix: str, load: Load, *, scored: bool) -> Settings:
    rollout: dict[str, Any] = {"name": "bench", "candidate": {"base_url": "http://127.0.0.1"}}
    if not scored:
        rollout["scorers"] = []
    kafka = {"bootstrap_servers": bootstrap, "topic_prefix": prefix, "partitions": load.partitions}
    return Settings.model_validate(
        {
            "kafka": kafka,
            "rollouts": [rollout],
            "monitoring": {"pairing_port": 0},
        }  # two may run beside each other
    )


def records(load: Load) -> Lines:
    """Both halves of each request. In an eighth of its sentences the candidate says something else."""
    lines: Lines = {partition: ([], []) for partition in range(load.partitions)}
    common: dict[str, Any] = {"ts": 1_700_000_000_000, "completed_at": 1_700_000_000_900, "service": "s"}
    common |= {"route": "/v1/chat", "model": "m", "finish_reason": "stop", "status": 200, "latency_ms": 512.5}
    common |= {"input_tokens": 200, "output_tokens": 220, "attributes": {"tenant": "t1"}}
    random, prose = Random(7), sentences(Random(8))
    for number in range(load.pairs):
        request_id = f"{number:032x}"
        said = random.choices(prose, k=load.size // SENTENCE)
        other = [random.choice(prose) if place % 8 == 0 else one for place, one in enumerate(said)]
        served = Response(request_id=request_id, role="served", output="".join(said), **common)
        shadow = Response(
            request_id=request_id,
            role="shadow",
            arm="candidate",
            rollout="bench",
            epoch="EPOCH",
            output="".join(other),
            request={"model": "m", "messages": [{"role": "user", "content": "where is my order?"}]},
            **common,
        )
        for side, record in zip(
            lines[partition_of(request_id, load.partitions)], (served, shadow), strict=True
        ):
            side.append(encode(record))
    return lines


def sentences(random: Random) -> list[str]:
    """20,000 of them. Words come again, as in prose; whole texts don't, or they would compress to nothing."""
    vocabulary = [
        "".join(random.choices("etaoinshrdlucmfw", range(16, 0, -1), k=random.randint(2, 9)))
        for _ in range(3000)
    ]
    words = iter(random.choices(vocabulary, [1 / (rank + 5) for rank in range(3000)], k=700_000))
    found: list[str] = []
    for _ in range(20_000):
        sentence = next(words).capitalize()
        while len(sentence) < SENTENCE - 2:
            sentence += " " + next(words)
        found.append(sentence[: SENTENCE - 2] + ". ")
    return found


def fill(settings: Settings, lines: Lines, load: Load, *, single: bool = False) -> None:
    """Writes all of it. ``single``: a record a message, with the request's id as its key; else envelopes."""
    topics, epoch = settings.kafka.topics, settings.rollouts[0].epoch.encode()
    # quixstreams derives its changelog's retention from theirs, and the embedded broker tells only what was set.
    kept = {"retention.ms": "604800000"}
    inputs = [NewTopic(topic, load.partitions, 1, config=kept) for topic in (topics.served, topics.shadow)]
    admin = AdminClient(client_options(settings.kafka, "bench"))
    for made in admin.create_topics(inputs).values():
        with suppress(KafkaException):  # it is there already
            made.result()
    ensure_topics(settings.kafka)
    producer = Producer(
        producer_options(settings.kafka, "bench") | {"queue.buffering.max.messages": 1_000_000}
    )
    for partition, sides in lines.items():
        for topic, side in zip((topics.served, topics.shadow), sides, strict=True):
            step = 1 if single else load.envelope
            for start in range(0, len(side), step):
                envelope = pack(side[start : start + step]).replace(b"EPOCH", epoch)
                key = envelope[15:47] if single else b"%d" % partition  # {"request_id":"
                while True:
                    try:
                        producer.produce(topic, envelope, key=key, partition=partition)
                        break
                    except BufferError:
                        producer.poll(0.1)
                producer.poll(0)
    assert producer.flush(120) == 0
