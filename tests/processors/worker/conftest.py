from collections.abc import Iterator

import pytest

from tests.processors.worker.fake_candidate import FakeCandidate


@pytest.fixture
def candidate() -> Iterator[FakeCandidate]:
    with FakeCandidate().running() as server:
        yield server
