"""What a rule is."""

import re
from collections.abc import Callable

from shadowlane.producers.redaction.look import Look
from shadowlane.producers.redaction.marks import Mark

Rule = tuple[Callable[[Look], object], Callable[[str, Mark], str]]
"""(may the text hold one at all, (text, mark) -> text)."""


def found(pattern: re.Pattern[str], kind: str) -> Callable[[str, Mark], str]:
    """All that the pattern matches is of the kind."""
    return lambda text, mark: pattern.sub(lambda match: mark(kind, match.group()), text)


def replaced(
    pattern: re.Pattern[str], by: Callable[[re.Match[str], Mark], str]
) -> Callable[[str, Mark], str]:
    """What the pattern matches is looked at closer."""
    return lambda text, mark: pattern.sub(lambda match: by(match, mark), text)
