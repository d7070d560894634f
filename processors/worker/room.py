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
COPIES = 4
"""How often a body is there at most: as it came, in one piece, as it was read, and as it is written on. Measured: a
process grew by less than that."""


class Share:
    """What one call holds."""

    __slots__ = ("answer", "holds", "question", "received", "waited_s", "wants", "woken")

    def __init__(self, question: int) -> None:
        self.question = question  # its bytes
        self.answer = 0  # bytes of an answer that it has room for
        self.holds = 0
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
        await self._wait(share, self._entering)
        return share

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
            elif queue is self._entering:  # it was let in at the same time, and is not wanted any more
                self.leave(share)
            raise

    def _let(self) -> None:
        """Lets go on who may: those whose answers wait, then those who want to begin."""
        while self._growing and self._lets(self._growing[0], self._growing[0].wants):
            self._wake(self._growing.popleft())
        answer = int(self.expected)
        while not self._growing and self._entering:
            share = self._entering[0]
            share.wants = COPIES * (share.question + answer)
            fits = self.held + share.wants + self._elsewhere() <= self._limit
            if self._open and not fits:
                break
            if not fits:
                self._over = share
            share.answer = answer
            self._open += 1
            self._entering.popleft()
            self._wake(share)

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
