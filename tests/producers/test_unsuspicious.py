"""Texts that are remembered as holding nothing: from the second time on, and never more than the bound."""

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.producers.redaction import Rules, redact_text
from shadowlane.producers.redaction.unsuspicious import Unsuspicious
from tests.producers.planted import INNOCENT, PLANTED


def test_a_text_is_remembered_from_its_second_time_on() -> None:
    known = Unsuspicious(10_000)
    text = "You answer questions about orders. " * 3
    known.add(text)
    assert text not in known
    known.add(text)
    assert text in known


def test_a_text_that_would_displace_the_others_is_not_remembered() -> None:
    known = Unsuspicious(10_000)
    for _ in range(2):
        known.add("x" * 2000)
    assert "x" * 2000 not in known


@given(st.lists(st.integers(0, 30), max_size=200))
def test_no_more_is_held_than_allowed(numbers: list[int]) -> None:
    known = Unsuspicious(2_000)
    for number in numbers:
        known.add(f"{number:050}")
    held = [number for number in range(31) if f"{number:050}" in known]
    assert len(held) * 99 <= 2_000
    assert set(held) <= {number for number in numbers if numbers.count(number) > 1}


@given(st.lists(st.sampled_from([*(text for _, text, _ in PLANTED), *INNOCENT]), min_size=1, max_size=4))
def test_what_comes_again_and_again_is_redacted_each_time_alike(parts: list[str]) -> None:
    text = "It came yesterday: " * 3 + " ".join(parts)
    expected = Rules()._applied(text)
    assert [redact_text(text) for _ in range(4)] == [expected] * 4
