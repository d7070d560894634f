"""How numbers and other people's texts look in a terminal."""

import unicodedata
from collections.abc import Collection
from math import exp

from rich.console import Console
from rich.table import Table
from rich.text import Text

VERDICT_STYLE = {
    "promote": "bold green",
    "roll_back": "bold red",
    "hold": "bold yellow",
    "inconclusive": "bold yellow",
}


def terminal(*, stderr: bool = False) -> Console:
    """Where to print: texts as they are, since square brackets in other people's are no markup of ours."""
    return Console(stderr=stderr, markup=False, emoji=False)


def printable(text: str) -> str:
    """A model's text without what a terminal would obey: control and format characters become a dot."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "·" for c in text)


def shortened(text: str, characters: int) -> str:
    """One line of at most so many characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


def number(value: float | None, unit: str = "score") -> str:
    """A value in its unit, short."""
    if value is None:
        return ""
    if unit == "usd":
        return f"${value:.6f}"
    if unit == "ms":
        return f"{value:,.1f} ms"
    if unit == "x":
        return f"{exp(value):.3f}×"
    if unit == "tokens":
        return f"{value:,.1f}"
    return f"{value:.4f}"


def signed(value: float | None, unit: str = "score") -> str:
    """A difference: the sign stands there even where it is a plus."""
    if value is None:
        return ""
    if unit == "x":  # a ratio of 1 is no difference
        return number(value, unit)
    sign = "−" if value < 0 else "+"
    return f"{sign}{number(abs(value), unit)}"


def evidence(value: float) -> str:
    """Evidence spans hundreds of orders of magnitude."""
    return f"{value:.3g}" if value < 1e6 else f"{value:.0e}".replace("e+", "e")


def bar(part: int, whole: int, width: int = 24) -> Text:
    """A share, drawn."""
    filled = round(width * part / whole) if whole else 0
    if part and not filled:
        filled = 1
    return Text("█" * filled, style="cyan") + Text("░" * (width - filled), style="dim")


def table_of(*columns: str, right: Collection[str] = ()) -> Table:
    """A table without a frame; the columns named in ``right`` are numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table
