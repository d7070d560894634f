"""Sampling and ids."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.producers.ids import RequestIds, new_request_id, valid_request_id, valid_traceparent
from shadowlane.producers.sampling import Sampler

KEYS = [f"user-{n}" for n in range(20_000)]


def test_it_takes_its_fraction() -> None:
    taken = sum(map(Sampler(0.1).takes, KEYS))
    assert abs(taken - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5  # five standard deviations


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_who_is_in_stays_in_at_a_higher_rate(key: str, rate: float, other: float) -> None:
    low, high = sorted((rate, other))
    assert Sampler(low).takes(key) <= Sampler(high).takes(key)
    assert Sampler(1.0).takes(key)
    assert not Sampler(0.0).takes(key)


def test_another_salt_is_another_sample() -> None:
    one, two = Sampler(0.5, "a"), Sampler(0.5, "b")
    agree = sum(one.takes(k) == two.takes(k) for k in KEYS)
    assert abs(agree - 10_000) < 5 * (20_000 * 0.25) ** 0.5


def test_the_sample_is_the_same_in_every_process_and_version() -> None:
    assert [k for k in KEYS[:40] if Sampler(0.2).takes(k)] == EXPECTED


EXPECTED = ["user-1", "user-2", "user-13", "user-19", "user-23", "user-32", "user-33", "user-35"]


def test_ids_are_version_7_and_sort_by_time() -> None:
    ids = [new_request_id(1_700_000_000_000 + n) for n in range(100)]
    assert ids == sorted(ids)
    assert len({new_request_id(5) for _ in range(1000)}) == 1000
    for one in ids:
        assert len(one) == 32
        assert one[12] == "7"
        assert one[16] in "89ab"
        assert valid_request_id(one)
    assert int(ids[3][:12], 16) == 1_700_000_000_003


def test_what_may_not_stand_in_a_record() -> None:
    assert not valid_request_id("a b")
    assert not valid_request_id("")
    assert not valid_request_id("x" * 201)
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert valid_traceparent(good) == good
    assert valid_traceparent("bob@example.com") == ""


def test_ids_made_many_at_once_are_like_those_made_one_by_one() -> None:
    one, other = RequestIds(), RequestIds()
    made = [ids.new(1_700_000_000_000) for _ in range(200) for ids in (one, other)]
    assert len(set(made)) == 400
    for request_id in (*made, new_request_id(1_700_000_000_000)):
        parsed = uuid.UUID(request_id)
        assert (parsed.version, parsed.variant, parsed.hex) == (7, uuid.RFC_4122, request_id)
        assert request_id[:12] == f"{1_700_000_000_000:012x}"
