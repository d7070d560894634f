"""`shadowlane rollout …` on a real store: whose configuration counts, and texts that are not meant for a terminal."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
import pytest

from shadowlane.cli.rollout import run_command, run_history, run_status, run_versions
from shadowlane.cli.status import _with_more
from shadowlane.errors import RefusedError
from shadowlane.processors.status import Part
from shadowlane.rollout.incidents import Told
from shadowlane.rollout.log import Log, read_changes
from shadowlane.rollout.machine import HOUR_MS, Command, on_models
from shadowlane.rollout.models import Change
from shadowlane.rollout.state import Phase, State
from shadowlane.rollout.store import ClickHouseStore
from shadowlane.schemas.config import ClickHouse, Settings
from tests.databases import migrated
from tests.rollout.making import NOW, STAGES, rollout
from tests.rollout.stored import settings
from tests.services import ClickHouseAddress


@pytest.fixture
def stored(clickhouse: ClickHouseAddress, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClickHouse]:
    monkeypatch.setattr("shadowlane.cli.rollout._tell_routers", lambda settings, state: None)
    with migrated(clickhouse) as made:
        yield made


def say(configured: Settings, command: Command, reason: str = "because", by: str = "k") -> State:
    run_command(configured, "to-b", command, by, reason)
    state = Log(ClickHouseStore(configured.clickhouse)).head("to-b")
    assert state is not None
    return state


def with_(stored: ClickHouse, **changes: Any) -> Settings:
    return settings(stored, rollout(stages=STAGES[1:], **changes))


def test_what_stops_a_rollout_is_of_what_runs_whatever_the_file_here_says(stored: ClickHouse) -> None:
    """Were it of the file's own epoch, a controller with the other file would begin the one that was to stop again."""
    running, here = (
        with_(stored),
        with_(stored, candidate={"model": "c", "base_url": "http://127.0.0.1:1/v1"}),
    )
    began = say(running, Command.PROMOTE)
    assert say(here, Command.PAUSE).epoch == began.epoch
    assert say(here, Command.RESUME).phase is Phase.RUNNING
    with pytest.raises(RefusedError, match="another configuration"):
        say(here, Command.PROMOTE)
    with pytest.raises(RefusedError, match="running in stage"):
        say(here, Command.RESTART)
    state = say(here, Command.ABORT)
    assert (state.phase, state.epoch, state.candidate.model) == (Phase.ABORTED, began.epoch, "b")
    assert [e.event for e in Log(ClickHouseStore(stored)).history("to-b")] == [
        "started", "promoted", "paused", "resumed", "aborted",
    ]  # fmt: skip


def test_a_new_generation_is_restarted_without_a_controller(stored: ClickHouse) -> None:
    say(with_(stored), Command.ABORT)
    state = say(with_(stored, generation=2), Command.RESTART)
    assert (state.phase, state.epoch) == (Phase.RUNNING, rollout(stages=STAGES[1:], generation=2).epoch)


def test_a_model_that_was_changed_stays_in_status_until_the_next_epoch(
    stored: ClickHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    configured = with_(stored)
    log = Log(store := ClickHouseStore(stored))
    began = say(configured, Command.PAUSE)
    change = Change("b", "b-1", "b-2\x1b[2J", NOW)
    told = on_models(began, Told(), [change], NOW)
    assert told is not None
    over = on_models(log.append(told).state, Told(), [], began.at + 10 * HOUR_MS)
    assert over is not None
    log.append(over)
    assert read_changes(store.rows, ["to-b", "other"]) == {"to-b": [change]}
    line = "the provider changed the model: b is b-2"

    capsys.readouterr()
    run_status(configured, "to-b", as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert line in shown
    assert "and was b-1" in shown
    assert "\x1b" not in shown
    run_status(configured, "to-b", as_json=True)
    (document,) = orjson.loads(capsys.readouterr().out)
    assert document["model_changes"] == [asdict(change)]
    part = _with_more(configured, Part("controller", True, "c leads"))
    assert part.told[0].startswith(f"rollout to-b: {line}")
    assert _with_more(configured, Part("controller", False, "none leads")).told == []

    say(configured, Command.ABORT)
    say(with_(stored, generation=2), Command.RESTART)
    assert read_changes(store.rows, ["to-b"]) == {}


def test_a_reason_is_shown_as_it_is(stored: ClickHouse, capsys: pytest.CaptureFixture[str]) -> None:
    configured = with_(stored)
    say(configured, Command.PAUSE, "[/x] [b]y[/b] :bomb: \x1b[2J", by="\udcff[/z]")
    capsys.readouterr()
    run_history(configured, "to-b", limit=10, as_json=False)
    run_versions(configured, "to-b", as_json=False)
    shown = capsys.readouterr().out
    for part in ("[/x]", "[b]y[/b]", ":bomb:", "?[/z]"):
        assert part in "".join(shown.split())
    assert "\x1b" not in shown
