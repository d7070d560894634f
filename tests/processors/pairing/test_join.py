"""The join against a model of Kafka: any order, repetitions, late, never; crashes and rebalances anywhere."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shadowlane.processors.pairing.envelopes import Envelope, Unacknowledged
from shadowlane.processors.pairing.join import HALF_BYTES, Join
from shadowlane.processors.pairing.join import Match as Matched
from shadowlane.processors.pairing.matching import Matching
from shadowlane.processors.samples import NoiseSample
from shadowlane.schemas.config import Match, Noise, Rollout
from shadowlane.schemas.events import Outcome, Response, Role, noise_id, pair_id

ROLLOUT = Rollout.model_validate(
    {"name": "r", "match": {"service": "shop"}, "candidate": {"base_url": "http://c"}}
)
WAIT_S = 10.0
MATCHING = Matching([ROLLOUT])
OF_GOLD = ROLLOUT.model_copy(
    update={
        "name": "gold",
        "match": Match(service="shop", attributes={"tier": "gold"}),
        "noise": Noise(rate=0.5),
    }
)
NOISE = NoiseSample(OF_GOLD)
SIDES = (Role.SERVED, Role.SHADOW)


def response(request_id: str, side: Role, **changes: Any) -> Response:
    values: dict[str, Any] = {
        "request_id": request_id,
        "ts": 1,
        "completed_at": 2,
        "service": "shop",
        "route": "/",
        "role": side,
    }
    if side is Role.SHADOW:
        values |= {"rollout": "r", "epoch": ROLLOUT.epoch, "arm": "candidate"}
    return Response(**values | changes)


def envelope(side: Role = Role.SERVED, offset: int = 0) -> Envelope:
    return Envelope(side, 0, offset, lambda: None)


def key(request_id: str) -> str:
    return pair_id(request_id, "r", ROLLOUT.epoch)


@pytest.mark.parametrize("order", [(Role.SERVED, Role.SHADOW), (Role.SHADOW, Role.SERVED)])
def test_two_halves_make_a_pair_in_either_order(order: tuple[Role, Role]) -> None:
    join = Join(MATCHING, WAIT_S)
    first, second = envelope(order[0]), envelope(order[1])
    assert join.take(first, response("a", order[0]), 10, 0.0) is None
    assert join.waiting_bytes((order[0], 0)) == 10 + HALF_BYTES
    match = join.take(second, response("a", order[1]), 10, 9.0)
    assert match is not None
    assert match.served is not None
    assert match.shadow is not None
    assert (match.served.role, match.shadow.role, match.pair_id) == ("served", "shadow", key("a"))
    assert join.waiting_bytes((order[0], 0)) == 0
    assert (first.open, second.open) == (2, 2)  # in flight, neither may be acknowledged
    join.delivered(match)
    assert (first.open, second.open) == (1, 1)  # what is left is their reader
    assert not list(join.in_flight)


def test_a_half_goes_out_alone_when_its_time_is_over() -> None:
    join = Join(MATCHING, WAIT_S)
    join.take(envelope(), response("a", Role.SERVED), 10, 0.0)
    join.take(envelope(), response("b", Role.SERVED), 10, 1.0)
    assert join.expire(9.9, limit=10) == []
    (match,) = join.expire(10.5, limit=10)
    assert match.served is not None
    assert match.served.request_id == "a"
    assert match.shadow is None
    assert match.outcome is Outcome.UNPAIRED
    assert join.waiting == 1


def test_expiry_goes_in_steps() -> None:
    join = Join(MATCHING, WAIT_S)
    for name in "abc":
        join.take(envelope(), response(name, Role.SERVED), 10, 0.0)
    assert [len(join.expire(99.0, limit=2)) for _ in range(3)] == [2, 1, 0]


def test_a_repetition_is_held_as_long_as_its_pair() -> None:
    join = Join(MATCHING, WAIT_S)
    first, again, third, shadow = (envelope(offset=n) for n in range(4))
    shadow.side = Role.SHADOW
    join.take(first, response("a", Role.SERVED, output="first"), 10, 0.0)
    assert join.take(again, response("a", Role.SERVED, output="again"), 10, 0.0) is None
    match = join.take(shadow, response("a", Role.SHADOW), 10, 0.0)
    assert match is not None
    assert match.served is not None
    assert match.served.output == "first"
    assert join.take(third, response("a", Role.SERVED), 10, 0.0) is None
    assert [e.open for e in (first, again, third, shadow)] == [2, 2, 2, 2]
    join.delivered(match)
    assert [e.open for e in (first, again, third, shadow)] == [1, 1, 1, 1]
    after = envelope()
    assert join.take(after, response("a", Role.SERVED), 10, 0.0) is None
    assert after.open == 1
    assert join.counts.repeated == 3


def test_the_other_half_of_what_went_out_alone_is_late() -> None:
    join = Join(MATCHING, WAIT_S)
    join.take(envelope(), response("a", Role.SERVED), 10, 0.0)
    (match,) = join.expire(WAIT_S, limit=10)
    late = envelope(Role.SHADOW)
    assert join.take(late, response("a", Role.SHADOW), 10, WAIT_S) is None
    assert late.open == 2
    join.delivered(match)
    assert late.open == 1
    assert join.take(late, response("a", Role.SHADOW), 10, WAIT_S) is None
    assert (late.open, join.counts.late, join.waiting) == (1, 2, 0)


def test_halves_that_a_person_replays_wait_again_although_their_pair_went_out() -> None:
    join = Join(MATCHING, WAIT_S)
    join.take(envelope(), response("a", Role.SERVED), 10, 0.0)
    (alone,) = join.expire(WAIT_S, 10)
    join.delivered(alone)
    assert join.take(envelope(), response("a", Role.SERVED), 10, WAIT_S, again=True) is None
    match = join.take(envelope(Role.SHADOW), response("a", Role.SHADOW), 10, WAIT_S)
    assert match is not None
    assert match.outcome is Outcome.SCORED
    join.delivered(match)
    assert join.take(envelope(), response("a", Role.SERVED), 10, WAIT_S, again=True) is None
    assert join.waiting == 0  # scored once is scored


@pytest.mark.parametrize(
    ("side", "changes", "count"),
    [
        (Role.SERVED, {"service": "other"}, "no_rollout"),
        (Role.SHADOW, {"service": "other"}, "other_epoch"),
        (Role.SHADOW, {"epoch": "before"}, "other_epoch"),
        (Role.SHADOW, {"rollout": "unknown"}, "other_epoch"),
    ],
)
def test_what_is_not_of_this_configuration_is_resolved_at_once(
    side: Role, changes: dict[str, str], count: str
) -> None:
    join, it = Join(MATCHING, WAIT_S), envelope(side)
    assert join.take(it, response("a", side, **changes), 10, 0.0) is None
    assert (it.open, join.waiting, getattr(join.counts, count)) == (1, 0, 1)


def test_a_served_half_whose_attributes_nobody_takes_goes_out_at_once() -> None:
    join, it, again = Join(Matching([OF_GOLD]), WAIT_S), envelope(), envelope(offset=1)
    match = join.take(it, response("a", Role.SERVED, attributes={"tier": "silver"}), 10, 0.0)
    assert match is not None
    assert (match.pair_id, match.rollout, match.epoch, match.outcome) == ("a::", None, "", Outcome.UNPAIRED)
    assert join.take(again, response("a", Role.SERVED), 10, 0.0) is None
    assert (it.open, again.open, join.waiting) == (2, 2, 0)
    join.delivered(match)
    assert (it.open, again.open, join.counts.no_rollout) == (1, 1, 2)


def test_what_is_of_another_place_or_a_shadow_of_nobodys_is_nothing_to_write() -> None:
    join, it, shadow = Join(Matching([OF_GOLD]), WAIT_S), envelope(), envelope(Role.SHADOW)
    assert join.take(it, response("a", Role.SERVED, service="other"), 10, 0.0) is None
    assert join.take(shadow, response("a", Role.SHADOW, attributes={"tier": "silver"}), 10, 0.0) is None
    assert (it.open, shadow.open, join.counts.no_rollout, join.counts.other_epoch) == (1, 1, 1, 1)


def test_halves_of_a_rollout_that_matches_by_attributes_meet() -> None:
    join = Join(Matching([OF_GOLD, ROLLOUT]), WAIT_S)
    gold, silver = {"attributes": {"tier": "gold"}}, {"attributes": {"tier": "silver"}}
    join.take(envelope(), response("a", Role.SERVED, **gold), 10, 0.0)
    join.take(envelope(), response("b", Role.SERVED, **silver), 10, 0.0)
    shadow = envelope(Role.SHADOW)
    assert join.take(shadow, response("a", Role.SHADOW, **gold), 10, 0.0) is None  # says it is of the other
    match = join.take(shadow, response("a", Role.SHADOW, rollout="gold", **gold), 10, 0.0)
    assert match is not None
    assert match.rollout is OF_GOLD
    match = join.take(shadow, response("b", Role.SHADOW, **silver), 10, 0.0)
    assert match is not None
    assert match.rollout is ROLLOUT


def test_ids_of_resolved_pairs_are_forgotten_in_their_order() -> None:
    join = Join(MATCHING, WAIT_S, remembered=2)
    for name in "abc":
        join.take(envelope(), response(name, Role.SERVED), 10, 0.0)
        match = join.take(envelope(Role.SHADOW), response(name, Role.SHADOW), 10, 0.0)
        assert match is not None
        join.delivered(match)
    for name in "abc":
        join.take(envelope(), response(name, Role.SERVED), 10, 0.0)
    assert join.waiting == 1


def test_partitions_that_go_take_their_halves_along() -> None:
    join = Join(MATCHING, WAIT_S)
    join.take(Envelope(Role.SERVED, 0, 0, lambda: None), response("a", Role.SERVED), 10, 0.0)
    join.take(Envelope(Role.SERVED, 1, 0, lambda: None), response("b", Role.SERVED), 10, 0.0)
    join.drop({0})
    assert (join.waiting, join.waiting_bytes((Role.SERVED, 1))) == (1, 10 + HALF_BYTES)


def test_a_half_read_again_relies_on_the_pair_in_flight() -> None:
    join = Join(MATCHING, WAIT_S)
    join.take(envelope(), response("a", Role.SERVED), 10, 0.0)
    match = join.take(envelope(Role.SHADOW), response("a", Role.SHADOW), 10, 0.0)
    assert match is not None
    join.drop({0})
    again = envelope()
    join.take(again, response("a", Role.SERVED), 10, 0.0)
    assert again.open == 2
    join.delivered(match)
    assert (again.open, join.waiting) == (1, 0)


# --- the whole of it, against logs that are read again from what was committed

Log = list[list[str]]  # envelopes of request ids


def new_join() -> Join:
    return Join(Matching([OF_GOLD]), WAIT_S, remembered=3, noise={"gold": NOISE})


def half(name: str, side: Role) -> Response:
    """Of the requests numbered 4 no rollout takes the attributes. ``!`` after the id is a baseline."""
    request_id = name.removesuffix("!")
    tier = "silver" if request_id.endswith("4") else "gold"
    made = response(
        request_id, side, attributes={"tier": tier}, rollout="gold" if side is Role.SHADOW else ""
    )
    if name != request_id:
        made.role, made.arm = Role.BASELINE, "stable"
    return made


def is_sampled(request_id: str) -> bool:
    return NOISE.takes(request_id, "", "", "")


def written_as(name: str, side: Role) -> set[str]:
    """The pairs that must be written of a half."""
    request_id = name.removesuffix("!")
    if request_id.endswith("4"):
        return {pair_id(request_id, "", "")} if side is Role.SERVED else set()
    noise = noise_id(request_id, "gold", ROLLOUT.epoch)
    if name != request_id:
        return {noise}
    pair = pair_id(request_id, "gold", ROLLOUT.epoch)
    return {pair, noise} if side is Role.SERVED and is_sampled(request_id) else {pair}


@dataclass
class World:
    """Two topics of two partitions, one consumer, and what Kafka has of the pairs."""

    logs: dict[tuple[Role, int], Log]
    join: Join = field(default_factory=lambda: new_join())
    unacknowledged: Unacknowledged = field(default_factory=Unacknowledged)
    position: dict[tuple[Role, int], int] = field(default_factory=lambda: defaultdict(int))
    committed: dict[tuple[Role, int], int] = field(default_factory=lambda: defaultdict(int))
    flying: list[Matched] = field(default_factory=list)
    written: dict[str, set[Outcome]] = field(default_factory=lambda: defaultdict(set))
    now: float = 0.0

    def read(self, source: tuple[Role, int]) -> None:
        offset = self.position[source]
        if offset == len(self.logs[source]):
            return
        self.position[source] += 1

        def commit() -> None:
            assert self.committed[source] == offset  # strictly in order, none left out
            self.committed[source] = offset + 1

        it = Envelope(*source, offset, commit)
        self.unacknowledged.add(it)
        for name in self.logs[source][offset]:
            one = half(name, source[0])
            ways = (False, True) if one.role == Role.SERVED else (one.role == Role.BASELINE,)
            for noise in ways:
                match = self.join.take(it, one, 10, self.now, noise=noise)
                if match:
                    assert match.noise is noise
                    self.flying.append(match)
        it.open -= 1
        self.acknowledge()

    def deliver(self, index: int) -> None:
        if self.flying:
            match = self.flying.pop(index % len(self.flying))
            self.written[match.pair_id].add(match.outcome)
            self.join.delivered(match)
            self.acknowledge()

    def acknowledge(self) -> None:
        for source in self.logs:
            for it in self.unacknowledged.resolved(source):
                it.acknowledge()
        for (side, partition), end in self.committed.items():  # the promise
            for ids in self.logs[side, partition][:end]:
                wanted = set().union(*(written_as(request_id, side) for request_id in ids))
                assert all(self.written[it] for it in wanted), "committed, and not written"

    def expire(self, seconds: float) -> None:
        self.now += seconds
        while over := self.join.expire(self.now, limit=2):
            self.flying += over

    def rebalance(self) -> None:
        self.join.drop({0, 1})
        self.unacknowledged.drop({0, 1})
        self.position = defaultdict(int, self.committed)

    def crash(self) -> None:
        self.flying.clear()
        self.join = new_join()
        self.unacknowledged = Unacknowledged()
        self.position = defaultdict(int, self.committed)


SOURCES = [(side, partition) for side in SIDES for partition in (0, 1)]
PATIENT = st.one_of(
    st.tuples(st.just("read"), st.sampled_from(SOURCES)),
    st.tuples(st.just("deliver"), st.integers(0, 20)),
    st.tuples(st.just("expire"), st.sampled_from([0.0, 0.1])),
)
ANYTHING = st.one_of(
    PATIENT,
    st.tuples(st.just("expire"), st.sampled_from([3.0, WAIT_S])),
    st.tuples(st.just("rebalance")),
    st.tuples(st.just("crash")),
)


@st.composite
def logs(draw: st.DrawFn, repetitions: bool) -> dict[tuple[Role, int], Log]:
    """Envelopes in any order; with repetitions, any half may be there again, or never."""
    made: dict[tuple[Role, int], Log] = {}
    for side, partition in SOURCES:
        ids = [
            f"{partition}-{n}" for n in range(draw(st.integers(0, 6), label="requests") if repetitions else 5)
        ]
        if side is Role.SHADOW:
            ids += [f"{one}!" for one in ids if repetitions or is_sampled(one)]
        if repetitions:
            ids = draw(st.lists(st.sampled_from(ids), max_size=12)) if ids else []
        else:
            ids = draw(st.permutations(ids))
        log: Log = [[]]
        for request_id in ids:
            if draw(st.booleans()):
                log.append([])
            log[-1].append(request_id)
        made[side, partition] = log
    return made


def settle(world: World) -> None:
    for source in SOURCES:
        for _ in world.logs[source]:
            world.read(source)
    while world.flying:
        world.deliver(0)
    world.expire(WAIT_S)
    while world.flying:
        world.deliver(0)


def play(world: World, actions: list[tuple[Any, ...]]) -> None:
    for name, *arguments in actions:
        getattr(world, name)(*arguments)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(repetitions=True), st.lists(ANYTHING, max_size=60))
def test_nothing_is_lost_whatever_happens(
    made: dict[tuple[Role, int], Log], actions: list[tuple[Any, ...]]
) -> None:
    world = World(made)
    play(world, actions)
    settle(world)
    sent = [(one, side) for (side, _), log in made.items() for ids in log for one in ids]
    assert set(world.written) == set().union(*(written_as(*it) for it in sent))
    assert all(world.committed[source] == len(made[source]) for source in SOURCES)
    assert not len(world.unacknowledged)
    assert not world.join.waiting
    assert sum(map(world.join.waiting_bytes, SOURCES)) == 0


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(repetitions=False), st.lists(PATIENT, max_size=60))
def test_in_time_every_request_makes_exactly_one_scored_pair(
    made: dict[tuple[Role, int], Log], actions: list[tuple[Any, ...]]
) -> None:
    world = World(made)
    play(world, actions)
    settle(world)
    ids = [f"{p}-{n}" for p in (0, 1) for n in range(4)]
    sampled = [one for one in ids if is_sampled(one)]
    assert 0 < len(sampled) < 8
    pairs = {pair_id(one, "gold", ROLLOUT.epoch): {Outcome.SCORED} for one in ids}
    pairs |= {noise_id(one, "gold", ROLLOUT.epoch): {Outcome.SCORED} for one in sampled}
    assert dict(world.written) == pairs | {f"{p}-4::": {Outcome.UNPAIRED} for p in (0, 1)}
    counts = world.join.counts
    assert (counts.paired, counts.noise, counts.unpaired, counts.repeated) == (8, len(sampled), 0, 0)
