"""What every test may use: the servers, as session fixtures. And what CI may not skip."""

import os

import hypothesis
import pytest

from shadowlane.embedded.kafka.jars import UNREACHABLE

pytest_plugins = ["tests.services"]

# How long a busy machine takes says nothing of the code.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")

NO_RECORDINGS = (
    "no recorded models: SHADOWLANE_RECORDED_MODELS names the folder that has prompts.jsonl.gz and models"
)

# What a machine may lack, by the beginning of the reason that the test gives. In CI, any other skip is a fault.
MAY_BE_MISSING = (
    "docker compose is not installed",
    "nginx is not installed",
    "node is not installed",
    "envoy is not installed",
    "promtool is not installed",
    "the clients' environments are not there: make clients",  # which .ci/run does, where they may not be missing
    "no recorded models: ",
    f"Apache Kafka: {UNREACHABLE}",
    NO_RECORDINGS,
)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in _skipped(terminalreporter):
        terminalreporter.write_line(f"skipped: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    unexpected = [reason for reason in _skipped(reporter) if not reason.startswith(MAY_BE_MISSING)]
    if reporter and os.environ.get("CI") and unexpected and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"\nin CI these must not be skipped: {'; '.join(unexpected)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skipped(reporter: pytest.TerminalReporter | None) -> list[str]:
    """The reasons of the skipped tests, each once. Workers of xdist have no reporter; who started them has one."""
    reports = reporter.stats.get("skipped", []) if reporter else []
    reasons = (str(r.longrepr[2]).removeprefix("Skipped: ") for r in reports if isinstance(r.longrepr, tuple))
    return list(dict.fromkeys(reasons))
