"""The partition rule is the one thing that every writer, in any language, has to share."""

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.schemas.topics import Topics, partition_of


def test_known_values() -> None:
    # As librdkafka's partitioner=consistent gives them, with the request id as key.
    assert [partition_of(key, 8) for key in ("a", "r1", "0194f7c0", "ключ")] == [3, 1, 3, 2]


@given(st.text(), st.integers(1, 1000))
def test_every_id_has_a_partition(request_id: str, partitions: int) -> None:
    assert 0 <= partition_of(request_id, partitions) < partitions


def test_names_share_the_prefix() -> None:
    topics = Topics("staging")
    assert all(name.startswith("staging.") for name in topics.all)
    assert len(set(topics.all)) == len(topics.all)
    assert set(topics.copartitioned) < set(topics.all)
