"""A rollout: which requests, which versions, what is measured, and what it takes to go on."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from shadowlane.schemas.config.budgets import Budget
from shadowlane.schemas.config.section import Name, Positive, Section
from shadowlane.schemas.config.versions import Candidate, Stable, digest

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})

# Agreement with the stable answer, and an answer at all: what can be said of any traffic, without a judge.
DEFAULT_SCORERS: list[dict[str, Any]] = [
    {"name": "answered", "quality_weight": 1.0},
    {"name": "fuzzy", "quality_weight": 1.0},
    {"name": "tool_calls", "quality_weight": 1.0},  # abstains where no tool is called
    {"name": "exact"},
    {"name": "normalised"},
    {"name": "json_valid"},
    {"name": "json_fields"},
    {"name": "length_ratio"},
    {"name": "refusal"},
    {"name": "truncation"},
    {"name": "error"},
    {"name": "latency"},
    {"name": "input_tokens"},
    {"name": "output_tokens"},
    {"name": "cost"},
]


class Scorer(Section):
    name: Name = Field(description="as the entry point in the group shadowlane.scorers is called")
    quality_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="its weight in quality_score"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="handed to the scorer as arguments")


class Match(Section):
    """Which requests a rollout takes: those that have all of this."""

    service: str | None = None
    route: str | None = None
    attributes: dict[str, str] = Field(
        default_factory=dict, description="such as {tenant: acme}; a request must have each with that value"
    )

    def takes(self, service: str, route: str, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> bool:
        return self.takes_place(service, route) and all(
            attributes.get(name) == value for name, value in self.attributes.items()
        )

    def takes_place(self, service: str, route: str) -> bool:
        """Whether it takes any request of this service and route."""
        return self.service in (None, service) and self.route in (None, route)


class Sampling(Section):
    rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="of the mirrored requests that match, by key; the others make no pair"
    )


class Noise(Section):
    """How much the stable version differs from itself (docs/noise.md)."""

    rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="of the shadowed requests that the stable version served: it is asked them once more, at "
        "stable.base_url, and its two answers are scored like a pair; 0 is off",
    )


class AutoRollback(Section):
    enabled: bool = Field(default=True, description="false: on-call is told, and nothing else is done")
    trigger: str = "error_rate > 2% OR quality_score < 0.80"
    target: Literal["previous_stable_version"] = "previous_stable_version"
    slices: Literal["whole", "alone"] = Field(
        default="whole",
        description="where one slice alone regressed: roll back the whole rollout, or that slice alone",
    )


class SliceBy(Section):
    """One attribute, ``route`` or ``service``, by whose values traffic is sliced. A name alone is short for it."""

    # A slice is called attribute=value, so the first = ends the attribute.
    attribute: Annotated[str, Field(min_length=1, pattern=r"^[^=]+$")]
    major_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.25, description="a slice with this share of the pairs must show all criteria by itself"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"attribute": value} if isinstance(value, str) else value


class Sessions(Section):
    """Requests of one session are alike: with this, each session is one unit of the tests, by its mean."""

    by: Annotated[str, Field(min_length=1)] = Field(
        default="key", description="key: the mirror's key; else the name of an attribute"
    )
    minutes: Positive = Field(
        default=10.0, description="a session is what comes within so many minutes of its first pair"
    )


class Confirm(Section):
    """A webhook that must say yes before the stage begins: 200 with {"approved": true}."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    secret_env: str = Field(
        default="", description="the environment variable with the secret that requests are signed with"
    )
    timeout_s: Positive = 10.0


class Stage(Section):
    """A share of the traffic, how long at least and at most, and what must be shown to go on."""

    name: Name
    traffic_pct: Annotated[float, Field(ge=0, le=100)] = 0.0
    duration_hours: Annotated[float, Field(ge=0)] = Field(default=1.0, description="the shortest stay")
    max_hours: Positive | None = Field(
        default=None,
        description="at its end without a verdict: inconclusive. By default a day and a traffic cycle after "
        "duration_hours",
    )
    min_pairs: Annotated[int, Field(ge=1)] = 500
    traffic_cycle_hours: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="the pairs must span so much before promoting; by default duration_hours, at most the "
        "rollout's traffic_cycle_hours, and all of that before the step to 100%",
    )
    success_criteria: dict[str, str] | None = Field(default=None, description="instead of the rollout's")
    confirm: Confirm | None = None


class Rollout(Section):
    """One candidate beside one stable version."""

    name: Name
    generation: Annotated[int, Field(ge=1)] = Field(
        default=1, description="raise it to try the same again: it makes a new epoch"
    )
    match: Match = Match()
    sampling: Sampling = Sampling()
    budget: Budget = Budget()
    stable: Stable = Stable()
    candidate: Candidate
    noise: Noise = Noise()
    scorers: list[Scorer] = Field(
        default_factory=lambda: [Scorer.model_validate(s) for s in DEFAULT_SCORERS],
        description="which scorers run; those with a quality_weight make quality_score",
    )
    success_criteria: dict[str, str] = Field(
        default_factory=lambda: {"error_rate": "<0.5%", "quality_score": ">0.90"}
    )
    auto_rollback: AutoRollback = AutoRollback()
    margin: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.02, description="of the relative quality tests"
    )
    slices: list[SliceBy] = Field(
        default_factory=list, description="attributes by whose values to look closer"
    )
    sessions: Sessions | None = Field(default=None, description="null: each request is a unit of its own")
    traffic_cycle_hours: Annotated[float, Field(ge=0)] = Field(
        default=24.0,
        description="a night says nothing of the day: how long until traffic has shown all of it",
    )
    stages: Annotated[list[Stage], Field(min_length=1)] = Field(
        default_factory=lambda: [Stage(name="shadow")], description="in order; their traffic_pct never falls"
    )
    keep_previous_hours: Annotated[float, Field(ge=0)] = Field(
        default=168.0,
        description="how long after promotion the previous stable version stays the rollback target, guarded",
    )
    alerts: list[Name] | None = Field(default=None, description="names of alert channels; null: all of them")

    # What, when it changes, makes the pairs so far say nothing of what comes: a new epoch.
    EPOCH_FIELDS: ClassVar = {
        "generation",
        "stable",
        "candidate",
        "scorers",
        "success_criteria",
        "auto_rollback",
        "margin",
        "slices",
        "sessions",
    }

    @pydantic.field_validator("slices")
    @classmethod
    def _an_attribute_slices_once(cls, slices: list[SliceBy]) -> list[SliceBy]:
        names = [by.attribute for by in slices]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is there twice, and would count each pair twice: take one out")
        return slices

    @pydantic.model_validator(mode="after")
    def _stages_make_sense(self) -> "Rollout":
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two stages are called {twice[0]!r}: give each its own name")
        for before, after in pairwise(self.stages):
            if after.traffic_pct < before.traffic_pct:
                raise ValueError(
                    f"stage {after.name!r} has {after.traffic_pct:g}% of the traffic, less than {before.name!r} "
                    f"before it ({before.traffic_pct:g}%): put the stages in order"
                )
        for stage in self.stages:
            if stage.max_hours is not None and stage.max_hours < stage.duration_hours:
                raise ValueError(f"stage {stage.name!r}: max_hours is shorter than duration_hours")
        if self.noise.rate and not self.stable.reachable:
            raise ValueError(
                "noise.rate has the stable version asked again, and stable.base_url does not say where: give it (and "
                "stable.api_key_env), or take noise out"
            )
        if unsaid := self.unsaid_parameters():
            one, other = (
                ("candidate", "stable") if unsaid[0] in self.candidate.overrides else ("stable", "candidate")
            )
            raise ValueError(
                f"{one}.overrides sets {unsaid[0]!r}, and in stages above 0% each version is asked what the other "
                f"was: say the other's own in {other}.overrides ({unsaid[0]}: null where it has none)"
            )
        prompts = [version.prompt for version in (self.stable, self.candidate)]
        if self.shifts_traffic and any(prompts) and not all(p and p.replace is not None for p in prompts):
            raise ValueError(
                "'prompt' is one version's, and in stages above 0% each is asked what the other was: give both their "
                "whole prompt, stable.prompt.replace and candidate.prompt.replace"
            )
        return self

    def unsaid_parameters(self) -> list[str]:
        """Parameters of which one arm's value is known and the other's is not, where each arm shadows the other."""
        if not self.shifts_traffic:
            return []
        return sorted(set(self.candidate.overrides) ^ set(self.stable.overrides))

    @property
    def shifts_traffic(self) -> bool:
        """Whether the candidate ever serves a user."""
        return any(stage.traffic_pct > 0 for stage in self.stages)

    @property
    def epoch(self) -> str:
        """Twelve hex digits of all that a verdict rests on."""
        content = self.model_dump(mode="json", include=self.EPOCH_FIELDS - {"stable", "candidate"})
        content |= {"stable": self.stable.content(), "candidate": self.candidate.content()}
        del content["auto_rollback"]["enabled"]
        content["stages"] = [
            {"name": s.name, "traffic_pct": s.traffic_pct, "success_criteria": s.success_criteria}
            for s in self.stages
        ]
        return digest(content)

    def criteria_of(self, stage: Stage) -> dict[str, str]:
        return self.success_criteria if stage.success_criteria is None else stage.success_criteria
