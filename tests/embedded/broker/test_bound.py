"""The bound on what the embedded broker keeps, without the broker: who is refused, and from when to when."""

from pathlib import Path
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.embedded.broker.log import Batch, PartitionLog
from shadowlane.embedded.broker.objects import Objects

SIZE = 100_000
LIMIT = 20 * (SIZE + 2048)  # a file takes half a page more, on average
FOLDER = "clusters/c/topics/t.requests/partitions/0/records"
COMMITTED = "clusters/c/groups/consumers/g/offsets/t.requests/partitions/0.json"


def write(objects: Objects, count: int, base: int = 0) -> None:
    for offset in range(base, base + count):
        objects.put(f"{FOLDER}/{offset:020}.batch", bytes(SIZE))


def commit(objects: Objects, offset: int) -> str:
    objects.put(COMMITTED, orjson.dumps({"offset": offset}))
    return objects.tidy().refusing


def test_who_is_refused_is_served_again_once_a_tenth_is_free(tmp_path: Path) -> None:
    objects = Objects(tmp_path, LIMIT)
    write(objects, 19)
    assert objects.tidy().refusing == ""
    write(objects, 1, 19)
    assert objects.tidy().refusing.startswith("the mirrors")
    assert commit(objects, 2).startswith("the mirrors")  # 18 of 20
    assert commit(objects, 3) == ""
    write(objects, 2, 20)
    assert objects.tidy().refusing == ""  # 19 of 20: it begins at the bound alone


def test_twice_the_bound_refuses_all_and_lets_the_components_in_first(tmp_path: Path) -> None:
    objects = Objects(tmp_path, LIMIT)
    write(objects, 40)
    assert objects.tidy().refusing.startswith("all producers")
    assert commit(objects, 4).startswith("all producers")
    assert commit(objects, 5).startswith("the mirrors")
    assert commit(objects, 22).startswith("the mirrors")
    assert commit(objects, 23) == ""


class Counted(list[Batch]):
    """How many batches are taken out of it."""

    looked = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.looked += len(found) if isinstance(key, slice) else 1
        return found


def test_to_tidy_does_not_go_through_all_that_was_read_and_is_kept(tmp_path: Path) -> None:
    objects = Objects(tmp_path, 2**30)
    write(objects, 1)
    log = next(iter(objects._logs.values()))
    log.batches = many = Counted(Batch(at, at + 1, 100, float(at)) for at in range(10_000))
    log.bytes = 100 * len(many)
    objects.put(COMMITTED, orjson.dumps({"offset": 9_990}))
    assert objects.tidy().unread == 10 * (100 + 2048)
    assert many.looked < 200


@given(st.lists(st.integers(1, 9)), st.data())
def test_the_size_of_the_first_batches(sizes: list[int], data: st.DataObject) -> None:
    log = PartitionLog()
    for at, size in enumerate(sizes):
        log.add(Batch(at, at + 1, size, float(at)))
    count = data.draw(st.integers(0, len(sizes)))
    assert log.size_of(count) == sum(sizes[:count])
