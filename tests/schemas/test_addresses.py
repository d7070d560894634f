import pytest

from shadowlane.schemas.addresses import MOST, in_flight


@pytest.mark.parametrize(
    ("bootstrap", "requests"),
    [
        ("127.0.0.1:9092", 1),
        ("localhost:9092", 1),
        ("127.0.0.1:9092, 127.0.0.2:9092", 1),
        ("[::1]:9092", 1),
        ("PLAINTEXT://localhost:9092", 1),
        ("kafka:9092", MOST),
        ("10.0.0.1:9092", MOST),
        ("127.0.0.1:9092,10.0.0.1:9092", MOST),
        ("localhost.example.com:9092", MOST),
        ("", MOST),
    ],
)
def test_one_request_at_a_time_on_this_machine_alone(bootstrap: str, requests: int) -> None:
    assert in_flight(bootstrap) == requests
