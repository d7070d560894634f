"""Where a rollout stands, by the controller's word and by what the evidence says now."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shadowlane.evaluators.gates.estimates import MetricReport, metric_reports
from shadowlane.evaluators.gates.fold import Fold
from shadowlane.evaluators.gates.reading import advance, stored
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import closed_until, milliseconds, moment
from shadowlane.evaluators.gates.verdict import Decision, Verdict
from shadowlane.rollout.evidence import Stage, kept_fold
from shadowlane.rollout.log import read_heads, read_history
from shadowlane.rollout.machine import begin
from shadowlane.rollout.state import Entry as LogEntry
from shadowlane.rollout.state import Phase, State
from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Rollout, Settings


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rollout stands: the controller's state, if it has one of this epoch, and what the evidence says now.

    ``decided`` is the last decision. The evidence is the present stage's, the open bucket on top.
    """

    state: State | None
    decided: LogEntry | None
    rules: Rules
    fold: Fold
    verdict: Verdict

    @property
    def answer(self) -> str:
        """The verdict; what was decided where that is final."""
        if self.state and self.state.phase is Phase.ROLLED_BACK:
            return Decision.ROLL_BACK.value
        if self._shown and not self.verdict.roll_back:
            return Decision.PROMOTE.value
        return self.verdict.verdict.value

    @property
    def reason(self) -> str:
        final = self._shown or (self.state is not None and self.state.phase is Phase.ROLLED_BACK)
        if final and self.decided and not self.verdict.roll_back:
            return self.decided.reason
        return self.verdict.reason

    @property
    def shown(self) -> list[tuple[MetricReport, tuple[str, ...]]]:
        """Each metric with the names of its tests."""
        shown = metric_reports(self.rules, self.fold.whole(self.rules))
        return [(metric, of.tests) for metric, of in zip(shown, self.rules.metrics, strict=True)]

    @property
    def _shown(self) -> bool:
        return self.state is not None and self.state.phase in (Phase.PASSED, Phase.COMPLETED, Phase.SETTLED)


def read_standing(rows: Rows, settings: Settings, rollout: Rollout, now: datetime) -> Standing:
    """Where the rollout stands, the open bucket's pairs too: evidence is valid at every moment. Raises StoreError."""
    state = read_heads(rows, [rollout.name]).get(rollout.name)
    if state is not None and state.epoch != rollout.epoch:
        state = None  # the controller has not seen the new configuration yet
    span = stored(rows, rollout.name, rollout.epoch)
    at = span.now if span else now
    controller = settings.controller
    if state is None:
        first = closed_until(span.first if span else now, controller.bucket_s, 0)
        stage = Stage.of(rollout, _unbegun(rollout, first), controller)
        fold = Fold.start(first)
        started = span.first if span else now
    else:
        stage = Stage.of(rollout, state, controller)
        fold = kept_fold(rows, stage)
        started = moment(state.entered)
    if span:
        fold = advance(rows, stage.rules, stage.scope, fold, at + timedelta(seconds=controller.bucket_s))
    verdict = stage.verdict(fold, milliseconds(max(at, started)))
    if state is None and fold.first:
        verdict = replace(stage, state=replace(stage.state, entered=milliseconds(fold.first))).verdict(
            fold, milliseconds(at)
        )
    decided = read_history(rows, rollout.name, 1) if state else []
    return Standing(state, decided[0] if decided else None, stage.rules, fold, verdict)


def _unbegun(rollout: Rollout, first: datetime) -> State:
    """As the controller would begin it."""
    entry = begin(rollout, None, milliseconds(first), milliseconds(first))
    assert entry is not None  # without a state before, it begins
    return entry.state
