"""What the mirrors say against what came: the ledger's equation, by minute, service and route. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MINUTE_MS = 60_000
OTHER_ROUTES = "(other)"
"""Where a mirror books routes once it has seen too many (:mod:`shadowlane.producers.ledger`)."""

Minute = tuple[int, str, str]
"""Its start in Unix milliseconds, service, route."""
CellKey = tuple[str, int, str, str, str, str]
"""Instance, minute, service, route, row, reason."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Requests of one minute in one row of the mirrors' ledgers."""

    minute: int
    service: str
    route: str
    row: str
    count: int


@dataclass(frozen=True, slots=True)
class Balance:
    """One minute of a service and route. ``came``: requests of which Kafka or the store has something.

    ``gone`` were acknowledged by Kafka, as a mirror says, and are in neither. ``undecided`` were counted as
    eligible, and no mirror has said what became of them. ``uncounted`` came, and no mirror has counted them.
    """

    minute: int
    service: str
    route: str
    eligible: int
    sampled_out: int
    dropped: int
    mirrored: int
    came: int
    gone: int
    undecided: int
    uncounted: int


def balance(
    cells: Iterable[Cell], stored: Mapping[Minute, int], under_way: Mapping[Minute, int], settled_before: int
) -> list[Balance]:
    """The minutes that don't add up, in order. ``stored`` and ``under_way`` are what came.

    A request may be in both, as it was stored meanwhile: that hides nothing for longer than it is under way.

    ``cells`` must have been read before them: a request is counted as mirrored once Kafka has it, so that
    then no more can have been mirrored than came. What is not said yet is a fault in minutes before
    ``settled_before`` alone (Unix milliseconds).
    """
    totals: dict[Minute, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for cell in cells:
        totals[cell.minute, cell.service, cell.route][cell.row] += cell.count
    pooled = {(minute, service) for minute, service, route in totals if route == OTHER_ROUTES}
    whole: dict[Minute, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (minute, service, route), rows in totals.items():
        place = (minute, service, OTHER_ROUTES if (minute, service) in pooled else route)
        for row, count in rows.items():
            whole[place][row] += count
    for name, came in (("stored", stored), ("under_way", under_way)):
        for (minute, service, route), count in came.items():
            place = (minute, service, OTHER_ROUTES if (minute, service) in pooled else route)
            whole[place][name] += count
    found = []
    for (minute, service, route), rows in sorted(whole.items()):
        eligible, sampled_out, dropped = rows["eligible"], rows["sampled_out"], rows["dropped"]
        mirrored, there = rows["mirrored"], rows["stored"] + rows["under_way"]
        said = eligible - sampled_out - dropped - max(mirrored, there)
        settled = minute + MINUTE_MS <= settled_before
        one = Balance(
            minute,
            service,
            route,
            eligible,
            sampled_out,
            dropped,
            mirrored,
            there,
            gone=max(0, mirrored - there),
            undecided=max(0, said) if settled else 0,
            uncounted=max(0, -said - rows["under_way"]) if settled else 0,
        )
        if one.gone or one.undecided or one.uncounted:
            found.append(one)
    return found
