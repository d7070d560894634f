"""Scorers that fail in every way that a user's can."""

import os
import re
import sys
import time
from typing import Any

from shadowlane.evaluators.scorers import Response, pair_scorer


def _number(stable: Response) -> int:
    found = re.search(r"HH-(\d+)", stable.output)
    return int(found.group(1)) if found else -1


@pair_scorer
def raising(request: Any, stable: Response, candidate: Response) -> float:
    """Raises on every tenth."""
    if _number(stable) % 10 == 0:
        raise RuntimeError(f"a secret of the answer: {stable.output}")
    return 1.0


@pair_scorer
def hanging(request: Any, stable: Response, candidate: Response) -> float:
    """Sleeps for ever on one, and on another holds Python's lock for ever."""
    if _number(stable) == 100:
        time.sleep(86_400)
    if _number(stable) == 160:
        re.match(r"(a+)+$", "a" * 64 + "b")
    return 1.0


@pair_scorer
def nonsense(request: Any, stable: Response, candidate: Response) -> Any:
    """What is no score."""
    kinds: list[Any] = ["0.5", float("nan"), float("inf"), 7, -1, [], {}, 10**400, object(), b"1"]
    return kinds[_number(stable) // 10 % len(kinds)] if _number(stable) % 10 == 0 else 1.0


@pair_scorer
def ending(request: Any, stable: Response, candidate: Response) -> float:
    """Ends its process on two."""
    if _number(stable) == 50:
        os._exit(1)
    if _number(stable) == 130:
        sys.exit(1)
    return 1.0
