"""Agreement of two texts: exact, normalised, fuzzy, and the ratio of their lengths.

Each of them compares the text of the answers alone. Where neither has any, tool calls decide: both call
tools, and there is no text to compare (``tool_calls`` grades them); one of them does, and they disagree.
"""

import functools
import re
import unicodedata
from typing import Any

from rapidfuzz.distance import Indel

from shadowlane.evaluators.scorers.contract import pair_scorer
from shadowlane.schemas.events import Response

FUZZY_MAX_CHARS = 8_000
"""Of each text; the cost grows with the product of the lengths, and is 1.5 ms here at the worst."""

# Punctuation that carries no meaning in prose.
_PUNCTUATION = re.compile(r"[!\"#&()*;?@\[\\\]_`{}¡§«¶·»¿‐-―‖-‡…‰‹›⁅⁆、。〃〈-】〔-〟・؟،؛।॥]+")
# These carry none unless they are a part of a number (1.5, 10:30, 1/2; -3): what is left out must not make
# two numbers the same. For the same reason %, and the signs of money and arithmetic, stay.
_PUNCTUATION_OF_NUMBERS = re.compile(r"[-.,:/](?!(?:(?<=-)|(?<=\d[.,:/]))\d)")
# unicodedata sorts combining marks in quadratic time (100,000 in a row: 9 s), so by pieces, cut at a space
# where there is one.
_PIECES = re.compile(r"(?s).{1,200}(?:\s|\Z)|.{1,200}")


@functools.lru_cache(maxsize=4)  # normalised and fuzzy ask for the same two texts, one after the other
def normalise(text: str) -> str:
    """The text without what two writings of the same may differ in.

    Letter case (by Unicode's folding), compatible forms of characters (NFKC), runs of white space, and
    punctuation other than within numbers. A text of nothing but punctuation keeps it. Linear in its length.
    """
    folded = text.lower() if text.isascii() else _nfkc(_nfkc(text).casefold())
    bare = _PUNCTUATION.sub(" ", folded.replace("'", "").replace("’", "").replace("ʼ", ""))
    words = _PUNCTUATION_OF_NUMBERS.sub(" ", bare).split()
    return " ".join(words or folded.split())


def _nfkc(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", piece) for piece in _PIECES.findall(text))


@pair_scorer
def exact(request: Any, stable: Response, candidate: Response) -> float | None:
    """1 where the two texts are the same, character by character, else 0."""
    decided, grade = _without_text(stable, candidate)
    return grade if decided else float(stable.output == candidate.output)


@pair_scorer
def normalised(request: Any, stable: Response, candidate: Response) -> float | None:
    """1 where the two texts are the same once normalised (:func:`normalise`), else 0."""
    decided, grade = _without_text(stable, candidate)
    if decided:
        return grade
    same = stable.output == candidate.output or normalise(stable.output) == normalise(candidate.output)
    return float(same)


@pair_scorer
def fuzzy(request: Any, stable: Response, candidate: Response) -> float | None:
    """How much of the two normalised texts is the same, in the same order: 2·LCS / (sum of lengths).

    By characters (rapidfuzz's Indel similarity): it needs no spaces between words, forgives a letter, and
    minds the order, which the measures by sets of words do not (to them "not good, but cheap" and "good,
    but not cheap" are one). Of longer texts the first 8,000 characters are compared.
    """
    decided, grade = _without_text(stable, candidate)
    if decided:
        return grade
    if stable.output == candidate.output:
        return 1.0
    ours, theirs = normalise(stable.output)[:FUZZY_MAX_CHARS], normalise(candidate.output)[:FUZZY_MAX_CHARS]
    return Indel.normalized_similarity(ours, theirs)


@pair_scorer
def length_ratio(request: Any, stable: Response, candidate: Response) -> float | None:
    """The shorter text's length over the longer one's, in characters."""
    decided, grade = _without_text(stable, candidate)
    if decided:
        return grade
    lengths = sorted((len(stable.output), len(candidate.output)))
    return lengths[0] / lengths[1] if lengths[1] else 1.0


def _without_text(stable: Response, candidate: Response) -> tuple[bool, float | None]:
    """(True, the grade) where neither side has text and one of them calls tools, else (False, None)."""
    if not (stable.tool_calls or candidate.tool_calls) or stable.output.strip() or candidate.output.strip():
        return False, None
    return True, None if stable.tool_calls and candidate.tool_calls else 0.0
