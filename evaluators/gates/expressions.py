"""The text of success criteria and roll back triggers, parsed to a typed tree.

::

    trigger     = conjunction { "OR" conjunction }
    conjunction = term { "AND" term }
    term        = comparison | "(" trigger ")"
    comparison  = metric ("<" | "<=" | ">" | ">=") number [unit]
    unit        = "%" | "ms" | "s" | "usd" | "x"

``AND`` binds closer than ``OR``; both, and the units, are read in any case. A metric is ``error_rate``,
``quality_score``, the name of a scorer, or something measured, such as ``latency_p95``
(:mod:`shadowlane.evaluators.gates.measures`), which says the units that it takes. ``str()`` of a tree is its
canonical text, which parses to the same tree.

What has no meaning is refused with its place in the text, never ignored.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import NoReturn, TypeAlias

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.measures import Unit, example, measure_of, out_of_range, refusal, units_of

METRIC_NAME = re.compile(r"[a-z_][a-z0-9_.]*")
_KEYWORDS = ("AND", "OR")
_DEEPEST = 32


class Operator(StrEnum):
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="

    @property
    def upward(self) -> bool:
        """True where the comparison asks for a large value."""
        return self in (Operator.MORE, Operator.AT_LEAST)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric against a threshold. ``number`` is as written: 0.5 with ``Unit.PERCENT`` is the value 0.005."""

    metric: str
    operator: Operator
    number: float
    unit: Unit = Unit.NONE

    @property
    def value(self) -> float:
        """The threshold: a fraction in (0, 1), milliseconds, US dollars, or a multiple of the stable version's."""
        if self.unit is Unit.PERCENT:
            return self.number / 100
        return self.number * 1000 if self.unit is Unit.SECONDS else self.number

    @property
    def threshold(self) -> str:
        """The threshold as text: ``0.5%``."""
        return f"{repr(self.number).removesuffix('.0')}{self.unit}"

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.threshold}"


@dataclass(frozen=True, slots=True)
class And:
    """True when every term is. Two terms or more, none of them an ``And``."""

    terms: tuple["Expression", ...]

    def __str__(self) -> str:
        return " AND ".join(f"({term})" if isinstance(term, Or) else str(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Or:
    """True when any term is. Two terms or more, none of them an ``Or``."""

    terms: tuple["Expression", ...]

    def __str__(self) -> str:
        return " OR ".join(map(str, self.terms))


Expression: TypeAlias = Comparison | And | Or


def parse_trigger(text: str, key: str = "auto_rollback.trigger") -> Expression:
    """``error_rate > 2% OR quality_score < 0.80`` as a tree.

    Raises ConfigError that names ``key``, shows the text, and points at the first character that is wrong.
    """
    parser = _Parser(text, key)
    expression = parser.trigger(0)
    parser.end("AND, OR or the end")
    return expression


def parse_criteria(criteria: Mapping[str, object], key: str = "success_criteria") -> tuple[Comparison, ...]:
    """``{error_rate: "<0.5%", quality_score: ">0.90"}`` as comparisons, in the order written.

    Raises ConfigError as ``parse_trigger`` does.
    """
    return tuple(_criterion(metric, text, f"{key}.{metric}") for metric, text in criteria.items())


def comparisons(expression: Expression) -> Iterator[Comparison]:
    """The comparisons of a tree, from left to right."""
    if isinstance(expression, Comparison):
        yield expression
    else:
        for term in expression.terms:
            yield from comparisons(term)


def check_metrics(expressions: Iterable[Expression], known: Iterable[str], key: str) -> None:
    """Refuses a metric that isn't among ``known``, and proposes the one that was probably meant.

    What is measured of every request needs no scorer, but for its cost.

    Raises ConfigError.
    """
    names = sorted(set(known))
    for expression in expressions:
        for comparison in comparisons(expression):
            measure = measure_of(comparison.metric)
            if measure and measure.base == "cost" and "cost" not in names:
                raise ConfigError(
                    f"{key}: {comparison.metric!r} is measured by the scorer 'cost', which is not among the "
                    "rollout's scorers; add {name: cost}"
                )
            if measure or comparison.metric in names:
                continue
            close = get_close_matches(comparison.metric, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
            raise ConfigError(f"{key}: no scorer gives the metric {comparison.metric!r}; {hint}")


def _criterion(metric: str, text: object, key: str) -> Comparison:
    if not METRIC_NAME.fullmatch(metric) or metric.upper() in _KEYWORDS:
        raise ConfigError(f"{key}: {metric!r} is no metric; write a name such as error_rate")
    if not isinstance(text, str):
        raise ConfigError(
            f'{key}: {text!r} is no comparison; write one in quotes, such as ">0.90" or "<0.5%"'
        )
    parser = _Parser(text, key)
    parser.refuse_name(metric, 0)
    comparison = parser.threshold(metric)
    parser.end("the end")
    return comparison


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


# A unit is a word after a number, or the percent sign: `_Parser._unit` reads it.
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<operator><=|>=|<|>)
    | (?P<percent>%)
    | (?P<open>\() | (?P<close>\))""",
    re.VERBOSE,
)


class _Parser:
    """Recursive descent over one line of text."""

    def __init__(self, text: str, key: str) -> None:
        self._text = text
        self._key = key
        self._tokens = list(self._tokenize())
        self._next = 0

    def _tokenize(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                self._fail(
                    at,
                    f"{self._text[at]!r} has no meaning here; expected a comparison such as error_rate > 2%",
                )
            kind = str(match.lastgroup)
            word = match.group()
            if kind != "space":
                keyword = kind == "word" and word.upper() in _KEYWORDS
                yield _Token(word.upper() if keyword else kind, word, at)
            at = match.end()
        yield _Token("end", "", at)

    def _fail(self, at: int, problem: str) -> NoReturn:
        shown = "".join(c if c.isprintable() else " " for c in self._text)
        raise ConfigError(f"{self._key}: {problem}\n    {shown}\n    {' ' * at}^")

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, kind: str) -> _Token | None:
        token = self._peek()
        if token.kind != kind:
            return None
        self._next += 1
        return token

    def _need(self, kind: str, expected: str) -> _Token:
        token = self._take(kind)
        if token is None:
            self._fail(self._peek().at, f"expected {expected}{self._found()}")
        return token

    def _found(self) -> str:
        token = self._peek()
        return ", found the end" if token.kind == "end" else f", found {token.text!r}"

    def end(self, expected: str) -> None:
        self._need("end", expected)

    def trigger(self, depth: int) -> Expression:
        terms = [self._conjunction(depth)]
        while self._take("OR"):
            terms.append(self._conjunction(depth))
        flat = [inner for term in terms for inner in (term.terms if isinstance(term, Or) else (term,))]
        return flat[0] if len(flat) == 1 else Or(tuple(flat))

    def _conjunction(self, depth: int) -> Expression:
        terms = [self._term(depth)]
        while self._take("AND"):
            terms.append(self._term(depth))
        flat = [inner for term in terms for inner in (term.terms if isinstance(term, And) else (term,))]
        return flat[0] if len(flat) == 1 else And(tuple(flat))

    def _term(self, depth: int) -> Expression:
        bracket = self._take("open")
        if bracket is None:
            return self._comparison()
        if depth == _DEEPEST:
            self._fail(bracket.at, f"brackets are nested deeper than {_DEEPEST}")
        inner = self.trigger(depth + 1)
        self._need("close", "AND, OR or ')'")
        return inner

    def _comparison(self) -> Comparison:
        token = self._need("word", "a metric such as error_rate, or '('")
        if not METRIC_NAME.fullmatch(token.text):
            self._fail(token.at, f"a metric is written in lower case: {token.text.lower()}")
        self.refuse_name(token.text, token.at)
        return self.threshold(token.text)

    def refuse_name(self, metric: str, at: int) -> None:
        if problem := refusal(metric):
            self._fail(at, problem)

    def threshold(self, metric: str) -> Comparison:
        operator = Operator(self._need("operator", "one of < <= > >=").text)
        token = self._need("number", f"a number such as {example(metric)}")
        unit = self._unit(metric, token)
        comparison = Comparison(metric, operator, float(token.text), unit)
        if problem := out_of_range(metric, comparison.number, unit):
            self._fail(token.at, problem)
        return comparison

    def _unit(self, metric: str, number: _Token) -> Unit:
        """The unit that follows the number, and that the metric takes."""
        token = self._take("percent") or self._take("word")
        written = token.text.lower() if token else ""
        taken = units_of(metric)
        if written in taken:
            return Unit(written)
        takes = f"{metric} takes {_listed([unit or 'a plain number' for unit in taken])}"
        if token is None:
            self._fail(number.at, f"{takes}: write {example(metric)}, or so")
        known = "is no unit" if written not in list(Unit) else "does not fit"
        self._fail(token.at, f"{token.text!r} {known}: {takes}")


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
