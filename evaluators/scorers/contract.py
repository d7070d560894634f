"""How a scorer is written: a function or a class, marked with what it grades.

::

    @side_scorer
    def short(request: Any, answer: Response, words: int = 100) -> float | None:
        return len(answer.output.split()) <= words

* :func:`side_scorer`: called once for each side, ``(request, answer)``, gives that side's number.
* :func:`pair_scorer`: ``(request, stable, candidate)``, gives the candidate's number alone: agreement.
* :func:`both_scorer`: ``(request, stable, candidate)``, gives ``(stable's number, candidate's number)``.

``request`` is the body of the mirrored request (:class:`~shadowlane.schemas.events.Protocol` says of what
form), ``None`` where its content was left out. A number of unit ``score`` lies in [0, 1], 1 being best, and
may be a bool; ``None`` is an abstention. Further parameters are the scorer's options, which the configuration
gives by name; their annotations check them. A parameter called ``prices`` is given the price table instead.

A class has the options in its ``__init__``, is made once, at start, and is called like the function: for
what is costly to set up. A scorer must not change what it is given, nor keep it. Shadowlane's own are called
between two records; a user's run in a process of their own, and are ended where they don't come back
(:mod:`shadowlane.evaluators.scorers.apart`). Whatever one waits for, pairing waits for too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeVar, get_args, overload

Unit = Literal["score", "ms", "tokens", "usd"]
F = TypeVar("F", bound=Callable[..., Any])


class Kind(StrEnum):
    """What a scorer grades."""

    SIDE = "side"
    PAIR = "pair"
    BOTH = "both"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What it is called with, in this order."""
        return ("request", "answer") if self is Kind.SIDE else ("request", "stable", "candidate")


@dataclass(frozen=True, slots=True)
class Mark:
    """What the decorators leave on a function or class."""

    kind: Kind
    unit: Unit


_ATTRIBUTE = "__shadowlane_scorer__"


def mark_of(target: object) -> Mark | None:
    """The mark of a scorer; None of anything else."""
    found = getattr(target, _ATTRIBUTE, None)
    return found if isinstance(found, Mark) else None


@overload
def side_scorer(target: F, /) -> F: ...
@overload
def side_scorer(*, unit: Unit = "score") -> Callable[[F], F]: ...
def side_scorer(target: F | None = None, /, *, unit: Unit = "score") -> F | Callable[[F], F]:
    """Marks a scorer of one side, ``(request, answer) -> float | None``, that is applied to both.

    Raises:
        ValueError: ``unit`` is none of score, ms, tokens, usd.
    """
    return _marked(target, Kind.SIDE, unit)


@overload
def pair_scorer(target: F, /) -> F: ...
@overload
def pair_scorer(*, unit: Unit = "score") -> Callable[[F], F]: ...
def pair_scorer(target: F | None = None, /, *, unit: Unit = "score") -> F | Callable[[F], F]:
    """Marks a scorer of the pair, ``(request, stable, candidate) -> float | None``: the candidate's number.

    It is not called where the stable side failed: there is nothing to agree with.

    Raises:
        ValueError: ``unit`` is none of score, ms, tokens, usd.
    """
    return _marked(target, Kind.PAIR, unit)


@overload
def both_scorer(target: F, /) -> F: ...
@overload
def both_scorer(*, unit: Unit = "score") -> Callable[[F], F]: ...
def both_scorer(target: F | None = None, /, *, unit: Unit = "score") -> F | Callable[[F], F]:
    """Marks a scorer that grades both sides, and has to see both to do so.

    ``(request, stable, candidate) -> (float | None, float | None)``, the stable side's number first.

    Raises:
        ValueError: ``unit`` is none of score, ms, tokens, usd.
    """
    return _marked(target, Kind.BOTH, unit)


def _marked(target: F | None, kind: Kind, unit: Unit) -> F | Callable[[F], F]:
    if unit not in get_args(Unit):
        raise ValueError(f"a scorer's unit is one of {', '.join(get_args(Unit))}, not {unit!r}")

    def mark(scorer: F) -> F:
        setattr(scorer, _ATTRIBUTE, Mark(kind, unit))
        return scorer

    return mark if target is None else mark(target)
