"""Which requests are asked again: a share of its own, the same for whoever asks."""

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.samples import NoiseSample, shadowed
from shadowlane.schemas.config import Rollout

IDS = [f"request-{n}" for n in range(20_000)]


def sample(rate: float, sampling: float = 1.0) -> tuple[NoiseSample, Rollout]:
    rollout = Rollout.model_validate(
        {
            "name": "r",
            "stable": {"model": "old", "base_url": "http://s"},
            "candidate": {"model": "new", "base_url": "http://c"},
            "sampling": {"rate": sampling},
            "noise": {"rate": rate},
        }
    )
    return NoiseSample(rollout), rollout


def share(of: list[bool]) -> float:
    return sum(of) / len(of)


def test_the_share_is_the_rate_and_independent_of_the_rollouts_own_sample() -> None:
    noise, rollout = sample(0.05, sampling=0.5)
    taken = [noise.takes(name, "", "", "") for name in IDS]
    assert abs(share(taken) - 0.025) < 0.004
    inside = [again for again, name in zip(taken, IDS, strict=True) if shadowed(rollout).takes(name)]
    assert abs(share(inside) - 0.05) < 0.006
    first = [noise.baseline_first(name) for name, again in zip(IDS, taken, strict=True) if again]
    assert abs(share(first) - 0.5) < 0.08


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["", "stable"]))
def test_only_what_is_shadowed_and_whatever_the_key(name: str, key: str, arm: str) -> None:
    noise, rollout = sample(1.0, sampling=0.5)
    assert noise.takes(name, key, arm, "old") is shadowed(rollout).takes(key or name)
    again, _ = sample(0.3)
    assert again.takes(name, key, arm, "") == again.takes(name, "another key", arm, "")


@given(st.text(max_size=20))
def test_never_what_the_candidate_served(name: str) -> None:
    noise, _ = sample(1.0)
    assert not noise.takes(name, "", "candidate", "old")
    assert not noise.takes(name, "", "", "new")
