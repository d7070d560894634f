"""Parameters that a version does not take: found in its refusals, told of, and left out where the configuration says.

What one call has found is kept for its target as long as the worker runs, so that later calls leave it out at once. A
provider names one parameter at a time, and hundreds of calls may be under way when it names the first: one of them then
finds out what else there is, and the others wait for it, each refused once.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import orjson

from shadowlane import metrics
from shadowlane.processors.watch.figures import Family, figures
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.processors.worker.target import Target
from shadowlane.schemas.answers.rejection import STATUSES, rejected
from shadowlane.schemas.events import Failure, Protocol
from shadowlane.schemas.fingerprint import fingerprint
from shadowlane.schemas.requests.parameters import Rule, rule, without

log = logging.getLogger("shadowlane.worker")

WAIT_S = 2.0
"""How long calls wait for the one that finds out. A refusal comes at once: who is not refused by then is answered."""
MAX_RULES = 64
MAX_NAMES = 64


class Rejections:
    """What the targets of a worker do not take. In its event loop, but for what is told and counted."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], _OfTarget] = {}  # by rollout and arm
        self.known = False
        """Whether there are any: nobody asks for more where there are none."""

    async def before(self, question: Question) -> None:
        """Before each call, where any are known: leaves out of it what its target does not take."""
        if (target := self._targets.get(_key(question))) is not None and target.rules:
            await target.before(question)

    def now(self, question: Question) -> None:
        """The same without waiting for anybody: after a wait for something else."""
        if (target := self._targets.get(_key(question))) is not None:
            target.now(question)

    def after(self, question: Question, attempt: Attempt, body: bytes) -> bool:
        """What became of a call: where its status is one of ``STATUSES``, and where any are known. ``body`` is the
        answer's. Where it was refused for a parameter, the attempt says so from here on.

        Returns:
            Whether it is to be made again at once: the question is now without what was refused.
        """
        target = self._targets.get(_key(question))
        if target is None:
            if attempt.status not in STATUSES or not question.target.version.asked_as_model:
                return False
            target = _OfTarget(question)
            self._targets[_key(question)] = target
            self.known = True
        return target.after(question, attempt, body)

    def told(self) -> Iterator[str]:
        """What is not as usual, for people. From any thread."""
        for target in list(self._targets.values()):
            yield from target.told()

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        targets = list(self._targets.items())
        yield figures(
            metrics.WORKER_REJECTED, {(*key, n): c for key, t in targets for n, c in t.refused.copy().items()}
        )
        yield figures(
            metrics.WORKER_ASKED_WITHOUT,
            {(*key, n): c for key, t in targets for n, c in t.asked_without.copy().items()},
        )


class _OfTarget:
    """One arm of a rollout; the stable version's is the same whether it is asked for noise or as a shadow."""

    def __init__(self, question: Question) -> None:
        target: Target = question.target
        self._whose = f"the {target.arm} version of rollout {question.response.rollout}"
        self._protocol = target.version.protocol
        self._own: Collection[str] = target.version.overrides
        self._leaves_out = target.version.rejected_parameters == "leave_out"
        self._logged: set[str] = set()
        self._finder: Question | None = None  # whose next answer says what else it does not take
        self._found = asyncio.Event()
        self._until = 0.0
        self._failing: Counter[str] = Counter()  # parameter -> requests that failed for it
        self.rules: tuple[Rule, ...] = ()
        self.refused: Counter[str] = Counter()  # parameter -> answers that refused it
        self.asked_without: Counter[str] = Counter()  # parameter -> calls

    async def before(self, question: Question) -> None:
        if self._finder is not None and self._finder is not question:
            await self._wait()
        self.now(question)

    def now(self, question: Question) -> None:
        _count(self.asked_without, leave_out(question, self.rules) or ())

    async def _wait(self) -> None:
        left = self._until - asyncio.get_running_loop().time()
        if left > 0:
            try:
                async with asyncio.timeout(left):
                    await self._found.wait()
            except TimeoutError:
                pass

    def after(self, question: Question, attempt: Attempt, body: bytes) -> bool:
        again = attempt.status in STATUSES and self._refused(question, attempt, body)
        if not again and self._finder is question:
            self._finder = None
            self._found.set()
        return again

    def _refused(self, question: Question, attempt: Attempt, body: bytes) -> bool:
        asked = orjson.loads(question.payload)
        names: dict[str, None] = {}
        rules: list[Rule] = []
        reasons: dict[str, None] = {}
        for each in rejected(body):
            found = rule(each, asked, self._protocol, self._own)
            if found is None:
                continue
            if isinstance(found, Rule) and found.instead and self._knows(found.instead):
                found = f"it takes no {found.instead} either, and nothing would limit what the answer costs"
            if isinstance(found, Rule):
                names[found.name] = None
                rules.append(found)
            else:
                names[each.name] = None
                reasons[found] = None
        if not names:
            return False  # it refuses something else
        _count(self.refused, names)
        if not reasons and not self._leaves_out:
            reasons["rejected_parameters: leave_out asks without"] = None
        said, why = ", ".join(names), "; ".join(reasons)
        attempt.failure = Failure.REJECTED_PARAMETER
        attempt.message = f"it does not take {said}{f' ({why})' if why else ''}: {attempt.message}"
        self._log(said, why)
        if why or (left := leave_out(question, rules)) is None:
            _count(self._failing, names)
            return False
        _count(self.asked_without, left)
        self._remember(question, rules)
        return True

    def _knows(self, name: str) -> bool:
        return any(each.path == (name,) for each in self.rules)

    def _remember(self, question: Question, rules: Iterable[Rule]) -> None:
        new = (each for each in dict.fromkeys(rules) if each not in self.rules)
        self.rules = (*self.rules, *new)[:MAX_RULES]
        now = asyncio.get_running_loop().time()
        if self._finder is None or now >= self._until:
            self._finder, self._found = question, asyncio.Event()
        if self._finder is question:
            self._until = now + WAIT_S

    def _log(self, names: str, why: str) -> None:
        if names in self._logged or len(self._logged) >= MAX_NAMES:
            return
        self._logged.add(names)
        what = (
            f"such requests fail: {why}" if why else "it is asked without, and left_out of the pairs says so"
        )
        log.warning("%s does not take %s: %s", self._whose, names, what)

    def told(self) -> Iterator[str]:
        if left := sorted({each.name for each in self.rules}):
            yield f"{self._whose} does not take {', '.join(left)}, and is asked without"
        if failing := sorted(self._failing.copy()):
            yield f"{self._whose} does not take {', '.join(failing)}: requests that have it fail"


def leave_out(question: Question, rules: Iterable[Rule]) -> tuple[str, ...] | None:
    """Takes out of a question, in place, what the rules say; the names of what is not sent as it was. None where it
    stays as it is: what was null has no name."""
    concerned = [each for each in rules if each.mark in question.payload]
    if not concerned:
        return None
    body, out, renamed = without(orjson.loads(question.payload), concerned)
    payload = orjson.dumps(body)
    if payload == question.payload:
        return None
    response = question.response
    question.payload = payload
    response.request = orjson.Fragment(payload)
    response.left_out = [*response.left_out, *(name for name in out if name not in response.left_out)]
    if question.protocol == Protocol.BEDROCK_CONVERSE:  # which has the model in its address
        body = {"model": response.model} | body
    response.fingerprint = fingerprint(body, question.protocol)
    return out + renamed


def _key(question: Question) -> tuple[str, str]:
    return question.response.rollout, question.target.arm


def _count(counts: Counter[str], names: Iterable[str]) -> None:
    for name in names:
        counts[name if name in counts or len(counts) < MAX_NAMES else "other"] += 1
