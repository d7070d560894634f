"""How long requests and answers were, from the mirror to the views, whatever became of their content."""

import dataclasses
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from clickhouse_connect.driver.client import Client

from shadowlane.processors.pairing.join import Match
from shadowlane.processors.pairing.records import pair_of, shortened
from shadowlane.processors.store import connect, insert_lines
from shadowlane.processors.worker.question import Question
from shadowlane.processors.worker.target import Plan
from shadowlane.producers.capture import TOKEN_KEY
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import ClickHouse, Rollout, Worker
from shadowlane.schemas.events import MirroredRequest, Pair, Response
from tests.databases import migrated
from tests.producers.support import FakeMirror
from tests.services import ClickHouseAddress

ROLLOUT = Rollout.model_validate(
    {"name": "r", "candidate": {"base_url": "http://127.0.0.1:1", "model": "new"}}
)
PLAN = Plan.of(ROLLOUT, Worker())
BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "größer?"}]})
ANSWER = "größer als zuvor"
SIZES = "SELECT request_bytes, stable_bytes, candidate_bytes FROM {} ORDER BY request_id"


@pytest.fixture
def settings(clickhouse: ClickHouseAddress) -> Iterator[ClickHouse]:
    with migrated(clickhouse) as settings:
        yield settings


@pytest.fixture
def client(settings: ClickHouse) -> Iterator[Client]:
    client = connect(settings)
    yield client
    client.close()


def stored(client: Client, settings: ClickHouse, *lines: bytes, log: str = "pair_log") -> None:
    insert_lines(client, settings, log, b"\n".join(lines), uuid.uuid4().hex)


def mirrored(body: bytes, **settings: Any) -> tuple[MirroredRequest, Response]:
    fake = FakeMirror(**settings)
    exchange = fake.mirror.begin("/chat", "openai.chat")
    assert exchange is not None
    exchange.request(body)
    answer = {"model": "m-2", "choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}]}
    exchange.end(200, orjson.dumps(answer), "application/json")
    return fake.one()


def paired(request: MirroredRequest, served: Response, output: str = "") -> Pair:
    """As the worker and pairing make it of what is on Kafka."""
    question = Question.of(decode(MirroredRequest, encode(request)), PLAN)
    shadow = decode(Response, encode(dataclasses.replace(question.response, output=output)))
    if question.refused is not None and question.refused.failure:
        shadow.error = question.refused.failure
    return pair_of(Match("id", ROLLOUT, PLAN.epoch, served, shadow, []), None)


@pytest.mark.parametrize("content", ["hashed", "metadata"])
def test_what_goes_without_its_text_keeps_its_size(
    client: Client, settings: ClickHouse, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv(TOKEN_KEY, "a key of the tests, no secret")
    request, served = mirrored(BODY, content=content)
    stored(client, settings, encode(paired(request, served)))
    assert client.query(SIZES.format("abstained")).result_rows == [(len(BODY), len(ANSWER.encode()), None)]
    text = client.query("SELECT stable_output FROM abstained").result_rows[0][0]
    assert ANSWER not in text


def test_a_half_alone_has_them_too(client: Client, settings: ClickHouse) -> None:
    _, served = mirrored(BODY, content="metadata")
    stored(client, settings, encode(pair_of(Match("id", ROLLOUT, "e", served, None, []), None)))
    assert client.query(SIZES.format("unpaired")).result_rows == [(len(BODY), len(ANSWER.encode()), None)]


def test_what_is_not_compared_leaves_its_size(client: Client, settings: ClickHouse) -> None:
    _, served = mirrored(BODY, content="full")
    stored(client, settings, encode(pair_of(Match("id", None, "", served, None, []), None)))
    assert client.query(SIZES.format("unpaired")).result_rows == [(None, len(ANSWER.encode()), None)]


def test_what_went_out_whole_is_measured_in_the_store(client: Client, settings: ClickHouse) -> None:
    request, served = mirrored(BODY, content="full")
    pair = paired(request, served, output="größer")
    stored(client, settings, encode(pair))
    ((asked, stable, candidate),) = client.query(SIZES.format("pairs")).result_rows
    assert asked == len(client.query("SELECT request FROM pairs").result_rows[0][0].encode())
    assert (stable, candidate) == (len(ANSWER.encode()), len("größer".encode()))
    again = dataclasses.replace(pair, pair_id="id:noise")
    stored(client, settings, encode(again), log="noise_log")
    noise = client.query("SELECT request_bytes, stable_bytes, again_bytes FROM noise_pairs").result_rows
    assert noise == [(asked, stable, candidate)]


def test_what_was_cut_for_kafka_has_the_size_of_the_whole(client: Client, settings: ClickHouse) -> None:
    request, served = mirrored(BODY, content="full")
    pair = paired(request, served, output="x" * 200_000)
    cut = shortened(decode(Pair, encode(pair)))
    assert len(cut.candidate_output) < 200_000
    stored(client, settings, encode(cut))
    ((asked, _, candidate),) = client.query(SIZES.format("pairs")).result_rows
    assert (asked, candidate) == (
        len(orjson.dumps(cut.request or decode(Pair, encode(pair)).request)),
        200_000,
    )


def test_a_body_that_is_no_json_has_a_size() -> None:
    request, served = mirrored(b"what?", content="full")
    assert request.without_content == "request_not_json"
    assert paired(request, served).request_bytes == len(b"what?")


def test_records_of_before_are_read_and_stored(client: Client, settings: ClickHouse) -> None:
    pair = Pair(
        pair_id="p",
        request_id="q",
        rollout="r",
        epoch="e",
        stage="shadow",
        service="s",
        route="/",
        ts=1,
        completed_at=2,
        outcome="scored",
        stable_output="four",
        candidate_output="seven",
    )
    older = orjson.loads(encode(pair))
    for name in ("request_bytes", "stable_output_bytes", "candidate_output_bytes"):
        del older[name]
    assert decode(Pair, orjson.dumps(older)) == pair
    stored(client, settings, orjson.dumps(older))
    assert client.query(SIZES.format("pairs")).result_rows == [(None, 4, 5)]
