"""Answers to grade."""

from typing import Any

from hypothesis import strategies as st

from shadowlane.schemas.events import Response

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
"""Lone surrogates and NUL included."""


def answer(output: str = "", **fields: Any) -> Response:
    base: dict[str, Any] = {
        "request_id": "r-1",
        "ts": 1,
        "completed_at": 2,
        "service": "support",
        "route": "/chat",
        "role": "served",
        "model": "m",
        "finish_reason": "stop",
    }
    return Response(**{**base, "output": output, **fields})
