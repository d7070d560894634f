"""A simulation as a picture: SVG for a page, blocks for a terminal.

Above, when each effect is seen; below, what became of all runs. Times are on a logarithmic axis, since an outage is
seen in a minute and half a point of quality in days.
"""

from collections.abc import Sequence
from html import escape
from math import log10

from shadowlane.rollout.simulate import EffectOutcome, Simulation

# Told apart by everybody, and none of the colours of the outcomes.
_COLOURS = ("#0072b2", "#cc79a7", "#000000", "#56b4e9", "#7b3294", "#8c6d31")
_PROMOTED, _INCONCLUSIVE, _ROLLED_BACK = "#009e73", "#bbbbbb", "#d55e00"
_TICKS = (
    (1 / 60, "1 min"),
    (1 / 6, "10 min"),
    (1.0, "1 h"),
    (6.0, "6 h"),
    (24.0, "1 d"),
    (72.0, "3 d"),
    (168.0, "7 d"),
    (720.0, "30 d"),
)
_BLOCKS = " ▁▂▃▄▅▆▇█"

_WIDTH, _LEFT, _RIGHT = 860, 60, 30
_CURVES, _BAR, _ROW = 260, 16, 44


def svg(simulation: Simulation) -> str:
    """A whole SVG document, without scripts or anything from elsewhere."""
    effects = [e for e in simulation.effects if e.curve]
    top, bars = 66, simulation.effects
    axis = top + _CURVES if effects else top - 30
    legend = axis + 58 if effects else axis
    height = legend + _ROW * len(bars) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(
            _LEFT, 26, f"{simulation.rollout}: {simulation.runs:,} simulated runs for each effect", size=17
        ),
    ]
    if effects:
        parts.append(
            _text(_LEFT, 50, "Rolled back, of the runs that the effect met, by the time since it began")
        )
        parts += _axes(effects, top)
        parts += [_curve(e, _colour(simulation, e), effects, top) for e in effects]
    parts += _bars(simulation, legend)
    return "\n".join([*parts, "</svg>"]) + "\n"


def spark(outcome: EffectOutcome, width: int = 48) -> str:
    """When an effect is seen, as blocks from one minute to 30 days on a logarithmic axis: see `spark_axis`."""
    bins, seen = [0.0] * width, 0.0
    for hours, part in outcome.curve:
        bins[min(int(_place(hours) * width), width - 1)] += part - seen
        seen = part
    most = max(bins, default=0.0)
    if not most:
        return " " * width
    return "".join(_BLOCKS[max(round(8 * part / most), 1 if part else 0)] for part in bins)


def spark_axis(width: int = 48) -> str:
    """The axis under `spark`."""
    line = [" "] * (width + 8)
    for hours, label in _TICKS:
        at = round(_place(hours) * (width - 1))
        if all(c == " " for c in line[max(at - 1, 0) : at + len(label) + 1]):
            line[at : at + len(label)] = label
    return "".join(line).rstrip()


def _place(hours: float) -> float:
    """Where on the axis, from 0 to 1."""
    first, last = log10(_TICKS[0][0]), log10(_TICKS[-1][0])
    return min(max((log10(max(hours, 1e-6)) - first) / (last - first), 0.0), 1.0)


def _span(effects: Sequence[EffectOutcome]) -> tuple[float, float]:
    """The first and the last tick that the plot needs, in hours."""
    times = [hours for e in effects for hours, _ in e.curve if hours > 0]
    low = max((t for t, _ in _TICKS if t <= min(times)), default=_TICKS[0][0])
    high = min((t for t, _ in _TICKS if t >= max(times)), default=max(times))
    return (low, high) if high > low else (low, low * 10)


def _x(hours: float, effects: Sequence[EffectOutcome]) -> float:
    low, high = _span(effects)
    part = (log10(min(max(hours, low), high)) - log10(low)) / (log10(high) - log10(low))
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _y(part: float, top: int) -> float:
    return top + (1 - part) * _CURVES


def _axes(effects: Sequence[EffectOutcome], top: int) -> list[str]:
    low, high = _span(effects)
    lines = []
    for percent in (0, 25, 50, 75, 100):
        y = _y(percent / 100, top)
        lines.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "#dddddd" if percent else "#888888"))
        lines.append(_text(_LEFT - 8, y + 4, f"{percent}%", anchor="end"))
    for hours, label in _TICKS:
        if low <= hours <= high:
            x = _x(hours, effects)
            lines.append(_line(x, top, x, top + _CURVES + 5, "#eeeeee"))
            lines.append(_text(x, top + _CURVES + 20, label, anchor="middle"))
    return lines


def _curve(outcome: EffectOutcome, colour: str, effects: Sequence[EffectOutcome], top: int) -> str:
    """A step for each run that was rolled back; on to the right edge, since what was not seen by then never was."""
    begins = _span(effects)[0]
    at = 0.0
    points = [(_x(begins, effects), _y(0.0, top))]
    for hours, part in outcome.curve:
        x = _x(hours, effects)
        points += [(x, _y(at, top)), (x, _y(part, top))]
        at = part
    points.append((float(_WIDTH - _RIGHT), _y(at, top)))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-linejoin="round"/>'


def _bars(simulation: Simulation, top: int) -> list[str]:
    """For each effect its colour, its name, its times, and a bar of what became of the runs."""
    wide = _WIDTH - _LEFT - _RIGHT
    parts = []
    for number, e in enumerate(simulation.effects):
        y = top + number * _ROW
        if e.curve:
            parts.append(_line(_LEFT - 28, y - 4, _LEFT - 8, y - 4, _colour(simulation, e), 3))
        parts.append(_text(_LEFT, y, e.effect))
        parts.append(_text(_WIDTH - _RIGHT, y, _times(e), anchor="end"))
        x = float(_LEFT)
        for part, colour, name in (
            (e.promoted, _PROMOTED, "promoted"),
            (e.inconclusive, _INCONCLUSIVE, "inconclusive"),
            (e.rolled_back, _ROLLED_BACK, "rolled back"),
        ):
            width = part * wide
            if width > 0:
                parts.append(
                    f'<rect x="{x:.1f}" y="{y + 6}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
                )
            label = f"{name} {part:.1%}" if width > 130 else f"{part:.1%}" if width > 45 else ""
            if label:
                colour = "#222222" if colour == _INCONCLUSIVE else "#ffffff"
                parts.append(_text(x + 6, y + 18, label, size=12, fill=colour))
            x += width
    y = top + len(simulation.effects) * _ROW + 4
    x = float(_LEFT)
    for colour, name in (
        (_PROMOTED, "promoted"),
        (_INCONCLUSIVE, "inconclusive"),
        (_ROLLED_BACK, "rolled back"),
    ):
        parts.append(f'<rect x="{x:.0f}" y="{y - 10}" width="11" height="11" fill="{colour}"/>')
        parts.append(_text(x + 16, y, name, size=12))
        x += 110
    return parts


def _times(outcome: EffectOutcome) -> str:
    if outcome.hours.median is None or outcome.pairs.median is None:
        return f"seen in {outcome.detected:.1%}" if outcome.curve else ""
    slow = f", in 9 of 10 within {_hours(outcome.hours.p90)}" if outcome.hours.p90 is not None else ""
    return f"half seen within {_hours(outcome.hours.median)} ({outcome.pairs.median:,.0f} pairs){slow}"


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(round(hours * 60), 1)} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"


def _colour(simulation: Simulation, outcome: EffectOutcome) -> str:
    seen = [e for e in simulation.effects if e.curve]
    return _COLOURS[seen.index(outcome) % len(_COLOURS)]


def _text(
    x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", fill: str = "#222222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">'
        f"{escape(text)}</text>"
    )


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float = 1) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" '
        f'stroke="{colour}" stroke-width="{width:g}"/>'
    )
