"""Who waits for a target's limit, in the order in which they came. The first alone looks whether it may go."""

import asyncio
from collections import deque


class Line:
    """Use within one event loop. Who is first must :meth:`go`, however that ends."""

    def __init__(self) -> None:
        self._first = False  # whether somebody is
        self._again: deque[asyncio.Future[bool]] = (
            deque()
        )  # they were asked and refused before the others came
        self._new: deque[asyncio.Future[bool]] = deque()

    def __len__(self) -> int:
        return self._first + len(self._again) + len(self._new)

    async def first(self, *, again: bool = False) -> bool:
        """Waits until it is first; False where it need not wait any more: it was sent away.

        ``again``: it was refused, and goes before those who were not asked yet.
        """
        if not self._first:
            self._first = True
            return True
        line = self._again if again else self._new
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn in line:
                line.remove(turn)
            elif not turn.cancelled() and turn.result():
                self.go()
            raise

    def go(self) -> None:
        """The first goes, and the next one is it."""
        self._first = self._tell(first=True)

    def send_away(self) -> bool:
        """Of those behind the first the one who has waited longest; whether there was one."""
        return self._tell(first=False)

    def _tell(self, *, first: bool) -> bool:
        for line in (self._again, self._new):
            while line:
                turn = line.popleft()
                if not turn.done():  # else it is being cancelled
                    turn.set_result(first)
                    return True
        return False
