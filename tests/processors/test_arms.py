"""Who served, by the router's word or the model's."""

import pytest

from shadowlane.errors import CodecError
from shadowlane.processors.arms import check_arm, served_arm
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.events import MirroredRequest


@pytest.mark.parametrize(
    ("stable", "candidate", "said", "model", "arm"),
    [
        ("old", "new", "candidate", "old", "candidate"),  # the router's word beats the model
        ("old", "new", "stable", "new", "stable"),
        ("old", "new", "", "new", "candidate"),
        ("old", "new", "", "old", "stable"),
        ("old", "new", "", "third", "stable"),
        ("", "new", "", "new", "candidate"),
        ("same", "same", "", "same", "stable"),
        ("old", "", "", "", "stable"),
    ],
)
def test_who_served(stable: str, candidate: str, said: str, model: str, arm: str) -> None:
    versions = {"stable": {"model": stable}, "candidate": {"model": candidate, "base_url": "http://c"}}
    assert served_arm(Rollout.model_validate({"name": "r", **versions}), said, model) == arm


@pytest.mark.parametrize(
    ("arm", "refused"), [("", False), ("stable", False), ("candidate", False), ("Stable", True)]
)
def test_an_arm_that_is_none_is_refused(arm: str, refused: bool) -> None:
    record = MirroredRequest(request_id="a", ts=1, service="s", route="/", protocol="json", arm=arm)
    if refused:
        with pytest.raises(CodecError, match=r"MirroredRequest\.arm is 'Stable'"):
            check_arm(record)
    else:
        check_arm(record)
