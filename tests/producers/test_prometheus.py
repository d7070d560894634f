"""The mirror's counts in a service's own registry."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shadowlane import Mirror
from shadowlane.producers.prometheus import register


def test_the_counts_are_those_of_stats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    mirror, registry = Mirror(service="desk"), CollectorRegistry()
    register(mirror, registry)
    dropped = [mirror.begin("/chat", "http") for _ in range(3)]  # no Kafka: dropped, and counted
    assert dropped == [None] * 3
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples: dict[tuple[str, str | None], Any] = {
        (s.name, s.labels.get("reason") or s.labels.get("kind")): (s.value, s.labels["service"])
        for family in families
        for s in family.samples
    }
    assert samples["shadowlane_mirror_eligible_requests_total", None] == (3, "desk")
    assert samples["shadowlane_mirror_dropped_requests_total", "no_kafka"] == (3, "desk")
    assert samples["shadowlane_mirror_problems_total", "no_kafka"] == (1, "desk")
    assert samples["shadowlane_mirror_mirrored_requests_total", None] == (0, "desk")
    assert samples["shadowlane_mirror_connected", None] == (0, "desk")
