"""Which dead letters a command is about, as SQL. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What a person has done with a letter."""

    OPEN = "open"  # nothing yet
    REPLAYED = "replayed"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class Selection:
    """Letters that have all of this; what is ``""``, None or empty takes any.

    ``reason`` is a part of the reason, in either case. Times are Unix milliseconds, of when the record became a
    dead letter: from ``since`` on, and before ``until``.
    """

    component: str = ""
    topic: str = ""
    reason: str = ""
    request_id: str = ""
    dead_letter_id: str = ""
    since: int | None = None
    until: int | None = None
    states: tuple[State, ...] = ()

    @property
    def takes_all(self) -> bool:
        """Whether nothing but the state narrows it."""
        return self == Selection(states=self.states)

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition on the view ``dead_letters``, and its parameters."""
        conditions, parameters = ["1"], dict[str, Any]()
        for column, value in (
            ("component", self.component),
            ("source_topic", self.topic),
            ("request_id", self.request_id),
            ("dead_letter_id", self.dead_letter_id),
        ):
            if value:
                conditions.append(f"{column} = {{{column}:String}}")
                parameters[column] = value
        if self.reason:
            conditions.append("positionCaseInsensitiveUTF8(reason, {reason:String}) > 0")
            parameters["reason"] = self.reason
        if self.since is not None:
            conditions.append("toUnixTimestamp64Milli(ts) >= {since:Int64}")
            parameters["since"] = self.since
        if self.until is not None:
            conditions.append("toUnixTimestamp64Milli(ts) < {until:Int64}")
            parameters["until"] = self.until
        if self.states:
            conditions.append("state IN {states:Array(String)}")
            parameters["states"] = [str(state) for state in self.states]
        return " AND ".join(conditions), parameters
