"""Replayed through a real broker and a real store: what can be read by now ends as scored, the rest as before."""

import json
from pathlib import Path

from shadowlane.schemas.codec import dead_letter, encode, pack
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.events import MirroredRequest, Response
from shadowlane.schemas.topics import partition_of
from tests.processors.dead_letters.scene import PARTITIONS, Scene, until
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.services import ClickHouseAddress, KafkaAddress

LEDGER = "SELECT row, reason, sum(requests) FROM ledger GROUP BY row, reason ORDER BY row, reason"
STATES = "SELECT request_id, component, state FROM dead_letters ORDER BY request_id, ts"


def test_what_is_mended_is_scored_and_what_is_not_is_a_letter_again(
    kafka: KafkaAddress, clickhouse: ClickHouseAddress, tmp_path: Path
) -> None:
    with FakeCandidate().running() as candidate:
        rollout = {
            "name": "r",
            "match": {"service": "shop"},
            "stable": {"model": "old"},
            "candidate": {"base_url": candidate.base_url, "model": "new"},
        }
        scene = Scene(tmp_path, kafka, clickhouse, rollouts=[rollout], pairing={"wait_s": 1.0})
        epoch = Rollout.model_validate(rollout).epoch
        topics, client = scene.topics, scene.store()

        def half(request_id: str, side: str) -> bytes:
            one = Response(
                request_id=request_id,
                ts=60_000,
                completed_at=2,
                service="shop",
                route="/",
                role=side,
                output="ok",
            )
            if side == "shadow":
                one.arm, one.rollout, one.epoch = "candidate", "r", epoch
            return encode(one)

        def buried(line: bytes, topic: str, component: str) -> bytes:
            """As a component wrote it that could not read such a record yet."""
            return encode(
                dead_letter(
                    line,
                    "schema_version 2 is newer",
                    component=component,
                    topic=topic,
                    partition=0,
                    offset=len(line),
                    number=0,
                    ts=60_000,
                )
            )

        body = {"model": "old", "messages": [{"role": "user", "content": "ok"}]}
        asked = MirroredRequest(
            request_id="asked",
            ts=60_000,
            service="shop",
            route="/",
            protocol="openai.chat",
            model="old",
            body=body,
        )
        torn = b'{"request_id": "torn", "ts":'
        letters = [
            buried(encode(asked), topics.requests, "worker"),
            buried(half("answered", "served"), topics.served, "pairing"),
            buried(torn, topics.requests, "worker"),
        ]
        scene.produce(topics.dead_letters, pack(letters))
        for request_id, side, topic in (
            ("asked", "served", topics.served),
            ("torn", "served", topics.served),
            ("answered", "shadow", topics.shadow),
        ):
            scene.produce(topic, half(request_id, side), partition=partition_of(request_id, PARTITIONS))

        with scene.running("pairing"), scene.running("sink"), scene.running("worker"):
            until(
                lambda: client.query("SELECT count() FROM unpaired").result_rows == [(3,)],
                "their halves went out",
            )
            assert client.query(LEDGER).result_rows == [
                ("dead_lettered", "pairing", 1),
                ("dead_lettered", "worker", 2),
            ]

            said = scene.shadowlane("dlq", "replay", "--reason", "newer", "--yes", "--by", "ann")
            assert "3 replayed, with 3 halves of pairs that wait for them" in said
            until(
                lambda: (
                    client.query(LEDGER).result_rows == [("dead_lettered", "worker", 1), ("scored", "", 2)]
                ),
                "two are scored, and one is a dead letter as before",
            )
            until(
                lambda: (
                    client.query(STATES).result_rows
                    == [
                        ("answered", "pairing", "replayed"),
                        ("asked", "worker", "replayed"),
                        ("torn", "worker", "replayed"),
                        ("torn", "worker", "open"),
                    ]
                ),
                "the torn one is a new letter",
            )
            until(
                lambda: scene.committed("worker", topics.requests) == 2,
                "it does not come again by itself",
            )
        again = json.loads(scene.shadowlane("dlq", "list", "--json"))
        assert [letter["request_id"] for letter in again["letters"]] == ["torn"]
        done = json.loads(scene.shadowlane("dlq", "list", "--json", "--handled", "--request", "asked"))
        (asked_letter,) = done["letters"]
        assert asked_letter["replayed_by"] == "ann"
        assert asked_letter["went_to"].startswith(f"{topics.requests}:{partition_of('asked', PARTITIONS)}:")
        assert "nothing to replay" in scene.shadowlane("dlq", "replay", "--reason", "newer", "--yes")
