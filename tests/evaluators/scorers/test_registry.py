import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shadowlane.errors import ConfigError
from shadowlane.evaluators.scorers import ScorerSet, units
from shadowlane.evaluators.scorers.registry import BUILTINS
from shadowlane.schemas.config import DEFAULT_SCORERS, Rollout
from tests.evaluators.scorers.answers import answer

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with scorers where installed packages are looked for."""

    def put(code: str, package: str = "house-scorers", module: str = "house_scorers", **names: str) -> None:
        place = tmp_path / package
        info = place / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (place / f"{module}.py").write_text(textwrap.dedent(code))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        entries = [f"{name} = {module}:{target}" for name, target in names.items()]
        (info / "entry_points.txt").write_text("\n".join(["[shadowlane.scorers]", *entries]) + "\n")
        monkeypatch.syspath_prepend(str(place))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


def rollout(*scorers: dict[str, Any]) -> Rollout:
    return Rollout.model_validate(
        {"name": "r", "candidate": {"base_url": "http://127.0.0.1:1"}, "scorers": list(scorers)}
    )


def make(*scorers: dict[str, Any]) -> ScorerSet:
    return ScorerSet.from_rollout(rollout(*scorers), {})


SHORT = """
    from shadowlane.evaluators.scorers import side_scorer

    @side_scorer
    def short(request, answer, words: int = 2, *, strict: bool = False):
        return len(answer.output.split()) <= words

    @side_scorer(unit="tokens")
    class Words:
        def __init__(self, minus: int):
            if minus < 0:
                raise ValueError("minus must not be negative")
            self.minus = minus
        def __call__(self, request, answer):
            return len(answer.output.split()) - self.minus

    def unmarked(request, answer): ...

    @side_scorer
    def lonely(answer): ...

    @side_scorer
    async def later(request, answer): ...

    @side_scorer
    class Mute: ...
"""


def test_the_default_scorers_and_all_built_in_ones_are_there() -> None:
    assert {s["name"] for s in DEFAULT_SCORERS} <= BUILTINS.keys()
    given = units(rollout(*({"name": name} for name in BUILTINS)))
    assert list(given) == list(BUILTINS)
    assert {name: unit for name, unit in given.items() if unit != "score"} == {
        "latency": "ms",
        "input_tokens": "tokens",
        "output_tokens": "tokens",
        "cost": "usd",
    }


def test_a_users_scorer_is_found_and_takes_its_options(install: Install) -> None:
    install(SHORT, short="short", words="Words")
    scorers = make(
        {"name": "short", "options": {"words": "3"}, "quality_weight": 1},
        {"name": "words", "options": {"minus": 1}},
    )
    scored = scorers.score(None, answer("one two three"), answer("one two three four"))
    assert scored.stable == {"short": 1, "words": 2}
    assert scored.candidate == {"short": 0, "words": 3}
    assert scored.quality_difference == -1


@pytest.mark.parametrize(
    ("scorer", "expected"),
    [
        (
            {"name": "fuzy"},
            r"rollouts\[r\]\.scorers\[0\]\.name: .*did you mean 'fuzzy'\?.*Known here: .*short",
        ),
        ({"name": "zzz"}, r"no scorer is called 'zzz'; Known here: "),
        ({"name": "unmarked"}, r"scorers\[0\]\.name: 'unmarked' \(house-scorers.*mark it with @side_scorer"),
        ({"name": "lonely"}, r"plain function of \(request, answer\); this is \(answer\)"),
        ({"name": "later"}, r"this is async \(request, answer\)"),
        ({"name": "mute"}, r"scorers\[0\]: the class Mute needs a __call__\(request, answer\)"),
        ({"name": "gone"}, r"'gone' of house-scorers .* can't be loaded: AttributeError"),
        ({"name": "short", "options": {"word": 1}}, r"scorers\[0\]\.options\.word: .*did you mean 'words'\?"),
        ({"name": "short", "options": {"n": 1}}, r"options\.n: unknown option; known here: strict, words"),
        ({"name": "short", "options": {"words": "many"}}, r"options\.words: .*integer.*it is 'many'"),
        ({"name": "words"}, r"options\.minus: is missing: add it"),
        ({"name": "words", "options": {"minus": -1}}, r"options: ValueError: minus must not be negative"),
        ({"name": "words", "quality_weight": 1, "options": {"minus": 0}}, r"quality_weight: .*in tokens"),
        ({"name": "exact", "options": {"a": 1}}, r"options\.a: unknown option; known here: none"),
        ({"name": "cost", "options": {"prices": {}}}, r"options\.prices: unknown option"),
        ({"name": "exact", "quality_weight": float("inf")}, r"quality_weight: inf is no weight"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(install: Install, scorer: dict[str, Any], expected: str) -> None:
    names = {n: n for n in ("short", "unmarked", "lonely", "later", "gone")}
    install(SHORT, words="Words", mute="Mute", **names)
    with pytest.raises(ConfigError, match=expected):
        make(scorer)


def test_a_built_in_ones_name_is_taken(install: Install) -> None:
    install(SHORT, exact="short")
    with pytest.raises(ConfigError, match=r"'exact' is a scorer of shadowlane's own, and house-scorers"):
        make({"name": "exact"})
    make({"name": "fuzzy"})


def test_two_packages_with_one_name_are_refused(install: Install) -> None:
    install(SHORT, short="short")
    install(SHORT, package="more-scorers", module="more_scorers", short="short")
    with pytest.raises(ConfigError, match=r"several scorers, of .*more-scorers.* and of .*house-scorers"):
        make({"name": "short"})


def test_one_scorer_is_named_once() -> None:
    with pytest.raises(ConfigError, match=r"scorers\[1\]\.name: 'exact' is there twice"):
        make({"name": "exact"}, {"name": "exact"})
