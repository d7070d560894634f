"""What says which session a request belongs to. Pure."""

from typing import Any

SESSION = "session.id"
"""The attribute that holds it, called as OpenTelemetry calls it; where it is not said, the key may be one."""


def session_in(body: Any) -> str:
    """The id that a model's request itself names: OpenAI's ``conversation``, or ``metadata.session_id``; else ``""``.

    A ``previous_response_id`` is another one at each step, and names none.
    """
    if not isinstance(body, dict):
        return ""
    found = body.get("conversation")
    if isinstance(found, dict):
        found = found.get("id")
    if not found and isinstance(metadata := body.get("metadata"), dict):
        found = metadata.get("session_id")
    return found if isinstance(found, str) else ""
