"""The writer against a store in memory that refuses what ClickHouse would."""

import orjson
import pytest

from shadowlane.errors import BrokerError, PoisonError, StoreError
from shadowlane.processors.dead_letters.limit import PoisonLimit
from shadowlane.processors.sink.blocks import Block
from shadowlane.processors.sink.writer import Writer
from shadowlane.processors.store import BadRowsError
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import DeadLetters
from shadowlane.schemas.events import DeadLetter, Pair
from shadowlane.schemas.topics import Topics

TOPICS = Topics("t")


class Store:
    """Keeps lines by table, once for each token. Refuses lines with ``refused`` in them, and no JSON."""

    def __init__(self) -> None:
        self.rows: dict[str, list[bytes]] = {}
        self.tokens: set[str] = set()
        self.inserts = 0
        self.away = False

    def insert(self, table: str, lines: bytes, token: str) -> None:
        self.inserts += 1
        if self.away:
            raise StoreError("away")
        read = [line for line in lines.split(b"\n") if line.strip()]
        for line in read:
            if b"refused" in line or not line.startswith(b"{"):
                raise BadRowsError("can't read")
        if token not in self.tokens:
            self.tokens.add(token)
            self.rows.setdefault(table, []).extend(read)


class Graveyard:
    def __init__(self) -> None:
        self.letters: dict[str, DeadLetter] = {}
        self.closed = False

    def bury(self, letters: list[DeadLetter]) -> None:
        if self.closed:
            raise BrokerError("closed")
        self.letters |= {letter.dead_letter_id: letter for letter in letters}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def graveyard() -> Graveyard:
    return Graveyard()


@pytest.fixture
def writer(store: Store, graveyard: Graveyard) -> Writer:
    return Writer(TOPICS, store.insert, graveyard.bury, PoisonLimit(DeadLetters(limit=10), "sink"))


def pair(number: int, **fields: object) -> bytes:
    known: dict[str, object] = {
        "pair_id": f"{number}:r:e",
        "request_id": str(number),
        "rollout": "r",
        "epoch": "e",
        "stage": "shadow",
        "service": "s",
        "route": "/",
        "ts": 1,
        "completed_at": 2,
        "outcome": "scored",
    }
    return encode(Pair(**known | fields))  # type: ignore[arg-type]  # any field, by name


def block(*values: bytes, topic: str = TOPICS.pairs) -> Block:
    return Block(
        (topic, 0),
        0.0,
        offsets=list(range(7, 7 + len(values))),
        values=list(values),
        stamps=[5] * len(values),
        rows=sum(value.count(b"\n") + 1 for value in values if value),
    )


def test_a_good_block_is_one_insert(writer: Writer, store: Store) -> None:
    lines = [pair(n) for n in range(4)]
    whole = block(b"\n".join(lines[:3]), lines[3])
    assert writer.write(whole) == 0
    assert store.rows == {"pair_log": lines}
    assert store.tokens == {whole.token}


def test_a_block_of_tombstones_is_no_insert(writer: Writer, store: Store) -> None:
    assert writer.write(block(b"", b"")) == 0
    assert store.inserts == 0


def test_bad_lines_become_dead_letters_and_the_others_rows(
    writer: Writer, store: Store, graveyard: Graveyard
) -> None:
    lines = [pair(n) for n in range(5)]
    bad = [b"[1, 2]", b'{"pair_id": "x", "request_id": "abc"}', pair(9, reason="refused"), b"\xff{"]
    envelopes = [
        b"\n".join([lines[0], bad[0], lines[1], b"", bad[1]]),
        b"\n".join([bad[2], *lines[2:]]) + b"\n",
        bad[3],
    ]
    assert writer.write(block(*envelopes)) == 4
    assert sorted(store.rows["pair_log"]) == sorted(lines)
    letters = {(one.source_offset, one.source_line): one for one in graveyard.letters.values()}
    assert {place: (letter.payload_bytes, letter.request_id) for place, letter in letters.items()} == {
        (7, 1): (len(bad[0]), ""),
        (7, 4): (len(bad[1]), "abc"),
        (8, 0): (len(bad[2]), "9"),
        (9, 0): (len(bad[3]), ""),
    }
    assert {(one.component, one.source_topic) for one in letters.values()} == {("sink", "t.pairs")}
    assert letters[7, 4].reason == "Pair.rollout is missing"


def test_a_refused_block_written_again_changes_nothing(
    writer: Writer, store: Store, graveyard: Graveyard
) -> None:
    again = block(pair(0), pair(1, reason="refused"), pair(2))
    graveyard.closed = True
    with pytest.raises(BrokerError):
        writer.write(again)
    graveyard.closed = False
    for _ in range(2):
        assert writer.write(again) == 1
    assert store.rows["pair_log"] == [pair(0), pair(2)]
    assert len(graveyard.letters) == 1


def test_what_is_wrong_with_the_store_is_nobodys_dead_letter(
    writer: Writer, store: Store, graveyard: Graveyard
) -> None:
    store.away = True
    with pytest.raises(StoreError):
        writer.write(block(pair(0), b"bad"))
    assert graveyard.letters == {}


def test_a_bad_dead_letter_goes_to_the_store_and_not_round_again(
    writer: Writer, store: Store, graveyard: Graveyard
) -> None:
    assert writer.write(block(b"no letter", topic=TOPICS.dead_letters)) == 1
    assert graveyard.letters == {}
    (kept,) = map(orjson.loads, store.rows["dead_letter_log"])
    assert (kept["source_topic"], kept["source_offset"]) == (TOPICS.dead_letters, 7)
    assert kept["payload"] == "no letter"


def test_a_dead_letter_that_the_store_refuses_twice_is_logged(
    writer: Writer, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert writer.write(block(b"refused", topic=TOPICS.dead_letters)) == 1
    assert store.rows == {}
    assert "offset 7, line 0" in caplog.text


@pytest.mark.parametrize("topic", [TOPICS.pairs, TOPICS.dead_letters])
def test_too_many_bad_lines_stop_it_and_those_that_may_be_are_kept_to_be_looked_at(
    store: Store, graveyard: Graveyard, topic: str
) -> None:
    burst = block(*[b"[%d]" % n for n in range(30)], topic=topic)
    with pytest.raises(PoisonError, match="10 records"):
        Writer(TOPICS, store.insert, graveyard.bury, PoisonLimit(DeadLetters(limit=10), "sink")).write(burst)
    assert graveyard.letters == {}
    kept = {decode(DeadLetter, line).source_offset for line in store.rows["dead_letter_log"]}
    assert kept == set(range(7, 17))

    unlimited = PoisonLimit(DeadLetters(limit=0), "sink")
    assert Writer(TOPICS, store.insert, graveyard.bury, unlimited).write(burst) == 30
    ids = {decode(DeadLetter, line).dead_letter_id for line in store.rows["dead_letter_log"]}
    assert len(ids | set(graveyard.letters)) == 30
