"""`shadowlane pairs`."""

from collections.abc import Mapping
from typing import Any

import orjson
import typer
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from shadowlane.cli.render import printable, shortened, signed, terminal
from shadowlane.cli.store import reader
from shadowlane.evaluators.scorers import units
from shadowlane.schemas.config import Settings

# The same prompt with the same two answers is shown once, however often it was asked.
WORST = """
SELECT
    pair_id, ts, service, route, attributes, request,
    stable_model, stable_output, stable_error, stable_scores, stable_quality,
    candidate_model, candidate_output, candidate_error, candidate_error_message, candidate_scores,
    candidate_quality, quality_difference,
    least(ifNull(quality_difference, 0), ifNull(candidate_quality, 1) - 1) AS worse
FROM pairs
WHERE rollout = {rollout:String} AND epoch = {epoch:String}
ORDER BY worse, pair_id
LIMIT 1 BY cityHash64(JSONExtractRaw(request, 'messages'), stable_output, candidate_output, candidate_error)
LIMIT {limit:UInt32}
"""
OUTPUT_CHARACTERS = 700


def run_pairs(settings: Settings, name: str | None, *, worst: int, as_json: bool) -> None:
    """Prints the worst pairs, the worst first."""
    rollout = settings.rollout(name)
    parameters = {"rollout": rollout.name, "epoch": rollout.epoch, "limit": worst}
    found = reader(settings)(WORST, parameters)
    if as_json:
        typer.echo(
            orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC).decode()
        )
        return
    console = terminal()
    if not found:
        console.print(f"no scored pair in {rollout.name} yet")
    for rank, pair in enumerate(found, start=1):
        console.print(_render(rank, pair, units(rollout), console.width))


def _render(rank: int, pair: dict[str, Any], unit_of: Mapping[str, str], width: int) -> RenderableType:
    head = Text.assemble(
        (f"{rank}. ", "bold"),
        (shortened(prompt_of(pair["request"]), max(40, width - 6)), "bold"),
    )
    facts = [f"{pair['ts']:%Y-%m-%d %H:%M:%S}", pair["service"], pair["route"]]
    facts += [f"{key}={value}" for key, value in pair["attributes"].items()] + [pair["pair_id"]]
    half = max(30, width // 2 - 2)
    sides = Columns([_side(pair, arm, unit_of, half) for arm in ("stable", "candidate")], padding=(0, 1))
    return Padding(
        Group(head, Text(printable("  ".join(facts)), "dim", overflow="fold"), sides), (0, 0, 1, 0)
    )


def _side(pair: dict[str, Any], arm: str, unit_of: Mapping[str, str], width: int) -> Panel:
    error = pair[f"{arm}_error"]
    output = printable(pair[f"{arm}_output"])
    if len(output) > OUTPUT_CHARACTERS:
        output = f"{output[:OUTPUT_CHARACTERS]}… ({len(output):,} characters)"
    body = Text(output or "(empty)", "" if output else "dim")
    if error:
        message = pair.get(f"{arm}_error_message", "")
        body = Text(shortened(f"{error}: {message}", 300), "red")
    grades = [f"{n} {value:.2f}" for n, value in pair[f"{arm}_scores"].items() if unit_of.get(n) == "score"]
    title = f"{arm} {pair[f'{arm}_model']}"
    if arm == "candidate":
        title += f"  {signed(pair['worse'])}"
    content = Group(body, Text(), Text(printable(", ".join(grades)), "dim"))
    return Panel(content, title=Text(shortened(title, width - 4)), width=width)


def prompt_of(request: str) -> str:
    """What the user asked: the last user message of a chat, else the body as it is."""
    try:
        body = orjson.loads(request)
        said = [m["content"] for m in body["messages"] if m.get("role") == "user"][-1]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError, AttributeError):
        return request
    if isinstance(said, list):
        said = " ".join(str(part.get("text", "")) for part in said if isinstance(part, dict))
    return str(said)
