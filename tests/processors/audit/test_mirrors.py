"""What the mirrors say adds up with what came, or the difference is named, to the request."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.audit.mirrors import MINUTE_MS, OTHER_ROUTES, Cell, Minute, balance

OLD = 100 * MINUTE_MS
QUIET = 200 * MINUTE_MS  # minutes before it must be told whole

places = st.tuples(
    st.integers(0, 5).map(lambda n: OLD + n * MINUTE_MS),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["/", "/x"]),
)
rows = st.fixed_dictionaries(
    {name: st.integers(0, 20) for name in ("sampled_out", "dropped", "stored", "under_way")}
)
worlds = st.dictionaries(places, rows, min_size=1, max_size=8)
World = dict[Minute, dict[str, int]]


def cells(world: World) -> list[Cell]:
    """What mirrors say of it that have counted everything."""
    found = []
    for (minute, service, route), row in world.items():
        mirrored = row["stored"] + row["under_way"]
        counts = {"sampled_out": row["sampled_out"], "dropped": row["dropped"], "mirrored": mirrored}
        counts["eligible"] = sum(counts.values())
        found += [Cell(minute, service, route, name, count) for name, count in counts.items()]
    return found


def came(world: World, name: str) -> Counter[Minute]:
    return Counter({place: row[name] for place, row in world.items()})


@given(worlds)
def test_what_was_counted_and_came_adds_up(world: World) -> None:
    assert balance(cells(world), came(world, "stored"), came(world, "under_way"), QUIET) == []


@given(worlds, st.data(), st.integers(1, 9))
def test_what_was_mirrored_and_did_not_come_is_gone_however_young(
    world: World, data: st.DataObject, n: int
) -> None:
    minute, service, route = data.draw(st.sampled_from(sorted(world)))
    more = [Cell(minute, service, route, row, n) for row in ("eligible", "mirrored")]
    for quiet in (0, QUIET):
        (found,) = balance([*cells(world), *more], came(world, "stored"), came(world, "under_way"), quiet)
        assert (found.minute, found.service, found.route) == (minute, service, route)
        assert (found.gone, found.uncounted) == (n, 0)


@given(worlds, st.data(), st.integers(1, 9))
def test_what_no_mirror_has_decided_is_a_fault_once_it_is_old(
    world: World, data: st.DataObject, n: int
) -> None:
    minute, service, route = data.draw(st.sampled_from(sorted(world)))
    said = [*cells(world), Cell(minute, service, route, "eligible", n)]
    (found,) = balance(said, came(world, "stored"), came(world, "under_way"), QUIET)
    assert (found.gone, found.undecided, found.uncounted) == (0, n, 0)
    assert balance(said, came(world, "stored"), came(world, "under_way"), 0) == []


@given(worlds, st.data(), st.integers(1, 9))
def test_what_came_uncounted_shows_once_nothing_is_under_way(
    world: World, data: st.DataObject, n: int
) -> None:
    place = data.draw(st.sampled_from(sorted(world)))
    stored = came(world, "stored") + Counter({place: n})
    found = balance(cells(world), stored, came(world, "under_way"), QUIET)
    assert sum(one.uncounted for one in found) == max(0, n - world[place]["under_way"])
    assert all(not one.gone and not one.undecided for one in found)


@given(worlds)
def test_where_a_mirror_saw_too_many_routes_its_services_are_weighed_whole(world: World) -> None:
    folded = [Cell(cell.minute, cell.service, OTHER_ROUTES, cell.row, cell.count) for cell in cells(world)]
    assert balance(folded, came(world, "stored"), came(world, "under_way"), QUIET) == []
