"""`shadowlane report`."""

import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import orjson
import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from shadowlane.cli.noise import noise_table
from shadowlane.cli.render import VERDICT_STYLE, bar, evidence, number, printable, signed, table_of, terminal
from shadowlane.cli.store import reader
from shadowlane.cli.uncompared import newest, not_compared, reasons
from shadowlane.rollout.measured import Metric
from shadowlane.rollout.report import Report, build
from shadowlane.rollout.sessions import Sessions
from shadowlane.schemas.config import Settings

EXIT_BY_VERDICT = {"promote": 0, "hold": 10, "inconclusive": 11, "roll_back": 12}
ROWS = {
    "scored": "both answers came and were scored",
    "abstained": "both came, and say nothing of the candidate",
    "unpaired": "one of the two answers never came",
    "dead_lettered": "a record could not be read",
    "dropped": "the mirror let it go",
    "sampled_out": "not in the sample",
    "other_epoch": "resolved under another configuration",
    "in_flight": "still on its way",
    "missing": "lost from sight",
    "excess": "more answers than requests",
}


def run_report(settings: Settings, name: str | None, *, as_json: bool, exit_code: bool) -> None:
    """Prints the report; with ``exit_code``, ends with the code of the verdict."""
    rollout = settings.rollout(name)
    report = build(reader(settings), settings, rollout, datetime.now(UTC))
    if as_json:
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())
    else:
        terminal().print(render(report))
    if exit_code:
        sys.exit(EXIT_BY_VERDICT[report.verdict])


def render(report: Report) -> RenderableType:
    """The report as a person reads it: the verdict first, then what it rests on, then who was counted."""
    arms = f"{report.stable or 'stable'} → {report.candidate or 'candidate'}"
    head = Text.assemble(
        (report.rollout, "bold"),
        f"  {arms}  ",
        (f"stage {report.stage}, epoch {report.epoch}, {report.pairs:,} pairs", "dim"),
    )
    where = Text("no controller goes by this configuration yet", "yellow")
    if report.phase is not None:
        phase = report.phase.replace("_", " ")
        where = Text.assemble((phase, "bold"), f", {report.traffic_pct:g}% of the traffic to the candidate")
        if report.excluded:
            where.append(f", none of {', '.join(map(printable, report.excluded))}", "red")
        if report.decision:
            decided = report.decision
            where.append(
                f"; last decision {decided['event'].replace('_', ' ')} by {printable(decided['actor'])}, "
                f"{decided['at']:%Y-%m-%d %H:%M} UTC",
                "dim",
            )
    verdict = Text.assemble(
        (report.verdict.upper().replace("_", " "), VERDICT_STYLE[report.verdict]),
        "  ",
        printable(report.reason.removesuffix("; ".join(report.missing))).rstrip(),
    )
    parts: list[RenderableType] = [head, where, Text(), verdict]
    if report.reason.endswith("; ".join(report.missing)):  # what is missing is read more easily one by one
        parts += [Padding(Text(printable(one)), (0, 0, 0, 6), expand=False) for one in report.missing]
    if (uncompared := not_compared(report.ledger, report.messages)) is not None:
        parts.append(uncompared)
    if report.next:
        parts.append(Text.assemble(("next  ", "dim"), printable(report.next)))
    if report.pairs_needed:
        parts.append(
            Text(
                f"A promotion needs about {report.pairs_needed:,} pairs more, at what is seen so far.", "dim"
            )
        )
    parts += [Text(), _metrics(report)]
    quality = report.metrics.get("quality_score")
    if quality and quality.stable is None and quality.difference is not None:
        parts.append(Text("quality_score: the difference is over the scorers that grade both sides", "dim"))
    tests = _tests(report)
    if tests.row_count:
        parts += [Text(), tests]
    if report.slices:
        parts += [Text(), _slices(report)]
    if report.noise:
        parts += [Text(), noise_table(report.noise)]
    if report.sessions:
        parts += [Text(), *_sessions(report.sessions)]
    if report.failures:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in report.failures.items())
        parts += [
            Text(),
            Text(f"Failures of the candidate: {kinds}"),
            *newest(report.failures, report.messages),
        ]
    if report.left_out:
        names = ", ".join(f"{printable(name)} {count:,}" for name, count in report.left_out.items())
        parts += [Text(), Text(f"Pairs that one version was asked without: {names}", "yellow")]
    if changed := _models(report):
        parts += [Text(), *changed]
    if report.cost.get("stable_usd") is not None or report.cost.get("candidate_usd") is not None:
        spent = ", ".join(
            f"{arm} ${value:,.4f}"
            for arm in ("stable", "candidate")
            if (value := report.cost[f"{arm}_usd"]) is not None
        )
        parts += [Text(), Text(f"Cost of these answers: {spent}")]
    parts += [Text(), _ledger(report.ledger)]
    return Group(Text(), *parts, Text())


def _sessions(found: Sessions) -> list[RenderableType]:
    """Where a candidate would have called other tools, and what is compared after that."""
    head = (
        f"In {found.another_way:,} of {found.sessions:,} sessions the candidate would have called other tools"
    )
    lines: list[RenderableType] = [Text(f"{head}: at {found.diverged:,} of {found.compared:,} steps")]
    if found.compared_after:
        after = (
            f"{found.compared_after:,} steps came after the first of those, in a context that is not its own"
        )
        lines.append(Text(f"  {after}: at {found.diverged_after:,}", "dim"))
    return lines


def _models(report: Report) -> list[RenderableType]:
    """Models that servers answered for under several names: who compares them compares several versions."""
    names = Counter((model["arm"], model["asked"]) for model in report.models)
    lines: list[RenderableType] = [
        Text(
            f"The {model['arm']} {printable(model['asked'])} answered as {printable(model['served'])}: "
            f"{model['pairs']:,} pairs, {model['first']:%Y-%m-%d %H:%M} to {model['last']:%Y-%m-%d %H:%M} UTC",
            "yellow",
        )
        for model in report.models
        if names[model["arm"], model["asked"]] > 1
    ]
    if lines:
        lines.append(
            Text(
                "  One name, several models: the provider changed it, or has several. These pairs mix them.",
                "dim",
            )
        )
    return lines


def _metrics(report: Report) -> Table:
    numbers = ("stable", "candidate", "difference", "95% interval", "pairs")
    table = table_of("metric", *numbers, right=numbers)
    for name, metric in report.metrics.items():
        style = "bold" if metric.evidence else ""
        table.add_row(
            Text(name, style),
            number(metric.stable, metric.unit),
            number(metric.candidate, metric.unit),
            signed(metric.difference, metric.unit),
            _interval(metric),
            f"{metric.pairs:,}",
        )
        if metric.percentiles and metric.unit == "ms":
            tail = metric.percentiles["p95"]
            table.add_row(
                Text(f"  {name} p95", "dim"),
                *(number(tail.get(arm), metric.unit) for arm in ("stable", "candidate")),
            )
    return table


def _interval(metric: Metric) -> str:
    if metric.interval is None:
        return ""
    show = signed if metric.interval_of == "difference" else number
    low, high = (show(edge, metric.unit) for edge in metric.interval)
    return f"{low} … {high}"


def _tests(report: Report) -> Table:
    table = table_of(
        "test", "claim", "evidence", "needed", "pairs more", right=("evidence", "needed", "pairs more")
    )
    for metric in report.metrics.values():
        for test in metric.evidence:
            verb = test["decides"].replace("_", " ")
            style = "" if not test["reached"] else "green" if verb == "promote" else "red"
            table.add_row(
                Text(f"{verb}{' ✓' if test['reached'] else ''}", style),
                test["claim"],
                Text(evidence(test["e"]), style),
                f"{test['threshold']:,.0f}",
                ""
                if test["reached"]
                else "–"
                if test["pairs_needed"] is None
                else f"{test['pairs_needed']:,}",
            )
    return table


def _slices(report: Report) -> Table:
    """Each slice with what is strongest against it, and what it still has to show."""
    alone = report.metrics["quality_score"].stable is None
    quality_is = "quality" if alone else "± quality"
    numbers = ("pairs", "share", "errors", quality_is, "evidence", "needed")
    table = table_of(
        "slice",
        "pairs",
        "share",
        "errors",
        quality_is,
        "strongest against it",
        "evidence",
        "needed",
        "",
        right=numbers,
    )
    for one in sorted(report.slices, key=lambda one: -one["pairs"]):
        against = max(
            (e for e in one["evidence"] if e["decides"] == "roll_back"), key=lambda e: e["e"] / e["threshold"]
        )
        required = [e for e in one["evidence"] if e["decides"] == "promote"]
        shown = sum(e["reached"] for e in required)
        style = "red" if against["reached"] else ""
        nothing = against["e"] <= 1
        quality = one["metrics"]["quality_score"]
        table.add_row(
            Text(printable(one["slice"]), "bold red" if one["slice"] in report.excluded else ""),
            f"{one['pairs']:,}",
            f"{one['share']:.1%}",
            number(one["metrics"]["error_rate"]["candidate"]),
            # An agreement with the stable answer has no difference: the candidate's own grade says it.
            number(quality["candidate"]) if alone else signed(quality["difference"]),
            Text("" if nothing else against["claim"], style),
            Text("" if nothing else evidence(against["e"]), style),
            "" if nothing else f"{against['threshold']:,.0f}",
            Text(f"shown {shown} of {len(required)}", "green" if shown == len(required) else "dim")
            if required
            else "",
        )
    return table


def _ledger(ledger: dict[str, Any]) -> Group:
    eligible = ledger["eligible"]
    table = table_of("requests", "", "", "")
    table.columns[1].justify = "right"
    for row, meaning in ROWS.items():
        count = ledger[row]
        if not count and row not in (
            "scored",
            "abstained",
            "unpaired",
            "dead_lettered",
            "dropped",
            "sampled_out",
        ):
            continue
        why = reasons(ledger["reasons"].get(row, {}))
        table.add_row(row, f"{count:,}", bar(count, eligible), Text(why or (meaning if count else ""), "dim"))
    ends = Text.assemble(
        f"eligible {eligible:,}: ",
        ("the ledger adds up", "green") if ledger["adds_up"] else ("the ledger does not add up", "bold red"),
    )
    if eligible:
        ends.append(f", {ledger['scored'] / eligible:.1%} scored", "dim")
    if ledger["unreadable"]:
        ends.append(f"; beside it, {ledger['unreadable']:,} dead letters that name no request", "yellow")
    return Group(table, ends)
