"""What every test may use: the two servers, as session fixtures. And what CI may not skip."""

import os

import pytest

pytest_plugins = ["tests.services"]

# What a machine may lack, by the beginning of the reason that the test gives. In CI, any other skip is a fault.
MAY_BE_MISSING = ("docker compose is not installed",)


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
    """The reasons of the skipped tests."""
    reports = reporter.stats.get("skipped", []) if reporter else []
    return [str(r.longrepr[2]).removeprefix("Skipped: ") for r in reports if isinstance(r.longrepr, tuple)]
