"""Requests of which no pair was made, in words: for who reads a report at night."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from shadowlane.cli.render import printable, shortened

WORDS = {
    "throttled": "its provider had enough: a rate limit or a spend limit",
    "unsupported": "the candidate's API can't be asked it",
    "other_model": "the service asked another model than the rollout says",
    "other_parameters": "the service asked otherwise than the rollout says",
    "no_content": "mirrored without its content, so nobody can be asked",
    "stopped": "calls are stopped by hand; shadowlane calls list says by whom",
    "over_budget": "the budget is used up; shadowlane status says when it renews",
    "circuit_open": "the version did not answer, and was left alone for a while",
    "sampled_out": "not in the rollout's own sample",
    "side_effect": "to ask it might do more than answer",
    "abandoned": "who asked did not wait for the answer",
    "arms_disagree": "both answers say that they are of one version",
    "no_shadow_response": "no second answer came in time: is the worker up, and fast enough?",
    "no_served_response": "what the user got never came from the mirror",
}
"""Of the reasons of pairs that abstained or have one half."""

TELLING = 0.1
"""The share of the requests from which on it is said at the top of a report."""
MESSAGE_CHARACTERS = 160


def reasons(found: Mapping[str, int]) -> str:
    """A line for each reason: how many, and what it means."""
    return "\n".join(
        f"{printable(name)} {count:,}" + (f": {WORDS[name]}" if name in WORDS else "")
        for name, count in found.items()
    )


def not_compared(ledger: Mapping[str, Any], messages: Mapping[str, str]) -> Text | None:
    """Where that is a good part of the requests: how many, and why most of them were not."""
    lost = ledger["abstained"] + ledger["unpaired"]
    if not lost or lost < TELLING * ledger["eligible"]:
        return None
    why = {**ledger["reasons"].get("abstained", {}), **ledger["reasons"].get("unpaired", {})}
    if not why:
        return None
    most = max(why, key=lambda name: why[name])
    said = shortened(messages.get(most, ""), MESSAGE_CHARACTERS) or WORDS.get(most, "")
    head = f"{lost:,} of {ledger['eligible']:,} requests were not compared: {printable(most)} {why[most]:,}"
    return Text(f"{head}, {said}" if said else head, "yellow")


def newest(kinds: Mapping[str, int], messages: Mapping[str, str]) -> list[Text]:
    """What the newest failure of each kind said."""
    return [
        Text(f"  the newest {printable(kind)}: {shortened(messages[kind], MESSAGE_CHARACTERS)}", "dim")
        for kind in kinds
        if messages.get(kind)
    ]
