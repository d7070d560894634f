"""What a service sees of a client, put down so that two runs compare: with the mirror and without."""

import os
import re
from typing import Any

QUESTION = os.environ.get("CLIENT_QUESTION", "Where is order 17?")

_OWN = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b1\d{9}(\.\d+)?\b|0x[0-9a-f]{8,}|time taken=[0-9.]+"
)
"""What differs from call to call by itself: ids, times, addresses of objects."""


class Note:
    """Of one scenario. ``text``: what the service got in the end, where it got an answer."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.text: str | None = None

    def __call__(self, *what: Any) -> None:
        self.seen.append(_OWN.sub("*", repr(what)))

    def raised(self, error: BaseException) -> None:
        response = getattr(error, "response", None)
        self(
            "raised",
            [cls.__qualname__ for cls in type(error).__mro__],
            str(error),
            [getattr(error, name, None) for name in ("status_code", "body", "code", "request_id")],
            [type(error.__cause__).__qualname__, str(error.__cause__)],
            None if response is None else getattr(response, "_content", None),
        )
