"""What the mirror's tests share."""

import pytest

from tests.producers.support import FakeMirror


@pytest.fixture
def fake() -> FakeMirror:
    """A mirror on a link that acknowledges everything."""
    return FakeMirror()
