"""Scorers of a user's own that behave as they are told. Imported in the process that runs them."""

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def behaving(
    name: str, options: Mapping[str, Any], prices: Mapping[str, Any], where: str
) -> Callable[..., Any]:
    """Gives the scorer; its argument says what to do."""
    if name == "unloadable":
        raise ImportError("a secret path")
    calls = [0]

    def scorer(what: str) -> Any:
        calls[0] += 1
        if what == "hang":
            time.sleep(3600)
        if what == "hang with the lock":  # within C, without ever letting another thread run
            re.match(r"(a+)+$", "a" * 64 + "b")
        if what == "exit":
            sys.exit(3)
        if what == "die":
            os._exit(9)
        if what == "raise":
            raise ValueError("the answer was 42")
        return {
            "count": calls[0],
            "pid": os.getpid(),
            "half": 0.5,
            "both": (1, None),
            "nan": float("nan"),
        }.get(what, {"not": "a number"})

    return scorer
