"""The bound on what the embedded broker keeps, without the broker: who is refused, and from when to when."""

from pathlib import Path

import orjson

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
