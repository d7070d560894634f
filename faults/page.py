"""The table of docs/faults.md: rows that were tried are written anew, the others stay. Pure."""

from collections.abc import Iterable, Mapping

BEGIN, END = "<!-- faults: written by `make faults` -->", "<!-- end -->"
HEAD = "| fault | promise | embedded | Apache Kafka |\n|---|---|---|---|"
BROKERS = ("embedded", "kafka")

Seen = Mapping[tuple[str, str], str]
"""(fault, broker) -> what was seen there."""


def rewritten(page: str, faults: Iterable[tuple[str, str, tuple[str, ...]]], seen: Seen) -> str:
    """The page with its table brought up to date.

    Args:
        page: with a line :data:`BEGIN` and a line :data:`END`.
        faults: name, promise and brokers of all there are, in order.
        seen: of those that were tried now.
    """
    before, rest = page.split(BEGIN, 1)
    old, after = rest.split(END, 1)
    known = {cells[1]: cells[3:5] for line in old.splitlines() if len(cells := _cells(line)) >= 5}
    rows = []
    for name, promise, brokers in faults:
        cells = known.get(name, ["", ""])
        shown = [
            seen.get((name, broker), cell.strip("–")) if broker in brokers else "–"
            for broker, cell in zip(BROKERS, cells, strict=True)
        ]
        rows.append(f"| {name} | {promise} | {' | '.join(_one_line(text) for text in shown)} |")
    return f"{before}{BEGIN}\n{HEAD}\n" + "\n".join(rows) + f"\n{END}{after}"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:200]
