"""What is told of a decision: one incident per rollout, epoch and cause, with what on-call asks first. Pure."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from shadowlane.evaluators.gates.evidence import Evidence
from shadowlane.evaluators.gates.scope import milliseconds
from shadowlane.evaluators.gates.verdict import Verdict
from shadowlane.rollout.models import Change
from shadowlane.rollout.state import Action, Alert, State
from shadowlane.schemas.config import Severity

REGRESSION = "regression"
UNDECIDED = "undecided"
BLIND = "blind"
MODEL = "model"
CONFIRMATION = "confirmation"
PROMOTION = "promotion"


def incident_of(state: State, cause: str, part: str = "") -> str:
    """The key that an incident's trigger and resolve share: ``shadowlane/rollout/epoch/cause``, and a slice."""
    return "/".join(["shadowlane", state.rollout, state.epoch, cause, *([part] if part else [])])


def cause_of(incident: str) -> str:
    """The cause in an incident's key. A slice may hold slashes, a rollout's name and an epoch can't."""
    return incident.split("/")[3]


@dataclass(frozen=True, slots=True)
class Told:
    """What an alert says beside its decision. ``onset`` is when the evidence began to rise (Unix ms)."""

    link: str = ""
    onset: int | None = None

    def regression(
        self, state: State, verdict: Verdict, done: str, *, served_pct: float, part: str = ""
    ) -> Alert:
        """``served_pct`` of the traffic had the candidate's answers until now: with none, nobody was harmed."""
        latch = verdict.roll_back
        assert latch is not None
        what = tuple(claim(e) for e in latch.leading)
        slices = tuple(dict.fromkeys(e.slice for e in latch.leading if e.slice))
        where = f" in {', '.join(slices)}" if slices else ""
        return _alert(
            state,
            REGRESSION,
            "critical" if served_pct else "warning",
            part=part,
            summary=f"{state.rollout}: {arms(state)} regressed{where}: {latch.leading[0].claim}",
            what=what,
            slices=slices,
            since=self.onset or milliseconds(latch.since),
            sure=(
                f"evidence {latch.e:.3g} of {latch.leading[0].threshold:.3g} after {latch.pairs:,} pairs: a candidate "
                "that is no worse is ever called so in at most 1 of 100 stages"
            ),
            done=done,
            look=self.look(state),
        )

    def undecided(self, state: State, verdict: Verdict) -> Alert:
        return _alert(
            state,
            UNDECIDED,
            "warning",
            summary=f"{state.rollout}: stage {state.stage} is over and undecided: a person has to decide",
            what=verdict.missing,
            since=state.entered,
            done=f"nothing: the traffic stays at {state.traffic_pct:g}%, the guard goes on; resume, promote or abort",
            look=self.look(state),
        )

    def blind(self, state: State, last: int, mirrored: int) -> Alert:
        """``last`` is since when no pair came, ``mirrored`` how many requests were mirrored since then."""
        why = (
            f"{mirrored:,} requests were mirrored in that time: worker, pairing or sink do not run, or go by another "
            "configuration"
            if mirrored
            else "nothing else came either: there is no traffic, or the sink does not run"
        )
        return _alert(
            state,
            BLIND,
            "critical" if mirrored else "warning",
            summary=f"{state.rollout}: {arms(state)} serves {state.traffic_pct:g}% unseen: no pair comes any more",
            what=(why,),
            since=last,
            done=f"nothing: the traffic stays at {state.traffic_pct:g}%; abort takes it back",
            look=("shadowlane status", *self.look(state)),
        )

    def model(self, state: State, change: Change, number: int) -> Alert:
        """``number`` tells several of one entry apart."""
        more = "it gives new names again and again: no more of them are told" if change.last else ""
        return _alert(
            state,
            MODEL,
            "warning",
            part=change.key,
            number=number,
            summary=f"{state.rollout}: the provider changed the model: {change.asked} is {change.served} now",
            what=(
                f"{change.asked} was answered as {change.before}, and is as {change.served}",
                *filter(None, [more]),
            ),
            since=change.since,
            sure="the server's own word: it stands in its answers",
            done="nothing: the evidence goes on, of both; raise generation to begin it anew with this one",
            look=self.look(state),
        )

    def confirmation(self, state: State, following: str) -> Alert:
        return _alert(
            state,
            CONFIRMATION,
            "info",
            part=following,
            action=Action.NOTE,
            summary=f"{state.rollout}: stage {state.stage} has shown all; stage {following} waits for a yes",
            done=f"the traffic stays at {state.traffic_pct:g}% until the webhook of stage {following} says yes",
            look=self.look(state),
        )

    def look(self, state: State) -> tuple[str, ...]:
        commands = (f"shadowlane report {state.rollout}", f"shadowlane pairs {state.rollout} --worst 10")
        return (*commands, self.link.replace("{rollout}", state.rollout)) if self.link else commands


def resolve(state: State, incident: str, why: str, number: int) -> Alert:
    """The end of an incident; ``number`` tells several of one entry apart."""
    cause = cause_of(incident)
    told = _alert(
        state,
        cause,
        "info",
        number=number,
        action=Action.RESOLVE,
        summary=f"{state.rollout}: {cause} is over: {why}",
        done=why,
    )
    return replace(told, incident=incident, epoch=incident.split("/")[2])  # of an epoch before, it may be


def promotion(state: State, event: str, actor: str, reason: str, number: int) -> Alert:
    """Worth knowing, and nobody's incident."""
    words = {
        "completed": f"{state.candidate.model or 'the candidate'} is the stable version now",
        "passed": f"stage {state.stage} is passed: all is shown",
    }
    return _alert(
        state,
        PROMOTION,
        "info",
        part=state.stage,
        number=number + 1,
        action=Action.NOTE,
        summary=f"{state.rollout}: "
        + words.get(
            event, f"{arms(state)} goes to stage {state.stage}, {state.traffic_pct:g}% of the traffic"
        ),
        done=f"by {actor}: {reason}",
    )


def _alert(
    state: State,
    cause: str,
    severity: Severity,
    *,
    summary: str,
    part: str = "",
    number: int = 0,
    action: Action = Action.TRIGGER,
    what: tuple[str, ...] = (),
    slices: tuple[str, ...] = (),
    since: int | None = None,
    sure: str = "",
    done: str = "",
    look: tuple[str, ...] = (),
) -> Alert:
    """What is told of a state. ``part`` tells several incidents of one cause apart, ``number`` several of one entry."""
    return Alert(
        alert_id=f"{state.rollout}:{state.seq}:{number}",
        incident=incident_of(state, cause, part),
        action=action,
        severity=severity,
        cause=cause,
        rollout=state.rollout,
        epoch=state.epoch,
        stage=state.stage,
        at=state.at,
        summary=summary,
        what=what,
        slices=slices,
        since=since,
        sure=sure,
        done=done,
        look=look,
    )


def arms(state: State) -> str:
    return f"{state.stable.model or 'stable'} → {state.candidate.model or 'candidate'}"


def claim(evidence: Evidence) -> str:
    """``error_rate > 2% in language=de (0.05 over 525 pairs)``."""
    where = f" in {evidence.slice}" if evidence.slice else ""
    seen = "" if evidence.mean is None else f" ({evidence.mean:.4g} over {evidence.n:,} pairs)"
    return f"{evidence.claim}{where}{seen}"


def evidence_of(verdict: Verdict) -> dict[str, Any]:
    """What a decision rested on, for the log: the verdict with every claim's evidence."""
    return asdict(verdict)
