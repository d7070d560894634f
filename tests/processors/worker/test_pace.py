"""Rate limits as providers tell them, and leaving alone what does not answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.worker.breaker import Breaker, BreakerSettings
from shadowlane.processors.worker.pace import Pace, seconds_until

NOW = 1_795_456_000.0  # 2026-11-23T17:46:40Z


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3s", 3723.0),
        ("1m30.5s", 90.5),
        ("7", 7.0),
        ("0.25", 0.25),
        ("2026-11-23T17:47:00Z", 20.0),
        ("2026-11-23T17:40:00Z", 0.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
    ],
)
def test_when_a_limit_begins_anew(reset: str, seconds: float | None) -> None:
    assert seconds_until(reset, NOW) == seconds


@given(st.text(max_size=30))
def test_no_text_whatever_raises(text: str) -> None:
    found = seconds_until(text, NOW)
    assert found is None or found >= 0
    Pace().learn({"ratelimit-remaining": text, "ratelimit-reset": text}, 1, NOW, NOW)


@pytest.mark.parametrize(
    ("headers", "in_flight", "wait"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}, 0, 2.0),
        ({"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "2s"}, 8, 0.0),
        ({"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "2s"}, 9, 2.0),
        ({"x-ratelimit-remaining-tokens": "50", "x-ratelimit-reset-tokens": "2s"}, 90, 0.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 0, 360.0),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-23T17:47:00Z",
            },
            0,
            20.0,
        ),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "5"}, 0, 5.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "86400"}, 0, 0.0),
        ({"ratelimit-remaining": "0"}, 0, 0.0),
        ({}, 0, 0.0),
    ],
)
def test_what_the_headers_say(headers: dict[str, str], in_flight: int, wait: float) -> None:
    pace = Pace()
    pace.learn(headers, in_flight, NOW, NOW)
    assert pace.wait(NOW) == pytest.approx(wait)
    assert pace.wait(NOW + wait) == 0


def limited(remaining: int, reset: int, **more: str) -> dict[str, str]:
    return {"ratelimit-remaining": str(remaining), "ratelimit-reset": str(reset)} | more


def asks(pace: Pace, now: float, most: int = 1000) -> int:
    """How many calls are made at once now, of so many that wait."""
    made = 0
    while made < most and pace.wait(now) == 0:
        pace.made(now)
        made += 1
    return made


def test_no_more_calls_are_made_than_remain_and_after_the_reset_as_many_as_the_limit() -> None:
    pace = Pace()
    pace.learn(limited(12, 60, **{"ratelimit-limit": "20"}), 2, NOW, NOW)
    assert asks(pace, NOW) == 10
    assert pace.wait(NOW + 1) == 59
    assert asks(pace, NOW + 60) == 20
    assert pace.wait(NOW + 61) == 59  # though no answer has said so


def test_without_a_limit_one_call_finds_out_what_there_is_after_the_reset() -> None:
    pace = Pace()
    pace.learn(limited(0, 60), 0, NOW, NOW)
    assert asks(pace, NOW + 60) == 1
    pace.learn(limited(5, 59), 0, NOW + 61, NOW + 61)
    assert asks(pace, NOW + 61) == 5


def test_who_says_what_remains_only_where_it_refuses_is_not_asked_one_call_at_a_time_for_ever() -> None:
    pace = Pace()
    pace.learn(limited(0, 60), 3, NOW, NOW)
    pace.learn({}, 2, NOW + 1, NOW + 1)  # an answer of a call that was under way
    assert pace.wait(NOW + 1) == 59
    assert asks(pace, NOW + 60) == 1
    pace.learn({}, 0, NOW + 61, NOW + 61)
    assert (pace.calm(NOW + 61), asks(pace, NOW + 61)) == (True, 1000)


def test_nothing_is_counted_while_there_is_plenty() -> None:
    pace = Pace()
    pace.learn(limited(5000, 60), 64, NOW, NOW)
    assert (pace.calm(NOW), asks(pace, NOW)) == (True, 1000)
    pace.learn(limited(100, 60), 64, NOW, NOW)
    assert (pace.calm(NOW), asks(pace, NOW)) == (False, 36)
    pace.learn(limited(5000, 60), 0, NOW + 60, NOW + 60)
    assert pace.calm(NOW + 60)


def test_the_longest_wait_of_several_counts() -> None:
    pace = Pace()
    pace.refused(3.0, NOW)
    pace.refused(1.0, NOW)
    pace.refused(None, NOW)
    assert pace.wait(NOW + 1) == pytest.approx(2.0)


FIVE = BreakerSettings(calls=5, share=0.8, open_s=10, max_open_s=30)


def opened() -> Breaker:
    breaker = Breaker(FIVE)
    for failed in (True, False, True, True, True):
        assert breaker.passes(NOW)
        breaker.told(failed, NOW)
    return breaker


def test_it_opens_when_nearly_all_of_the_last_calls_failed() -> None:
    breaker = Breaker(FIVE)
    for failed in (True, True, False, True, False, True, True):
        assert breaker.passes(NOW)
        breaker.told(failed, NOW)
    assert breaker.closed()
    breaker.told(True, NOW)
    assert not breaker.closed()
    assert not breaker.passes(NOW + 9.9)


def test_one_tries_and_if_it_gets_an_answer_all_pass_again() -> None:
    breaker = opened()
    assert breaker.passes(NOW + 10)
    assert not breaker.passes(NOW + 10)  # one at a time
    breaker.told(False, NOW + 11, tried=True)
    assert breaker.closed()
    breaker.told(True, NOW + 11)
    assert breaker.closed()  # the failures before are forgotten


def test_each_try_that_fails_doubles_the_wait_up_to_a_bound() -> None:
    breaker, now = opened(), NOW + 10
    for wait in (20, 30, 30):
        assert breaker.passes(now)
        breaker.told(True, now, tried=True)
        assert not breaker.passes(now + wait - 0.1)
        assert breaker.open_for(now) == now - NOW
        now += wait
    assert breaker.passes(now)
    breaker.told(False, now, tried=True)
    assert breaker.open_for(now) == 0


def test_a_try_that_was_stopped_leaves_the_next_one_to_another() -> None:
    breaker = opened()
    assert breaker.passes(NOW + 10)
    breaker.stopped(tried=True)
    assert breaker.passes(NOW + 11)


def test_what_was_under_way_when_it_opened_says_nothing_more() -> None:
    breaker = opened()
    breaker.told(False, NOW + 1)
    assert not breaker.closed()
    assert breaker.passes(NOW + 10)
    breaker.told(True, NOW + 11)  # nor while another one tries
    breaker.stopped()
    assert not breaker.passes(NOW + 12)
    breaker.told(False, NOW + 12, tried=True)
    assert breaker.closed()


def test_dates_are_of_the_calendar_and_waits_of_a_clock_that_nobody_sets() -> None:
    pace, since_boot = Pace(), 500.0
    date = {"anthropic-ratelimit-requests-reset": "2026-11-23T17:47:00Z"}
    pace.learn({"anthropic-ratelimit-requests-remaining": "0"} | date, 0, since_boot, NOW)
    assert pace.wait(since_boot + 5) == pytest.approx(15.0)
