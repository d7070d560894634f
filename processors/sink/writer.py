"""One block into the store; what ClickHouse can't read of it, to the dead letters."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from shadowlane.errors import CodecError, PoisonError
from shadowlane.processors.dead_letters.limit import PoisonLimit
from shadowlane.processors.sink.blocks import Block
from shadowlane.processors.store import BadRowsError
from shadowlane.schemas.codec import dead_letter, decode, encode, unpack
from shadowlane.schemas.events import DeadLetter, LedgerCell, Pair
from shadowlane.schemas.topics import Topics

log = logging.getLogger("shadowlane.sink")

Insert = Callable[[str, bytes, str], None]
"""(table, JSON lines, token); raises BadRowsError, or StoreError."""
Decode = Callable[[bytes], object]
"""One line's record; raises CodecError."""
Bury = Callable[[list[DeadLetter]], None]
"""Returns once Kafka has acknowledged all of them; raises BrokerError."""


class Line(NamedTuple):
    """One record, where it stood, and when that came to Kafka (Unix milliseconds)."""

    offset: int
    number: int  # from 0, in its envelope
    text: bytes
    stamp: int


Refused = Callable[[Line, str], None]
"""(a line that can't be read, why)."""


class Writer:
    """Writes blocks. Blocks until a block's rows and dead letters are kept.

    A block goes in as it came, undecoded. Only where ClickHouse refuses it is each line looked at: the lines
    that are no such record become dead letters, and so do those that ClickHouse alone can't read, found by
    halving what is left.
    """

    def __init__(self, topics: Topics, insert: Insert, bury: Bury, limit: PoisonLimit) -> None:
        self._insert = insert
        self._bury = bury
        self._limit = limit
        self._dead_letters = topics.dead_letters
        self._tables: dict[str, tuple[str, Decode]] = {
            topics.pairs: ("pair_log", partial(decode, Pair)),
            topics.noise: ("noise_log", partial(decode, Pair)),
            topics.ledger: ("ledger_log", partial(decode, LedgerCell)),
            topics.dead_letters: ("dead_letter_log", partial(decode, DeadLetter)),
        }

    def write(self, block: Block) -> int:
        """Writes one block, and gives how many of its lines became dead letters.

        Writing a block again, wholly or partly written before, changes nothing.

        Raises:
            StoreError: ClickHouse is away, or refuses for a reason that is not the rows': try again.
            BrokerError: the dead letters could not be written: try again.
            PoisonError: too many lines can't be read. The block is written in part; the letters that the limit
                allows are in the store, to be looked at.
        """
        if not block.rows:
            return 0
        table, read = self._tables[block.partition[0]]
        try:
            self._insert(table, block.lines(), block.token)
        except BadRowsError as exc:
            log.warning(
                "ClickHouse refuses the block %s (its code %d), so each line is looked at",
                block.token,
                exc.code,
            )
            return self._sort_out(block, table, read)
        return 0

    def _sort_out(self, block: Block, table: str, read: Decode) -> int:
        letters: list[DeadLetter] = []
        try:
            self._insert_readable(table, block, read, letters)
        except PoisonError:
            # The block comes again, and its letters then go through Kafka: they are the same, by their ids.
            self._keep(block, letters)
            raise
        if block.partition[0] != self._dead_letters:
            self._bury(letters)
        else:  # to bury these would bring them back here
            self._keep(block, letters)
        return len(letters)

    def _insert_readable(self, table: str, block: Block, read: Decode, letters: list[DeadLetter]) -> None:
        """Inserts what can be read, and adds a letter for each line that can't to ``letters``."""
        now = int(time.time() * 1000)
        good: list[Line] = []

        def refused(line: Line, reason: str) -> None:
            letter = self._letter(block, line, reason, now)
            if not self._limit.admit(letter, line.stamp):
                assert self._limit.error is not None
                raise self._limit.error
            letters.append(letter)

        for offset, value, stamp in zip(block.offsets, block.values, block.stamps, strict=True):
            for number, text in unpack(value):
                line = Line(offset, number, text, stamp)
                try:
                    read(text)
                except CodecError as exc:
                    refused(line, str(exc))
                else:
                    good.append(line)
        self._halve(table, block, good, refused)

    def _halve(self, table: str, block: Block, lines: list[Line], refused: Refused) -> None:
        """Inserts what ClickHouse can read of ``lines``, and hands the others to ``refused``."""
        if not lines:
            return
        a, b = lines[0], lines[-1]
        token = f"{block.token}/{a.offset}.{a.number}-{b.offset}.{b.number}"
        try:
            self._insert(table, b"\n".join(line.text for line in lines), token)
        except BadRowsError as exc:
            if len(lines) == 1:
                refused(lines[0], str(exc))
                return
            middle = len(lines) // 2
            self._halve(table, block, lines[:middle], refused)
            self._halve(table, block, lines[middle:], refused)

    def _letter(self, block: Block, line: Line, reason: str, now: int) -> DeadLetter:
        topic, partition = block.partition
        return dead_letter(
            line.text,
            reason,
            component="sink",
            topic=topic,
            partition=partition,
            offset=line.offset,
            number=line.number,
            ts=now,
        )

    def _keep(self, block: Block, letters: list[DeadLetter]) -> None:
        lines = [Line(letter.source_offset, letter.source_line, encode(letter), 0) for letter in letters]

        def refused(line: Line, _reason: str) -> None:
            log.error(
                "ClickHouse refuses the dead letter at %s, offset %d, line %d: it stays in Kafka alone",
                block.partition,
                line.offset,
                line.number,
            )

        self._halve("dead_letter_log", block, lines, refused)
