"""How many bytes calls hold at once: of questions, and of answers, whose size nobody knows before they come.

A call begins where there is room for its question and for an answer as large as the larger ones of late. An answer that
is larger than that waits for room while it is read, and its server waits with it, by TCP. One call at a time may hold
more than there is room for, so that there is always one that comes to its end.
"""

import asyncio
from collections import deque
from collections.abc import Callable

FIRST = 2**16  # bytes of an answer, before there is one
LEAST = 4096
FADE = 64  # calls in which what is expected falls by two thirds, where answers have become small
AGAIN_S = 0.1  # how often is looked again at what others hold, while someone waits
TASK = 8192  # bytes of a call that waits, beside its question
RESTING = 2
"""How often the body of a question is there while its call waits for something else: as it came, and as it is sent."""
RESTS = 4  # one of so many parts is for them
COPIES = 4
"""How often a body is there at most: as it came, in one piece, as it was read, and as it is written on. Measured: a
process grew by less than that."""


class Share:
    """What one call holds."""

    __slots__ = ("answer", "holds", "question", "received", "rests", "waited_s", "wants", "woken")

    def __init__(self, question: int) -> None:
        self.question = question  # its bytes
        self.answer = 0  # bytes of an answer that it has room for
        self.holds = 0
        self.rests = False  # it waits for something else than room
        self.received = 0  # bytes of the last answer, for what is expected of the next ones
        self.wants = 0
        self.woken: asyncio.Future[None] | None = None
        self.waited_s = 0.0  # for its answer


class Room:
    """Use within one event loop.

    Args:
        limit: bytes.
        elsewhere: bytes of the same room that something else holds now. Must be quick.
    """

    def __init__(self, limit: int, elsewhere: Callable[[], int] = lambda: 0) -> None:
        self._limit, self._elsewhere = limit, elsewhere
        self.held = 0
        self.resting = 0
        """Bytes of calls that wait for something else."""
        self.expected = float(FIRST)
        """Bytes of the next answer."""
        self._open = 0  # calls
        self._over: Share | None = None  # who may hold more
        self._growing: deque[Share] = deque()
        self._entering: deque[Share] = deque()
        self._again: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait: to begin, or to read their answers."""
        return len(self._growing) + len(self._entering)

    @property
    def crowded(self) -> bool:
        """Whether those who wait for something else have the part that is theirs."""
        return self.resting > self._limit // RESTS

    def begin(self, question: int) -> Share | None:
        """For a call that sends so many bytes, if there is room now."""
        if self._entering:
            return None
        answer = int(self.expected)
        holds = COPIES * (question + answer)
        fits = self.held + holds + self._elsewhere() <= self._limit
        if self._open and not fits:
            return None
        share = Share(question)
        share.holds, share.answer = holds, answer
        if not fits:
            self._over = share
        self.held += holds
        self._open += 1
        return share

    async def enter(self, question: int) -> Share:
        """As :meth:`begin`, once there is room, in turn."""
        share = Share(question)
        try:
            await self._wait(share, self._entering)
        except asyncio.CancelledError:
            if share.holds:  # it was let in at the same time, and is not wanted any more
                self.leave(share)
            raise
        return share

    def rest(self, share: Share) -> None:
        """The call waits for something else, and holds its question alone meanwhile."""
        if share.rests:
            return
        share.rests = True
        holds = RESTING * share.question + TASK
        self.held += holds - share.holds
        self.resting += holds
        share.holds, share.answer = holds, 0
        self._open -= 1
        if self._over is share:
            self._over = None
        if self._growing or self._entering:
            self._let()

    async def again(self, share: Share) -> None:
        """It waits no more, and goes on where there is room for its answer, in turn."""
        if share.rests:
            if self._entering or not self._enters(share):
                await self._wait(share, self._entering)
            else:
                self._wake(share)

    async def grow(self, share: Share, answer: int) -> None:
        """For an answer of so many bytes, as far as one knows by now. Waits until there is room."""
        more = COPIES * (answer - share.answer)
        if more <= 0:
            return
        if self._lets(share, more):
            share.holds += more
            self.held += more
        else:
            share.wants = more
            began = asyncio.get_running_loop().time()
            try:
                await self._wait(share, self._growing)
            finally:
                share.waited_s += asyncio.get_running_loop().time() - began
        share.answer = answer

    def leave(self, share: Share) -> None:
        """The call is over."""
        expected = self.expected * (1 - 1 / FADE)
        if share.received > expected:
            expected = float(share.received)
        self.expected = expected if expected > LEAST else float(LEAST)
        if share.rests:
            self.resting -= share.holds
        else:
            self._open -= 1
        self.held -= share.holds
        if self._over is share:
            self._over = None
        if self._growing or self._entering:
            self._let()

    def _lets(self, share: Share, more: int) -> bool:
        if self.held + more + self._elsewhere() <= self._limit:
            return True
        if self._over is None:
            self._over = share
        return self._over is share

    async def _wait(self, share: Share, queue: deque[Share]) -> None:
        loop = asyncio.get_running_loop()
        share.woken = woken = loop.create_future()
        queue.append(share)
        if self._again is None:
            self._again = loop.call_later(AGAIN_S, self._look_again)
        try:
            await woken
        except asyncio.CancelledError:
            if share in queue:
                queue.remove(share)
                share.woken = None
            raise

    def _let(self) -> None:
        """Lets go on who may: those whose answers wait, then those who want to begin."""
        while self._growing and self._lets(self._growing[0], self._growing[0].wants):
            self._wake(self._growing.popleft())
        while not self._growing and self._entering and self._enters(self._entering[0]):
            self._wake(self._entering.popleft())

    def _enters(self, share: Share) -> bool:
        """Lets a call begin, or go on, if there is room now."""
        answer = int(self.expected)
        wants = COPIES * (share.question + answer) - share.holds
        fits = self.held + wants + self._elsewhere() <= self._limit
        if self._open and not fits:
            return False
        if not fits:
            self._over = share
        share.wants, share.answer = wants, answer
        self._open += 1
        if share.rests:
            share.rests = False
            self.resting -= share.holds
        return True

    def _wake(self, share: Share) -> None:
        share.holds += share.wants
        self.held += share.wants
        woken, share.woken = share.woken, None
        if woken is not None and not woken.done():  # it is done where its waiting is being cancelled
            woken.set_result(None)

    def _look_again(self) -> None:
        self._let()
        self._again = None
        if self._growing or self._entering:
            self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._look_again)
