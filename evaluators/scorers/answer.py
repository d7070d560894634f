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
    """1 where there is an answer: text or a tool call, no error, not cut, no refusal; else 0.

    A call of a tool is no answer to a chat that offered none: nothing in the service could run it.
    """
    if answer.error or answer.finish_reason in TRUNCATED:
        return 0.0
    called = bool(answer.tool_calls) and offers_tools(request)
    if not (called or answer.output.strip()):
        return 0.0
    return float(not is_refusal(answer))


def offers_tools(request: Any) -> bool:
    """Whether a chat request has tools to call; True of what is no chat request, or is not known."""
    if not isinstance(request, dict) or "messages" not in request:
        return True
    return bool(request.get("tools") or request.get("functions"))


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

    The list of openings is short on purpose. It holds that the model can't or won't, followed by a verb of
    answering, mostly after an apology, in nine languages; "I'm sorry to hear that" is none, nor "I can't help
    but notice", nor an answer that says on its way what it can't know. A refusal that is missed costs less
    here than an answer that is called one.
    """
    if answer.finish_reason in FILTERED:
        return True
    if answer.tool_calls:
        return False
    head = answer.output[:REFUSAL_HEAD_CHARS].lstrip(_BEFORE).replace("’", "'").lower()
    return _REFUSAL.match(head) is not None


_BEFORE = " \t\r\n*_#>\"“'"
_CANNOT = (
    r"i(?: can ?not|'m afraid i can(?: ?not|'t)| can't|(?: am|'m) (?:not able|unable) to| won't be able to)\s+"
    r"(?:directly |currently |in good conscience )?"
)
_REFUSAL = re.compile(
    # English: an apology, and then anything of what an assistant does that it can't.
    r"(?:(?:i'm |i am )?(?:very |really |so |truly )?sorry|(?:i |my )?apologi(?:[sz]e|es))[,.;:]?\s+(?:but )?"
    r"(?:as an? [^.,!?]{0,60}, )?"
    + _CANNOT
    + r"(?:help|assist|comply|fulfill?|provide|offer|give|share|create|"
    r"generate|write|produce|discuss|recommend|answer|complete|engage|support|continue|do that|do this)\b"
    # Without an apology: that it can't help at all, or can't give any help.
    r"|(?:unfortunately,? )?(?:as an? [^.,!?]{0,60}, )?" + _CANNOT + r"(?:"
    r"(?:help|assist)(?: you)?(?: with (?:that|this|your)\b|[.,;!])|comply with|fulfill? (?:that|this|your)\b|"
    r"(?:provide|offer|give)(?: you)?(?: with)?(?: any)? (?:information|instructions|assistance|guidance)\b)"
    r"|(?:[^.!?]{0,30}(?:sorry|apologi[sz]e|unfortunately)[,.]?\s+(?:but )?)?i do(?: not|n't) feel comfortable \w+ing\b"
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
