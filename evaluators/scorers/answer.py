"""Whether there is an answer at all: an error, a refusal, a cut, nothing."""

import re
from typing import Any

from shadowlane.evaluators.scorers.contract import side_scorer
from shadowlane.schemas.events import Response

TRUNCATED = frozenset({"length", "max_tokens"})  # as OpenAI's API and Anthropic's call it
FILTERED = frozenset({"content_filter", "refusal"})
REFUSAL_HEAD_CHARS = 200
"""A refusal starts with refusing; further on, the same words are part of an answer."""


@side_scorer
def answered(request: Any, answer: Response) -> float:
    """1 where there is an answer: text or a tool call, no error, not cut, no refusal; else 0."""
    if answer.error or answer.finish_reason in TRUNCATED:
        return 0.0
    if not (answer.tool_calls or answer.output.strip()):
        return 0.0
    return float(not is_refusal(answer))


@side_scorer
def refusal(request: Any, answer: Response) -> float | None:
    """1 for an answer that is no refusal, 0 for one. Abstains where there is no answer."""
    if answer.error:
        return None
    return float(not is_refusal(answer))


@side_scorer
def truncation(request: Any, answer: Response) -> float | None:
    """1 for an answer that was not cut at its limit of tokens, 0 for one. Abstains where there is none."""
    return None if answer.error else float(answer.finish_reason not in TRUNCATED)


@side_scorer
def error(request: Any, answer: Response) -> float:
    """1 for a call that did not fail, 0 for one that did."""
    return float(not answer.error)


def is_refusal(answer: Response) -> bool:
    """Whether the model declines: by its finish reason, or by how its text begins.

    The list of openings is short on purpose. It holds an apology or a disclaimer followed by "I can't" and
    a verb of helping, in seven languages; "I'm sorry to hear that" is none, nor is an answer that says on
    its way what it can't know. A refusal that is missed costs less here than an answer called a refusal.
    """
    if answer.finish_reason in FILTERED:
        return True
    if answer.tool_calls:
        return False
    head = answer.output.lstrip()[:REFUSAL_HEAD_CHARS].replace("’", "'").lower()
    return _REFUSAL.match(head) is not None


_REFUSAL = re.compile(
    # English: an optional apology or disclaimer, then that it can't or won't, then what.
    r"(?:(?:i'm|i am|we're|we are)?\s*(?:very |really |so |truly )?(?:sorry|afraid)\b[,.!:;]?\s*(?:but |that )?"
    r"|(?:my )?apolog(?:ies|i[sz]e)\b[,.!:;]?\s*(?:but )?"
    r"|unfortunately,?\s*"
    r"|as an? (?:ai|artificial intelligence|language model|assistant)\b[^.!?]{0,60}?,\s*)*"
    r"(?:i|we) (?:can ?not|can't|can not|won't|will not|(?:am|'m|are) (?:not able|unable) to"
    r"|(?:am|'m)n't able to|must decline|have to decline)\b\s*(?:to )?"
    r"(?:be able to )?(?:in good conscience )?"
    r"(?:help|assist|comply|fulfill?|support|engage|participate|do that|do this|continue|answer (?:that|this|your)"
    r"|(?:provide|offer|give|share|create|generate|write|produce|discuss) (?:you )?(?:with )?(?:any |an? )?"
    r"(?:information|instructions|assistance|help|advice|guidance|content|that|this)\b)"
    r"|i'm sorry,? but i can't\b|i'm not able to (?:help|assist)|i'm unable to (?:help|assist|comply|fulfill?)"
    # German, French, Spanish, Italian, Portuguese, Dutch, Chinese, Japanese: the apology and the "can't".
    r"|(?:es )?tut mir leid,? (?:aber )?(?:ich kann|das kann ich|dabei kann ich)\b[^.!?]{0,80}\b(?:nicht|keine?n?)\b"
    r"|(?:je suis )?désolée?,? (?:mais )?je ne (?:peux|suis) pas\b"
    r"|lo siento,? (?:pero )?no (?:puedo|me es posible)\b"
    r"|mi dispiace,? (?:ma )?non (?:posso|sono in grado)\b"
    r"|(?:desculpe|sinto muito|lamento),? (?:mas )?(?:eu )?não (?:posso|consigo)\b"
    r"|(?:het )?spijt me,? (?:maar )?ik kan\b[^.!?]{0,80}\b(?:niet|geen)\b"
    r"|(?:很?抱歉|对不起|對不起)[,，。!！]?\s*(?:但)?(?:我|作为)[^。!！?？]{0,30}(?:无法|不能|無法)"
    r"|申し訳(?:ありません|ございません)[^。]{0,60}(?:できません|できかねます|お答えできません)"
)
