"""The broker's own sense of time: what somebody does to the machine's clock changes nothing that readers are given."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from shadowlane.embedded.broker import objects as module
from shadowlane.embedded.broker.objects import NOTHING, Objects

FOLDER = "clusters/c/topics/t.requests/partitions/0/records/"
STEP_S = 0.05


@dataclass
class Clock:
    """Stands in for the module ``time``."""

    wall: float = 1_795_000_000.0
    passed: float = 500.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.passed

    def time_ns(self) -> int:
        return int(self.wall * 1e9)

    def go_on(self) -> None:
        self.wall += STEP_S
        self.passed += STEP_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def batch() -> bytes:
    head = bytearray(61)
    head[8:12] = (61 - 12).to_bytes(4, "big")
    return bytes(head)


def followed(objects: Objects, clock: Clock, first: int, count: int) -> int:
    """One batch after the other is written, and read by one who follows; how many a list shows at the end."""
    for offset in range(first, first + count):
        clock.go_on()
        name = f"{FOLDER}{offset:020}.batch"
        objects.put(name, batch())
        assert name in [shown for shown, *_ in objects.names(FOLDER, objects.now())]
        found = objects.get(name, objects.now())
        assert found is not None
        assert found.body != NOTHING
    return len(list(objects.names(FOLDER, objects.now())))


def test_a_list_stays_short_where_the_clock_goes_back(tmp_path: Path, clock: Clock) -> None:
    objects = Objects(tmp_path, 2**30)
    before = followed(objects, clock, 0, 200)
    clock.wall -= 3600
    assert followed(objects, clock, 200, 200) <= before + 2


def test_what_is_written_after_a_start_is_later_than_what_is_there(tmp_path: Path, clock: Clock) -> None:
    objects = Objects(tmp_path, 2**30)
    followed(objects, clock, 0, 1)
    for path in tmp_path.rglob("*.batch"):
        os.utime(path, (clock.wall, clock.wall))
    clock.wall -= 3600
    objects = Objects(tmp_path, 2**30)
    followed(objects, clock, 1, 1)
    first, second = (stamp for _, _, stamp in objects.names(FOLDER, objects.now()))
    assert first < second <= objects.now()
