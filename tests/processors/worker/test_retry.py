import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.worker.retry import Backoff, retried, retry_after, spend_limit

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_may_be_another_the_next_time(status: int) -> None:
    assert retried(status)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 413, 422])
def test_stays_what_it_is(status: int) -> None:
    assert not retried(status)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:27 GMT"}, 7.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@given(st.text(max_size=40))
def test_any_header_is_read_or_left(text: str) -> None:
    found = retry_after({"retry-after": text}, NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("status", "error", "spent"),
    [
        (429, {"code": "insufficient_quota"}, True),
        (429, {"type": "insufficient_quota", "code": None}, True),
        (403, {"code": "billing_not_active"}, True),
        (402, None, True),
        (429, {"code": "rate_limit_exceeded"}, False),
        (429, None, False),
        (500, "broken", False),
        (400, {"code": ["insufficient_quota"], "type": {}}, False),
    ],
)
def test_spend_limit(status: int, error: object, spent: bool) -> None:
    assert spend_limit(status, error) is spent


@given(
    attempt=st.integers(1, 10),
    most=st.integers(1, 10),
    asked_for=st.none() | st.floats(0, 1e6),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_backoff_stays_within_its_bounds(
    attempt: int, most: int, asked_for: float | None, draw: float
) -> None:
    wait = Backoff(0.5, 30.0, most).wait(attempt, asked_for, draw)
    if attempt >= most:
        assert wait is None
    elif asked_for is not None:
        assert wait == min(asked_for, 30.0)
    else:
        assert wait is not None
        assert 0 <= wait <= min(30.0, 0.5 * 2 ** (attempt - 1))


def test_backoff_doubles() -> None:
    backoff = Backoff(0.5, 3.0, 10)
    assert [backoff.wait(n, None, 1.0) for n in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
