"""The rules of redaction, in their order. Pure."""

from shadowlane.producers.redaction.personal import OF_DIGITS, PERSONAL
from shadowlane.producers.redaction.rule import Rule
from shadowlane.producers.redaction.secrets import SECRETS


def may_hold_anything(text: str) -> bool:
    """Whether one of the rules can find something in ``text``. Most prose has none of the characters without one of
    which nothing is found, and to look for each of them takes less than half a microsecond a kilobyte.

    A token has a digit, ``-``, ``_``, ``A`` (of AWS, of Google), ``G`` (``SG.``) or ``J`` (``eyJ``); a login is after
    ``authorization``; a value that "is" a secret has a digit. Other scripts have digits of their own.
    """
    return (
        not text.isascii()
        or ("-" in text or ":" in text or "=" in text or "@" in text or "_" in text or "/" in text)
        or ("0" in text or "1" in text or "2" in text or "3" in text or "4" in text)
        or ("5" in text or "6" in text or "7" in text or "8" in text or "9" in text)
        or ("A" in text or "G" in text or "J" in text or "z" in text or "Z" in text)
    )


RULES: tuple[Rule, ...] = (*SECRETS, *PERSONAL)

RULES_WITHOUT_DIGITS = tuple(rule for rule in RULES if rule[0] not in OF_DIGITS)
"""Those that may find something in a text without a digit."""
