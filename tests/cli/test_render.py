"""A model's text is data in a terminal too."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shadowlane.cli.pairs import prompt_of
from shadowlane.cli.render import bar, evidence, number, printable, shortened, signed
from shadowlane.cli.report import ROWS, _ledger, render
from shadowlane.rollout.measured import Metric
from shadowlane.rollout.report import Report
from shadowlane.rollout.sessions import Sessions


@given(st.text())
def test_nothing_that_a_terminal_obeys_gets_through(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert "\x1b" not in shown
    assert "\u202e" not in shown, "text that reorders what stands beside it"


@given(st.text(), st.integers(1, 80))
def test_shortened_is_one_line_of_at_most_so_many(text: str, width: int) -> None:
    line = shortened(text, width)
    assert len(line) <= width
    assert "\n" not in line


def test_numbers_have_their_units() -> None:
    assert number(0.91234) == "0.9123"
    assert number(1234.5, "ms") == "1,234.5 ms"
    assert number(0.000123, "usd") == "$0.000123"
    assert number(None) == ""
    assert signed(-0.5) == "−0.5000"
    assert signed(0.0) == "+0.0000"
    assert evidence(20.123) == "20.1"
    assert evidence(1e300) == "1e300"


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_bar_is_as_wide_as_asked(part: int, whole: int) -> None:
    assert len(bar(min(part, whole), whole, 10)) == 10


def test_the_prompt_is_the_last_thing_the_user_said() -> None:
    assert (
        prompt_of('{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}') == "b"
    )
    assert prompt_of('{"messages": [{"role": "user", "content": [{"type": "text", "text": "c"}]}]}') == "c"
    assert prompt_of('{"question": 1}') == '{"question": 1}'
    assert prompt_of("") == ""


def test_only_the_numbers_of_the_ledger_stand_on_the_right() -> None:
    ledger: dict[str, Any] = dict.fromkeys(ROWS, 0) | {"scored": 7, "eligible": 7, "unreadable": 0}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(_ledger(ledger | {"adds_up": True, "reasons": {}}))
    scored = next(line for line in console.export_text().splitlines() if line.startswith("scored"))
    assert scored.split("█")[-1].startswith("  both answers")


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_what_a_promotion_lacks_is_told_one_by_one() -> None:
    missing = ("not shown: error_rate < 2%", "0 of at least 500 pairs")
    none = Metric("score", 0, None, None, None, None)
    report = Report(
        rollout="to-b",
        verdict="hold",
        reason=f"not decided yet: {'; '.join(missing)}",
        stage="shadow",
        epoch="0123456789ab",
        stable="a",
        candidate="b",
        at=datetime(2026, 3, 1, tzinfo=UTC),
        since=None,
        pairs=0,
        pairs_needed=None,
        missing=missing,
        roll_back=None,
        metrics={"quality_score": none},
        failures={},
        ledger=dict.fromkeys(ROWS, 0) | {"eligible": 0, "unreadable": 0, "adds_up": True, "reasons": {}},
        phase="running",
    )
    lines = [line.rstrip() for line in shown(report)]
    at = lines.index("HOLD  not decided yet:")
    assert lines[at + 1 : at + 3] == [f"      {one}" for one in missing]
    rolled_back = replace(report, verdict="roll_back", reason="error_rate > 2%: evidence 256 of 100")
    assert "ROLL BACK  error_rate > 2%: evidence 256 of 100" in shown(rolled_back)
    assert not any("not shown" in line for line in shown(rolled_back))
    assert any(
        "no controller goes by this configuration yet" in line for line in shown(replace(report, phase=None))
    )
    answers = {"first": NOON, "last": NOON, "pairs": 7, "asked": "b"}
    one = {"arm": "stable", **answers, "served": "b-0"}
    two = [{"arm": "candidate", **answers, "served": name} for name in ("b-1", "b-2")]
    changed = [line for line in shown(replace(report, models=(one, *two))) if "answered as" in line]
    assert [line.partition(":")[0] for line in changed] == [
        "The candidate b answered as b-1",
        "The candidate b answered as b-2",
    ]
    without = replace(report, left_out={"temperature": 1200, "seed": 7})
    assert "Pairs that one version was asked without: temperature 1,200, seed 7" in map(
        str.rstrip, shown(without)
    )

    text = " ".join(map(str.strip, shown(replace(report, sessions=Sessions(20, 5, 55, 6, 9, 1)))))
    assert "In 5 of 20 sessions the candidate would have called other tools: at 6 of 55 steps" in text
    assert "9 steps came after the first of those" in text

    ledger = report.ledger | {"eligible": 60, "abstained": 38, "unpaired": 2}
    ledger |= {
        "reasons": {"abstained": {"stopped": 30, "of_a_later_version": 8}, "unpaired": {"no_rollout": 2}}
    }
    said = {
        "stopped": "calls are stopped by ann: \x1b[2Jthe bill",
        "rejected_parameter": "it does not take top_p",
    }
    lines = shown(
        replace(report, ledger=ledger, messages=said, failures={"rejected_parameter": 3, "timeout": 1})
    )
    told = " ".join(line.strip() for line in lines)
    assert "40 of 60 requests were not compared: stopped 30, calls are stopped by ann: ·[2Jthe bill" in told
    assert "stopped 30: calls are stopped by hand" in told
    assert "of_a_later_version 8" in told
    assert "rejected_parameter 3, timeout 1 the newest rejected_parameter: it does not take top_p" in told
    few = ledger | {"eligible": 6000}
    assert not any("not compared" in line for line in shown(replace(report, ledger=few)))


def shown(report: Report) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(report))
    return console.export_text().splitlines()
