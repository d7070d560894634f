from typing import Any

from shadowlane.evaluators.scorers import Response, side_scorer


@side_scorer
def names_source(request: Any, answer: Response, marker: str = "Source:") -> float | None:
    if not answer.output:
        return None  # nothing to say: it abstains
    return 1.0 if marker in answer.output else 0.0
