"""What a replay sends, under which IDs and times, and how it is counted; a run that ends early, and the next one."""

from pathlib import Path

import pytest

from shadowlane.errors import BrokerError, ConfigError
from shadowlane.producers.capture import Capture
from shadowlane.producers.replay import Pace
from shadowlane.producers.replay.progress import Progress, load, save
from shadowlane.schemas.topics import Topics
from tests.producers.replay.building import STARTED, TS, Run, line, put
from tests.producers.support import FakeLink, Sent


def ids(sent: Sent) -> list[str]:
    return sorted(request.request_id for request in sent.requests)


def test_begun_anew_it_is_the_same_requests_in_the_same_cells(tmp_path: Path) -> None:
    path = put(tmp_path / "log", *(line(f"{n}", ts=TS + n) for n in range(200)))
    one, two = Run(path).sent(), Run(path).sent()
    assert ids(one) == ids(two)
    assert len(set(ids(one))) == 200
    assert one.cells == two.cells
    assert one.rows == {"eligible": 200, "mirrored": 200}
    assert {request.ts for request in one.requests} == {TS + n for n in range(200)}


def test_a_repetition_has_ids_and_counts_of_its_own(tmp_path: Path) -> None:
    path = put(tmp_path / "log", line("a", ts=TS), line("b", ts=TS))
    sent = Run(path, repeat=3).sent()
    assert len(set(ids(sent))) == 6
    assert sent.rows["mirrored"] == 6
    assert len({key[0] for key in sent.cells}) == 3


def test_a_line_of_the_same_id_is_left_out(tmp_path: Path) -> None:
    run = Run(put(tmp_path / "log", line("a", id="x", ts=TS), line("b", id="x", ts=TS), line("a", ts=TS)))
    assert run.sent().rows["mirrored"] == run.replay.told.sent == 2
    assert run.replay.told.repeated == 1


def test_lines_without_a_time_have_that_of_the_first_start_and_are_other_requests_at_another(
    tmp_path: Path,
) -> None:
    path = put(tmp_path / "log", line("a"))
    first = Run(path).sent()
    later = Run(path, progress=Progress(options={}, instance="replay-1", started=STARTED + 60_000)).sent()
    assert [request.ts for request in (*first.requests, *later.requests)] == [STARTED, STARTED + 60_000]
    assert not set(first.cells) & set(later.cells)
    assert ids(first) != ids(later)


def test_now_gives_the_times_of_the_schedule(tmp_path: Path) -> None:
    path = put(tmp_path / "log", line("a", ts=TS), line("b", ts=TS + 400), line("c", ts=TS + 1_000))
    sent = Run(path, now=True, pace=Pace(speed=20)).sent()
    assert sorted(request.ts - STARTED for request in sent.requests) == [0, 20, 50]


def test_what_is_refused_is_told_by_its_line_and_what_cant_be_sent_is_counted(tmp_path: Path) -> None:
    path = put(
        tmp_path / "log", line("a", ts=TS), {"request": {}}, line("x" * 1_000_000, ts=TS), line("b", ts=TS)
    )
    run = Run(path)
    assert [(one.number, one.reason[:24]) for one in run.refused()] == [
        (2, "response: is missing"),
        (3, "over 900000 bytes, which"),
    ]
    assert run.replay.flush(10)
    sent = Sent(run.link.acknowledged)
    assert sent.rows == {"eligible": 3, "mirrored": 2, "dropped": 1}
    assert run.replay.told.sent == 2
    assert run.forwarder.acknowledged == 3


def test_it_is_redacted(tmp_path: Path) -> None:
    sent = Run(put(tmp_path / "log", line("mail bob@example.com", ts=TS))).sent()
    assert sent.requests[0].body["messages"][0]["content"] == "mail [email]"
    assert sent.served[0].output == "mail [email]"


def test_it_lets_out_what_the_settings_say(tmp_path: Path) -> None:
    path = put(tmp_path / "log", *(line(f"mail bob@example.com {n}", ts=TS, key=f"k{n}") for n in range(40)))
    run = Run(path, capture=Capture(content="metadata", sample=0.5, per_second=1))
    sent = run.sent()
    assert {(r.body, r.without_content) for r in sent.requests} == {(None, "metadata")}
    assert sent.rows == {
        "eligible": 40,
        "mirrored": len(sent.requests),
        "sampled_out": 40 - len(sent.requests),
    }
    assert 5 < len(sent.requests) < 35, "by key; a cap by the second is none of a replay's"
    assert run.replay.told.sampled_out == 40 - len(sent.requests)
    assert run.forwarder.without_content == {"metadata": len(sent.requests)}


class Dying(FakeLink):
    """Kafka, until it was asked so often. Then the process ends, and Kafka has what was under way."""

    def __init__(self, polls: int) -> None:
        super().__init__()
        self.left = polls

    def poll(self, timeout_s: float) -> None:
        self.left -= 1
        if self.left < 0:
            self.acknowledged += [message[:3] for message in self.waiting]
            self.waiting.clear()
            raise KeyboardInterrupt
        super().poll(timeout_s)


@pytest.mark.parametrize("polls", [0, 1, 90, 150, 400])
def test_a_run_that_is_cut_off_goes_on_and_every_request_is_counted_once(tmp_path: Path, polls: int) -> None:
    path, state = tmp_path / "log", tmp_path / "state"
    put(path, line("y" * 1_000_000, ts=TS), *(line(f"{n} " + "x" * 100, ts=TS + n * 100) for n in range(400)))
    everything = Run(path).sent()

    link = Dying(polls)
    run = Run(path, state=state, link=link)
    with pytest.raises(KeyboardInterrupt):
        run.sent()
    run.replay.save()
    run.forwarder.say()  # and its counts came through, too
    first = Sent([*link.acknowledged, *(message[:3] for message in link.waiting)])
    found = load(state, {})
    assert found is not None
    assert found.acknowledged <= len(set(ids(first))) + 1

    second = Run(path, state=state, progress=found).sent()
    assert set(ids(first)) | set(ids(second)) == set(ids(everything))
    cells = {
        key: max(first.cells.get(key, 0), second.cells.get(key, 0)) for key in first.cells | second.cells
    }
    assert cells == everything.cells


@pytest.mark.parametrize("cut", [1, 57, 199, 200, 201])
def test_it_sends_what_comes_after_the_mark_and_counts_all(tmp_path: Path, cut: int) -> None:
    path, part = tmp_path / "log", tmp_path / "part"
    lines = [line(f"{n}", ts=TS + n * 1_000) for n in range(200)]
    part.mkdir()
    before = Run(put(part / "log", *lines[:cut]))
    before.sent()
    run = Run(put(path, *lines), progress=before.progress)
    sent = run.sent()
    assert len(sent.requests) == run.replay.told.sent == max(0, 200 - cut)
    assert sent.rows == {"eligible": 200, "mirrored": 200}
    assert run.progress.acknowledged == 200


def test_other_files_than_before_are_refused(tmp_path: Path) -> None:
    before = Run(put(tmp_path / "log", line("a", ts=TS), line("b", ts=TS)), state=tmp_path / "state")
    before.sent()
    for changed in ([line("a", ts=TS), line("c", ts=TS)], [line("a", ts=TS)]):
        run = Run(put(tmp_path / "log", *changed), progress=before.progress, state=tmp_path / "state")
        with pytest.raises(
            ConfigError, match="the first 2 requests of these files are not those that were sent"
        ):
            run.refused()


def test_a_kafka_that_does_not_take_it_stops_the_replay_and_nothing_is_counted_as_dropped(
    tmp_path: Path,
) -> None:
    link = FakeLink()
    link.fate = lambda topic: "timed out" if topic == Topics().served else ""
    run = Run(put(tmp_path / "log", line("a", ts=TS)), link=link)
    run.refused()
    with pytest.raises(BrokerError, match="timed out"):
        run.replay.flush(10)
    assert run.forwarder.acknowledged == 0
    assert Sent(link.acknowledged).rows == {}


def test_topics_that_are_missing_are_an_error(tmp_path: Path) -> None:
    link = FakeLink()
    del link.topics[Topics().ledger]
    with pytest.raises(BrokerError, match=r"shadowlane\.ledger 0: create them"):
        Run(put(tmp_path / "log", line("a")), link=link)


def test_the_progress_of_other_options_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert load(path, {"--now": False}) is None
    save(path, Progress(options={"--now": False}, instance="i", started=1))
    assert load(path, {"--now": False}) is not None
    with pytest.raises(ConfigError, match="with another --now"):
        load(path, {"--now": True})
    path.write_text("{}")
    with pytest.raises(ConfigError, match="is no progress of a replay"):
        load(path, {})
