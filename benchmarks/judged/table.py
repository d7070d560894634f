"""The staged upgrades of docs/recorded.md, and their table."""

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.judged.staged import Judged

BASELINE = "gpt4_1106_preview"
BETTER = "FuseChat-Gemma-2-9B-Instruct"
KOALA = ("koala", "vicuna-13b-v1.5")


@dataclass(frozen=True, slots=True)
class Line:
    """One upgrade, and what would be right: the verdicts, the slices that are named, those that are taken out."""

    upgrade: Judged
    right: tuple[str, ...]
    named: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


JUDGED = (
    Line(Judged(BASELINE, BETTER), ("promote",)),
    Line(Judged(BASELINE, BASELINE), ("promote",)),
    Line(Judged(BASELINE, "gpt-3.5-turbo-1106"), ("roll_back",)),
    Line(Judged(BASELINE, "vicuna-13b-v1.5"), ("roll_back",)),
    Line(Judged("claude", "claude-2"), ("promote", "hold", "inconclusive")),
    Line(Judged(BASELINE, BETTER, worse_on=KOALA), ("roll_back",), ("slice=koala",)),
    Line(
        Judged(BASELINE, BETTER, worse_on=KOALA, slices="alone"),
        ("promote",),
        ("slice=koala",),
        ("slice=koala",),
    ),
)


def judged_right(line: Line, result: dict[str, Any]) -> bool:
    return (
        result["verdict"] in line.right
        and tuple(result["named"]) == line.named
        and tuple(result["excluded"]) == line.excluded
    )


def judged_table(results: list[dict[str, Any]]) -> RenderableType:
    """The results as docs/recorded.md has them, and below whatever is not as it must be."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    right = {"pairs", "requests", "s"}
    for column in ("stable", "candidate", "slices", "outcome", "pairs, by stage", "requests", "s", "why"):
        grid.add_column(column, justify="right" if column in right else "left")
    problems = []
    for result in results:
        taken_out = f", without {', '.join(result['excluded'])}" if result["excluded"] else ""
        outcome = f"{result['phase'].replace('_', ' ')} ({result['stage']})"
        grid.add_row(
            result["stable"],
            f"{result['candidate']} {result['fault']}".strip(),
            result["slices"],
            outcome + taken_out + ("" if result["right"] else "  WRONG"),
            ", ".join(f"{stage['stage']} {stage['pairs']:,}" for stage in result["stages"]),
            f"{result['requests']:,}",
            f"{result['seconds']:.0f}",
            result["reason"],
        )
        problems += [
            Text(f"{result['stable']} → {result['candidate']}: {p}", "red") for p in result["problems"]
        ]
    return Group(grid, *problems)
