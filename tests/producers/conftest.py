"""What the mirror's tests share."""

import pytest

from tests.producers.support import FakeMirror


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMirror:
    """A mirror on a link that acknowledges everything."""
    return FakeMirror(monkeypatch)
