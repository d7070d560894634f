"""The noise baseline in `shadowlane report`: each score beside the stable version's own, and what that means."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from shadowlane.cli.render import number, signed, table_of
from shadowlane.evaluators.noise import AgainstNoise, Reading
from shadowlane.rollout.noise import Noise

STYLE = {Reading.WITHIN: "green", Reading.BELOW: "yellow", Reading.ABOVE: "yellow", Reading.OPEN: "dim"}


def noise_table(noise: Noise) -> RenderableType:
    """Each scorer's, and how many requests were asked twice."""
    head = f"noise: the stable version was asked {noise.requests:,} requests again, {noise.scored:,} scored"
    others = {**noise.abstained, **noise.unpaired}
    if others:
        head += f" ({', '.join(f'{reason} {count:,}' for reason, count in others.items())})"
    if not noise.scores:
        return Group(Text(head), Text("nothing to compare yet", "dim"))
    numbers = ("candidate", "stable", "difference", "95% interval", "requests")
    table = table_of("against noise", *numbers, "", right=numbers)
    for name, against in noise.scores.items():
        table.add_row(
            name,
            number(against.candidate, against.unit),
            number(against.again, against.unit),
            signed(against.difference, against.unit),
            _interval(against),
            f"{against.pairs:,}",
            Text(said(against), STYLE[against.reading]),
        )
    lines = [
        Text(f"  {claim}: the stable version does not have that against itself either", "yellow")
        for claim in noise.unmet
    ]
    return Group(Text(head), Padding(table, (0, 0, 0, 2), expand=False), *lines)


def said(against: AgainstNoise) -> str:
    """What the numbers mean, in a few words."""
    by = number(abs(against.difference), against.unit)
    match against.reading:
        case Reading.WITHIN:
            return "within noise"
        case Reading.BELOW:
            return f"{by} below noise"
        case Reading.ABOVE:
            return f"{by} above noise"
        case Reading.OPEN:
            if against.pairs_needed is None:
                return "can't tell yet"
            return f"can't tell yet: ~{against.pairs_needed:,} more"


def _interval(against: AgainstNoise) -> str:
    if against.interval is None:
        return ""
    low, high = (signed(edge, against.unit) for edge in against.interval)
    return f"{low} … {high}"
