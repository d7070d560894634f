"""The remembered answer is that of the configuration."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.pairing.matching import Matching
from shadowlane.schemas.config import Settings

words = st.sampled_from(["a", "b"])
attributes = st.dictionaries(st.sampled_from(["tenant", "tier", "other"]), words, max_size=3)
matches = st.fixed_dictionaries({}, optional={"service": words, "route": words, "attributes": attributes})


@given(st.lists(matches, max_size=3), st.lists(st.tuples(words, words, attributes), max_size=8))
def test_the_first_rollout_that_takes_a_response_has_it(
    wanted: list[dict[str, Any]], asked: list[tuple[str, str, dict[str, str]]]
) -> None:
    rollouts = [
        {"name": f"r{n}", "match": match, "candidate": {"base_url": "http://c"}}
        for n, match in enumerate(wanted)
    ]
    settings = Settings.model_validate({"rollouts": rollouts})
    matching = Matching(settings.rollouts)
    for service, route, of in asked + asked:
        found = matching.rollout_of(service, route, of)
        rollout = settings.rollout_for(service, route, of)
        assert (found[0] if found else None) is rollout
        assert (found[1] if found else None) == (rollout.epoch if rollout else None)
        there = any(r.match.takes_place(service, route) for r in settings.rollouts)
        assert matching.takes_place(service, route) == there
