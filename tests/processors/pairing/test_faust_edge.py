"""What pairing asks of Faust: options, assignments, backpressure."""

from typing import Any

import faust
import pytest
from faust.types import TP

from shadowlane.errors import BrokerError, ConfigError
from shadowlane.processors.faust_edge import Backpressure, check_assignment, faust_options
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Role

TOPICS = {Role.SERVED: "served", Role.SHADOW: "shadow"}


def test_the_options_are_those_that_faust_takes(tmp_path: Any) -> None:
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": "a:1, b:2", "topic_prefix": "p"}})
    app = faust.App(**faust_options(settings, str(tmp_path)))
    assert app.conf.id == "p-pairing"
    assert [str(url) for url in app.conf.broker] == ["kafka://a:1", "kafka://b:2"]
    assert not app.conf.web_enabled
    assert not app.conf.stream_wait_empty
    assert app.conf.topic_disable_leader
    assert app.conf.broker_max_poll_interval > settings.pairing.wait_s


def test_security_that_faust_would_go_without_is_refused() -> None:
    settings = Settings.model_validate({"kafka": {"client": {"security.protocol": "ssl"}}})
    with pytest.raises(ConfigError, match=r"kafka\.client\.security\.protocol"):
        faust_options(settings, "")
    faust_options(Settings.model_validate({"kafka": {"client": {"linger.ms": 5}}}), "")


def test_both_halves_of_a_partition_must_come_to_one_worker() -> None:
    check_assignment(TOPICS, {TP("served", 0), TP("shadow", 0)})
    check_assignment(TOPICS, set())
    with pytest.raises(BrokerError, match=r"partitions \[0, 1\] of served and \[0\] of shadow"):
        check_assignment(TOPICS, {TP("served", 0), TP("served", 1), TP("shadow", 0)})


def test_a_partition_is_paused_until_it_is_resumed() -> None:
    calls: list[tuple[str, TP]] = []

    class Consumer:
        def on_buffer_full(self, tp: TP) -> None:
            calls.append(("full", tp))

        def on_buffer_drop(self, tp: TP) -> None:
            calls.append(("drop", tp))

    class App:
        consumer = Consumer()

    backpressure = Backpressure(App(), TOPICS)
    backpressure.pause((Role.SERVED, 1))
    backpressure.pause((Role.SERVED, 1))  # again: Faust may have resumed it
    backpressure.pause((Role.SHADOW, 2))
    backpressure.resume((Role.SHADOW, 2))
    assert backpressure.paused == {(Role.SERVED, 1)}
    backpressure.resume_all()
    served, shadow = TP("served", 1), TP("shadow", 2)
    assert calls == [("full", served), ("full", served), ("full", shadow), ("drop", shadow), ("drop", served)]
    assert not backpressure.paused
