"""A sink that is killed after its first insert, before it can commit."""

import os
import signal

from shadowlane.processors.sink import Sink, run
from shadowlane.processors.sink.blocks import Block
from tests.processors.sink.whole import settings

commit = Sink._commit


def crash(self: Sink, block: Block, offset: int, metadata: str = "") -> None:
    if not metadata:
        os.kill(os.getpid(), signal.SIGKILL)
    commit(self, block, offset, metadata)


if __name__ == "__main__":
    Sink._commit = crash  # type: ignore[method-assign]  # the one moment that can't be met from outside
    run(settings())
