"""The controller on a real store, at the test's own time: walks stages, rolls back, is told off, dies and goes on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shadowlane.cli.rollout import run_recompute
from shadowlane.errors import BrokerError, StoreError
from shadowlane.evaluators.gates.scope import moment
from shadowlane.rollout import measured
from shadowlane.rollout.controller import MOST_BUCKETS_BEFORE, REPUBLISH_MS, Controller
from shadowlane.rollout.evidence import Keeper, Stage
from shadowlane.rollout.log import Log
from shadowlane.rollout.machine import Command, on_command
from shadowlane.rollout.models import answered_as
from shadowlane.rollout.recent import recent
from shadowlane.rollout.sessions import Sessions, read_sessions
from shadowlane.rollout.state import Action, Alert, Entry, Phase, State
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import ClickHouse, Confirm, Rollout
from shadowlane.schemas.events import LedgerCell, RolloutState
from tests.databases import migrated
from tests.rollout.making import HOUR, NOW, STAGES, rollout
from tests.rollout.stored import ClockedStore, NoAlerts, Routers, always_yes, put, settings
from tests.services import ClickHouseAddress

MINUTE = 60_000


@pytest.fixture
def clickhouse_settings(clickhouse: ClickHouseAddress) -> Iterator[ClickHouse]:
    with migrated(clickhouse) as made:
        yield made


@pytest.fixture
def store(clickhouse_settings: ClickHouse) -> ClockedStore:
    return ClockedStore(clickhouse_settings)


class Scene:
    """One rollout, one controller, and a clock."""

    def __init__(
        self, clickhouse: ClickHouse, store: ClockedStore, configured: Rollout, **changes: Any
    ) -> None:
        self.store, self.rollout = store, configured
        self.settings = settings(clickhouse, configured, **changes)
        self.routers, self.alerts = Routers(), NoAlerts()
        self.log = Log(store)
        self.controller = self.another("one")

    def another(self, holder: str, gate: Any = always_yes) -> Controller:
        return Controller(self.settings, self.store, self.routers, self.alerts, gate, holder)

    def later(self, ms: int) -> None:
        self.store.at += ms

    def poll(self) -> State:
        self.controller.poll()
        state = self.log.head(self.rollout.name)
        assert state is not None
        return state

    def events(self) -> list[str]:
        return [entry.event for entry in self.log.history(self.rollout.name)]


@pytest.fixture
def scene(clickhouse_settings: ClickHouse, store: ClockedStore) -> Scene:
    return Scene(clickhouse_settings, store, rollout(traffic_cycle_hours=0))


def test_a_good_candidate_walks_through_every_stage(scene: Scene) -> None:
    state = scene.poll()
    assert (state.phase, state.stage, state.traffic_pct) == (Phase.RUNNING, "shadow", 0)
    shares: list[float] = []
    for hours in (1, 4, 12):
        put(scene.store, scene.rollout, scene.store.at + MINUTE, 1200)
        scene.later(hours * HOUR - MINUTE)
        assert scene.poll().stage_number == len(shares)  # shown, and the shortest stay is not over
        scene.later(2 * MINUTE)
        state = scene.poll()
        shares.append(state.traffic_pct)
    assert shares == [5, 25, 100]
    assert state.phase is Phase.COMPLETED
    assert scene.events() == ["started", "promoted", "promoted", "completed"]
    assert [told.traffic_pct for told in scene.routers.told] == [0, 5, 25, 100]
    # What it rested on is in the log, and is what the pairs say.
    for entry in scene.log.history("to-b")[1:]:
        assert entry.evidence["verdict"] == "promote"
        assert entry.evidence["pairs"] == 1200
        assert all(claim["e"] >= 20 for claim in entry.evidence["promote"])


def test_evidence_is_kept_and_can_be_recomputed(scene: Scene) -> None:
    scene.poll()
    for minute in range(1, 8):
        put(scene.store, scene.rollout, scene.store.at + 1000, 60, failed=minute % 2)
        scene.later(MINUTE)
        if minute % 3:
            scene.poll()
    state = scene.poll()
    stage = Stage.of(scene.rollout, state, scene.settings.controller)
    until = moment(scene.store.at)
    keeper = Keeper(scene.store, scene.settings.controller)
    assert keeper.advance(stage, until) == keeper.recompute(stage, until)
    kept = scene.store.rows(
        "SELECT claim, e, pairs FROM evidence WHERE slice = '' ORDER BY until DESC, claim LIMIT 1 BY claim",
        {},
    )
    shown = {row["claim"]: (row["e"], row["pairs"]) for row in kept}
    verdict = stage.verdict(keeper.recompute(stage, until), scene.store.at)
    for claim in (*verdict.promote, *verdict.alarms):
        assert shown[claim.claim] == (pytest.approx(claim.e, rel=1e-9), claim.n)


def test_buckets_of_another_length_are_folded_anew(scene: Scene) -> None:
    """The stage began with a minute; of five minutes, the first whole ones are those that count."""
    put(scene.store, scene.rollout, NOW - MINUTE, 60)
    state = scene.poll()
    assert state.since == NOW - MINUTE
    for minute in range(10):
        put(scene.store, scene.rollout, NOW + minute * MINUTE, 60)
    scene.later(10 * MINUTE)
    scene.poll()
    longer = scene.settings.controller.model_copy(update={"bucket_s": 300})
    scene.settings = scene.settings.model_copy(update={"controller": longer})
    scene.controller.close()
    assert scene.another("two").poll().leads
    stage = Stage.of(scene.rollout, state, longer)
    fold = Keeper(scene.store, longer).advance(stage, moment(NOW + 10 * MINUTE))
    assert fold.pairs == 600


def test_a_replay_changes_nothing(scene: Scene) -> None:
    scene.poll()
    put(scene.store, scene.rollout, NOW + 1000, 300, failed=3, name="same")
    scene.later(MINUTE)
    state = scene.poll()
    stage = Stage.of(scene.rollout, state, scene.settings.controller)
    keeper = Keeper(scene.store, scene.settings.controller)
    before = keeper.recompute(stage, moment(scene.store.at))
    # The same ids, with worse news, a minute later.
    put(scene.store, scene.rollout, NOW + 1000, 300, failed=300, name="same", stored=NOW + MINUTE + 1000)
    scene.later(MINUTE)
    after = keeper.recompute(stage, moment(scene.store.at))
    assert (after.pairs, after.latch) == (before.pairs, before.latch)


def test_a_bad_candidate_is_out_within_one_poll(scene: Scene) -> None:
    scene.poll()
    put(scene.store, scene.rollout, NOW + 1000, 1200)
    scene.later(HOUR + MINUTE)
    assert scene.poll().traffic_pct == 5
    put(scene.store, scene.rollout, scene.store.at + 1000, 300, failed=60, served_arm="candidate")
    scene.later(MINUTE + 1000)
    state = scene.poll()
    assert (state.phase, state.traffic_pct) == (Phase.ROLLED_BACK, 0)
    assert scene.routers.told[-1].traffic_pct == 0
    (alert,) = scene.log.history("to-b")[-1].alerts
    assert alert.severity == "critical"
    # It stays out, whatever comes, and the incident ends once nobody is served by it.
    scene.later(6 * MINUTE)
    assert scene.poll().open == ()
    assert scene.events()[-2:] == ["rolled_back", "resolved"]


def test_a_total_outage_is_seen_with_the_first_closed_bucket(scene: Scene) -> None:
    scene.poll()
    put(scene.store, scene.rollout, NOW + 1000, 20, failed=20)
    scene.later(MINUTE - 1)
    assert scene.poll().phase is Phase.RUNNING  # the bucket is open
    scene.later(1)
    assert scene.poll().phase is Phase.ROLLED_BACK


def test_an_open_buckets_alarm_is_no_decision(scene: Scene) -> None:
    """What one half of a minute says may vanish as the minute fills."""
    scene.poll()
    put(scene.store, scene.rollout, NOW + 1000, 40, failed=6)
    scene.later(30_000)
    assert scene.poll().phase is Phase.RUNNING
    put(scene.store, scene.rollout, NOW + 31_000, 4000)
    scene.later(30_000)
    assert scene.poll().phase is Phase.RUNNING


def test_a_stage_that_is_over_is_inconclusive_and_waits(scene: Scene) -> None:
    scene.poll()
    scene.later(26 * HOUR)
    state = scene.poll()
    assert (state.phase, state.traffic_pct) == (Phase.INCONCLUSIVE, 0)
    put(scene.store, scene.rollout, scene.store.at + 1000, 3000)
    scene.later(HOUR)
    assert scene.poll().phase is Phase.INCONCLUSIVE


def test_one_slice_is_taken_out_and_the_rest_goes_on(
    clickhouse_settings: ClickHouse, store: ClockedStore
) -> None:
    configured = rollout(
        traffic_cycle_hours=0,
        slices=["language"],
        auto_rollback={"slices": "alone", "trigger": "error_rate > 20%"},
    )
    scene = Scene(clickhouse_settings, store, configured)
    scene.poll()
    for minute in range(12):
        put(store, configured, store.at + 1000, 300, stable_failed=8, attributes={"language": "en"})
        bad = 7 if minute >= 4 else 0
        put(store, configured, store.at + 1000, 15, failed=bad, attributes={"language": "de"})
        scene.later(MINUTE)
        state = scene.poll()
    assert (state.phase, state.excluded) == (Phase.RUNNING, ("language=de",))
    assert scene.routers.told[-1].excluded == ["language=de"]
    assert "slice_rolled_back" in scene.events()
    assert "rolled_back" not in scene.events()


def test_a_route_is_a_slice_too(clickhouse_settings: ClickHouse, store: ClockedStore) -> None:
    scene = Scene(clickhouse_settings, store, rollout(slices=["route", "service", "language"]))
    scene.poll()
    put(store, scene.rollout, NOW + 1000, 50, attributes={"language": "de"})
    scene.later(MINUTE)
    scene.poll()
    found = store.rows("SELECT DISTINCT slice FROM evidence WHERE pairs = 50 ORDER BY slice", {})
    assert [row["slice"] for row in found] == ["", "language=de", "route=chat", "service=desk"]
    assert recent(store.rows, scene.rollout, moment(store.at)).baseline.shares[0].slices == (  # type: ignore[union-attr]
        "route=chat", "service=desk", "language=de",
    )  # fmt: skip


def test_two_controllers_at_once_make_one_history(
    clickhouse_settings: ClickHouse, store: ClockedStore
) -> None:
    """Each believes that it leads: their leases have different clocks' worth of patience."""
    scene = Scene(clickhouse_settings, store, rollout(traffic_cycle_hours=0), controller={
        "close_after_s": 0, "bucket_s": 60, "lease_s": 0.001, "blind_after_s": 0,
    })  # fmt: skip
    other = scene.another("two")
    for hours in (0, 1, 4, 12):
        put(store, scene.rollout, store.at + 1000, 1200)
        scene.later(hours * HOUR + MINUTE)
        one = scene.controller.poll()
        scene.later(1)
        two = other.poll()
        assert one.leads
        assert two.leads
        assert len(one.decisions) == 1
        assert two.decisions == []
    assert scene.events() == ["started", "promoted", "promoted", "completed"]


def test_a_standby_takes_over_where_the_leader_fell_silent(scene: Scene) -> None:
    scene.poll()
    other = scene.another("two")
    put(scene.store, scene.rollout, NOW + 1000, 1200)
    scene.later(29_000)
    assert not other.poll().leads
    scene.later(HOUR)
    poll = other.poll()
    assert poll.leads
    assert [entry.event for entry in poll.decisions] == ["promoted"]
    # What it does not know whether routers have, it tells again.
    assert {told.seq for told in scene.routers.told} == {1, 2}


def test_a_command_beats_the_controller_and_is_kept(scene: Scene) -> None:
    state = scene.poll()
    scene.log.append(on_command(scene.rollout, state, Command.PAUSE, "Ada", "a freeze", NOW, NOW))
    put(scene.store, scene.rollout, NOW + 1000, 1200)
    scene.later(2 * HOUR)
    assert scene.poll().phase is Phase.PAUSED
    assert scene.routers.told[-1].phase == "paused"


def test_the_gate_is_asked_aside_until_it_says_yes(
    clickhouse_settings: ClickHouse, store: ClockedStore
) -> None:
    stages = [STAGES[0], {**STAGES[1], "confirm": {"url": "http://127.0.0.1:1/"}}]
    scene = Scene(clickhouse_settings, store, rollout(traffic_cycle_hours=0, stages=stages))
    answers = iter([(False, "not on Fridays"), (True, "fine")])
    asked: list[str] = []

    def gate(confirm: Confirm, entry: Entry, stage: str) -> tuple[bool, str]:
        assert entry.evidence["verdict"] == "promote"  # each time: it may be what the answer hangs on
        asked.append(stage)
        return next(answers)

    scene.controller = scene.another("one", gate)
    scene.poll()
    put(store, scene.rollout, NOW + 1000, 1200)
    scene.later(2 * HOUR)
    stages_seen = []
    for _ in range(200):
        state = scene.poll()
        stages_seen.append(state.stage)
        if state.stage == "canary":
            break
    assert stages_seen[0] == "shadow"
    assert stages_seen[-1] == "canary"
    assert asked == ["canary", "canary"]
    assert scene.events() == ["started", "confirmation_asked", "promoted"]


def test_a_yes_from_before_a_pause_is_asked_again(
    clickhouse_settings: ClickHouse, store: ClockedStore
) -> None:
    stages = [STAGES[0], {**STAGES[1], "confirm": {"url": "http://127.0.0.1:1/"}}]
    scene = Scene(clickhouse_settings, store, rollout(traffic_cycle_hours=0, stages=stages))
    asked: list[str] = []

    def gate(confirm: Confirm, entry: Entry, stage: str) -> tuple[bool, str]:
        asked.append(stage)
        return len(asked) == 1, "only while on-call is awake"

    scene.controller = scene.another("one", gate)
    scene.poll()
    put(store, scene.rollout, NOW + 1000, 1200)
    scene.later(2 * HOUR)
    state = scene.poll()  # asks; the answer is for the next poll
    for command in (Command.PAUSE, Command.RESUME):
        state = scene.log.append(
            on_command(scene.rollout, state, command, "Ada", "a look first", store.at, store.at)
        ).state
        scene.later(MINUTE)
        state = scene.poll()
    assert state.stage == "shadow"
    for _ in range(200):
        if len(asked) > 1:
            break
        scene.poll()
    assert len(asked) > 1
    assert scene.poll().stage == "shadow"


def test_the_incident_of_a_rollout_that_is_configured_no_more_is_resolved(
    scene: Scene, clickhouse_settings: ClickHouse
) -> None:
    scene.poll()
    put(scene.store, scene.rollout, NOW + 1000, 300, failed=60)
    scene.later(MINUTE)
    assert scene.poll().open
    scene.settings = settings(clickhouse_settings)
    scene.controller = scene.another("one")
    scene.later(6 * MINUTE)
    assert scene.poll().open == ()
    assert scene.events()[-1] == "resolved"


def test_a_rollout_that_is_configured_no_more_serves_nobody(
    scene: Scene, clickhouse_settings: ClickHouse
) -> None:
    scene.poll()
    put(scene.store, scene.rollout, NOW + 1000, 1200)
    scene.later(2 * HOUR)
    assert scene.poll().traffic_pct == 5
    scene.settings = settings(clickhouse_settings)
    scene.controller = scene.another("one")
    scene.later(MINUTE)
    assert scene.poll().phase is Phase.ABORTED
    assert (scene.events()[-1], scene.routers.told[-1].traffic_pct) == ("removed", 0)
    assert scene.poll().seq == 3


def test_a_bucket_is_open_while_an_insert_of_it_runs(scene: Scene) -> None:
    """Its rows are stamped with the time at which it began, and nobody sees them yet."""
    scene.poll()
    scene.later(5 * MINUTE)
    keeper = Keeper(scene.store, scene.settings.controller)
    assert keeper.closed_until(scene.store.at) == moment(NOW + 5 * MINUTE)
    slow = """INSERT INTO pair_log (pair_id, request_id, outcome)
        SELECT 'p' || toString(number), 'r', 'scored' FROM numbers(1000) WHERE NOT ignore(sleepEachRow(0.01))
        SETTINGS function_sleep_max_microseconds_per_block = 100000000"""
    with ThreadPoolExecutor(1) as pool:
        inserting = pool.submit(ClockedStore(scene.settings.clickhouse).rows, slow, {})
        while not scene.store.longest_insert_ms("pair_log"):
            assert not inserting.done()
        while scene.store.longest_insert_ms("pair_log") <= 1000:
            assert not inserting.done()
        assert keeper.closed_until(scene.store.at) == moment(NOW + 4 * MINUTE)
        inserting.result()
    assert keeper.closed_until(scene.store.at) == moment(NOW + 5 * MINUTE)


def test_an_insert_elsewhere_that_reads_the_pairs_keeps_no_bucket_open(scene: Scene) -> None:
    scene.store.rows("CREATE TABLE pair_log_copy (id String) ENGINE = Memory", {})
    slow = """INSERT INTO pair_log_copy
        SELECT toString(number) FROM numbers(100)
        WHERE NOT ignore(sleepEachRow(0.01)) AND number NOT IN (SELECT length(pair_id) FROM pair_log)
        SETTINGS function_sleep_max_microseconds_per_block = 100000000"""
    with ThreadPoolExecutor(1) as pool:
        inserting = pool.submit(ClockedStore(scene.settings.clickhouse).rows, slow, {})
        while not scene.store.longest_insert_ms("pair_log_copy"):
            assert not inserting.done()
        assert scene.store.longest_insert_ms("pair_log") == 0
        inserting.result()


def test_a_pair_of_1970_keeps_no_controller_busy(scene: Scene) -> None:
    put(scene.store, scene.rollout, NOW, 1, stored=1)
    put(scene.store, scene.rollout, NOW - HOUR, 300, failed=100)
    state = scene.poll()
    assert state.since == NOW - MOST_BUCKETS_BEFORE * MINUTE
    assert state.phase is Phase.ROLLED_BACK


def test_all_states_are_published_again_and_again(scene: Scene) -> None:
    """A broker that begins anew has lost them: of one rollout as of many."""
    scene.poll()
    for times in (1, 2):
        before = len(scene.routers.heard)
        scene.later(REPUBLISH_MS)
        scene.poll()
        scene.later(1000)
        scene.poll()
        assert len(scene.routers.heard) == before + 1, times


def test_a_slice_with_a_name_of_any_length_is_rolled_back_and_resolved(
    clickhouse_settings: ClickHouse, store: ClockedStore
) -> None:
    configured = rollout(slices=["tenant"], auto_rollback={"slices": "alone", "trigger": "error_rate > 20%"})
    scene = Scene(clickhouse_settings, store, configured)
    scene.poll()
    name = "'=\n" + "x" * 300_000
    put(store, configured, NOW + 1000, 1000, stable_failed=60, attributes={"tenant": "en"})
    put(store, configured, NOW + 1000, 40, failed=40, attributes={"tenant": name})
    scene.later(2 * MINUTE)
    assert scene.poll().excluded == (f"tenant={name}",)
    scene.later(4 * MINUTE)
    put(store, configured, store.at, 10, attributes={"tenant": name}, served_arm="candidate")
    scene.later(2 * MINUTE)
    assert scene.poll().open  # it was served a moment ago
    scene.later(4 * MINUTE)
    assert not scene.poll().open


@pytest.mark.parametrize("fault", [StoreError("a sum that is no number"), KeyError("a fault of our own")])
def test_what_goes_wrong_with_one_rollout_holds_up_no_other(
    clickhouse_settings: ClickHouse, store: ClockedStore, fault: Exception
) -> None:
    broken, sound = rollout(name="broken"), rollout(name="sound")
    scene = Scene(clickhouse_settings, store, sound)
    scene.settings = settings(clickhouse_settings, broken, sound)
    scene.controller = scene.another("one")
    scene.poll()
    for configured in (broken, sound):
        put(store, configured, NOW + 1000, 300, failed=100)
    real = store.rows

    def rows(sql: str, parameters: Any) -> list[dict[str, Any]]:
        if parameters.get("rollout") == "broken":
            raise fault
        return real(sql, parameters)

    store.rows = rows  # type: ignore[method-assign]
    scene.later(2 * MINUTE)
    poll = scene.controller.poll()
    assert [entry.event for entry in poll.decisions] == ["rolled_back"]
    assert list(poll.failed) == ["broken"]
    assert scene.alerts.steps == 2


def test_a_canary_that_nobody_can_see_is_told_once_and_ends(
    clickhouse_settings: ClickHouse, store: ClockedStore
) -> None:
    """The worker has another configuration, or is dead: users have the candidate's answers, and no pair comes."""
    controller = {"close_after_s": 0, "bucket_s": 60, "lease_s": 30, "blind_after_s": 900}
    scene = Scene(clickhouse_settings, store, rollout(stages=STAGES[1:]), controller=controller)
    scene.poll()
    put(store, scene.rollout, NOW + 1000, 20)
    scene.later(15 * MINUTE)
    assert scene.poll().open == ()
    cell = LedgerCell(
        instance="m", minute=NOW + 10 * MINUTE, service="desk", route="chat", row="mirrored", count=70
    )
    store.insert("ledger_log", encode(cell), "one")
    scene.later(MINUTE)
    (alert,) = _told(scene, "blind")
    assert (alert.severity, alert.cause, alert.since) == ("critical", "blind", NOW + 1000)
    assert "70 requests were mirrored in that time" in alert.what[0]
    scene.later(HOUR)
    seq = scene.poll().seq
    scene.later(MINUTE)
    assert scene.poll().seq == seq  # told once
    put(store, scene.rollout, store.at + 1000, 5)
    scene.later(2 * MINUTE)
    (end,) = _told(scene, "seeing")
    assert (end.action, end.incident) == (Action.RESOLVE, alert.incident)
    assert scene.poll().open == ()


def _told(scene: Scene, event: str) -> tuple[Alert, ...]:
    scene.poll()
    last = scene.log.history("to-b")[-1]
    assert last.event == event
    return last.alerts


def test_a_broker_that_is_away_delays_the_routers_and_nothing_else(scene: Scene) -> None:
    class Away:
        asked = 0

        def publish(self, states: list[RolloutState]) -> None:
            self.asked += 1
            raise BrokerError("no broker answers")

    routers = Away()
    away = Controller(scene.settings, scene.store, routers, scene.alerts, always_yes, "one")
    poll = away.poll()
    assert routers.asked == 1  # each time takes seconds, and on-call waits
    assert [entry.event for entry in poll.decisions] == ["started"]
    assert "no broker" in poll.failed["to-b"]
    assert scene.alerts.steps == 1
    scene.poll()
    assert [told.seq for told in scene.routers.told] == [1]


def test_a_store_that_is_away_is_said_and_nothing_is_lost(scene: Scene) -> None:
    scene.poll()
    put(scene.store, scene.rollout, NOW + 1000, 1200)
    scene.later(2 * HOUR)
    real, scene.store.rows = scene.store.rows, _raising  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        scene.controller.poll()
    scene.store.rows = real  # type: ignore[method-assign]
    assert scene.poll().stage == "canary"


def _raising(sql: str, parameters: Any) -> list[dict[str, Any]]:
    raise StoreError("away")


def test_what_is_kept_is_held_to_the_pairs(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.poll()
    put(scene.store, scene.rollout, NOW + 1000, 300, failed=3)
    scene.later(MINUTE)
    scene.poll()
    run_recompute(scene.settings, None)
    assert "from 300 pairs" in (said := capsys.readouterr().out)
    assert said.strip().endswith("the same")
    # A pair that came to be in a closed bucket, which no insert of ours does.
    put(scene.store, scene.rollout, NOW + 2000, 1)
    with pytest.raises(SystemExit):
        run_recompute(scene.settings, None)
    assert "NOT THE SAME: 300 pairs" in capsys.readouterr().out


def test_the_report_says_what_a_version_was_asked_without(scene: Scene) -> None:
    for left_out in ([], ["seed"], ["seed", "temperature"]):
        put(scene.store, scene.rollout, NOW, 2, left_out=left_out)
    assert measured.left_out(scene.store.rows, scene.rollout) == {"seed": 4, "temperature": 2}


def test_the_report_says_where_a_session_goes_another_way(scene: Scene) -> None:
    def step(session: str, at: int, stable: str | None, candidate: str | None) -> None:
        calls = [[{"name": name, "arguments": {}}] if name else None for name in (stable, candidate)]
        put(
            scene.store,
            scene.rollout,
            NOW + at,
            1,
            attributes={"session.id": session},
            stable_tool_calls=calls[0],
            candidate_tool_calls=calls[1],
        )

    step("talk", 0, None, None)
    assert read_sessions(scene.store.rows, scene.rollout) is None, "nothing was called"
    put(scene.store, scene.rollout, NOW, 1, stable_tool_calls=[{"name": "look_up", "arguments": {}}])
    step("same", 0, "look_up", "look_up")
    step("same", 1, None, None)
    for at, candidate in enumerate(("look_up", "refund", "look_up", "refund")):
        step("other", at, "look_up", candidate)
    found = read_sessions(scene.store.rows, scene.rollout)
    assert found == Sessions(
        sessions=3, another_way=1, compared=7, diverged=2, compared_after=2, diverged_after=1
    )


def test_on_call_hears_that_the_provider_changed_the_model(scene: Scene) -> None:
    scene.poll()
    names: dict[str, Any] = {"candidate_model": "b", "stable_model": "a", "stable_served_model": "a-1"}
    for minute in range(40):
        served = "b-1" if minute < 20 or minute % 2 else "b-2"  # from then on to and fro
        put(scene.store, scene.rollout, scene.store.at, 2, candidate_served_model=served, **names)
        scene.later(MINUTE)
        state = scene.poll()
    assert scene.events() == ["started", "model_changed"]
    entry = scene.log.history("to-b")[-1]
    assert entry.reason == "b is b-2 now, and was b-1"
    assert [alert.cause for alert in entry.alerts] == ["model"]
    assert state.open == tuple(alert.incident for alert in entry.alerts)
    scene.later(HOUR)
    assert scene.poll().open == ()
    # Another controller, that has seen nothing of it, tells nothing again.
    scene.controller.close()
    scene.controller = scene.another("two")
    put(scene.store, scene.rollout, scene.store.at, 2, candidate_served_model="b-2", **names)
    scene.later(MINUTE)
    scene.poll()
    assert scene.events().count("model_changed") == 1
    found = answered_as(scene.store.rows, "to-b", scene.rollout.epoch)
    assert [(row["arm"], row["asked"], row["served"], row["pairs"]) for row in found] == [
        ("stable", "a", "a-1", 82),
        ("candidate", "b", "b-1", 60),
        ("candidate", "b", "b-2", 22),
    ]
