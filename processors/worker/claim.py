"""Whether a request that an arm served is what that arm would have been asked. Pure.

A pair compares two versions, and says so by their names. So what the record claims of the version that served is
held against what was really asked: a service that sends another model or other parameters than the rollout says
would have the verdict speak of a version that nobody ran.
"""

from typing import Any

import orjson

from shadowlane.processors.worker import chat
from shadowlane.schemas.config import Version
from shadowlane.schemas.events import Arm, Failure, MirroredRequest
from shadowlane.schemas.fingerprint import differences, fingerprint
from shadowlane.schemas.requests import APIS
from shadowlane.schemas.requests.prompt import system_text

SHOWN = 40  # characters of a value in a message


def contradiction(request: MirroredRequest, arm: Arm, version: Version) -> tuple[Failure, str] | None:
    """Why the request is not what ``version``, the arm that served it, would have been asked; None if it is.

    The version's model, prompt and overrides, applied to the body, must change nothing in its fingerprint. Of a request
    that is none of the version's own API the model alone is compared, where the request names one.
    """
    if request.model and version.model not in ("", request.model):
        return _other_model(request.model, arm, version.model)
    if (other := _other_prompt(request, arm, version)) is not None:
        return other
    body = _body(request) if version.protocol in ("", request.protocol) else None
    if body is None or (not version.overrides and version.model in ("", body["model"])):
        return None
    claimed, names = chat.changed(body, version), ("model", *version.overrides)  # what it may change
    found = differences({name: body.get(name) for name in names}, {name: claimed.get(name) for name in names})
    if "model" in found:
        return _other_model(found["model"][0], arm, found["model"][1])
    if not found:
        return None
    said = ", ".join(
        f"{name} is {_shown(was)}, not {_shown(wanted)}" for name, (was, wanted) in found.items()
    )
    return Failure.OTHER_PARAMETERS, f"served by the {arm} version, which is asked otherwise: {said}"


def _other_prompt(request: MirroredRequest, arm: Arm, version: Version) -> tuple[Failure, str] | None:
    """Where the version says its whole system prompt: that the request has another one."""
    if version.prompt is None or version.prompt.replace is None or (body := _body(request)) is None:
        return None
    if system_text(body, request.protocol) == version.prompt.replace:
        return None
    return Failure.OTHER_PARAMETERS, f"served by the {arm} version, whose system prompt is another"


def served_fingerprint(request: MirroredRequest) -> str:
    """Of what the arm that served was asked; ``""`` of what is no request of a model's API."""
    return fingerprint(_body(request), request.protocol)


def _body(request: MirroredRequest) -> dict[str, Any] | None:
    """The body of a model's request, with its model where only the record names that; None of anything else."""
    if request.protocol not in APIS or not isinstance(request.body, dict):
        return None
    body: dict[str, Any] = request.body
    return body if "model" in body else {"model": request.model or None} | body


def _other_model(asked: Any, arm: Arm, model: Any) -> tuple[Failure, str]:
    return Failure.OTHER_MODEL, f"the service asked {_shown(asked)}, and the {arm} version is {_shown(model)}"


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    text = orjson.dumps(value).decode("utf-8")
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
