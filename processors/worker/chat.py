"""What an arm is asked, and what its answer says. Pure: JSON in, JSON out, no HTTP."""

from collections.abc import Mapping
from typing import Any

import orjson

from shadowlane.processors.worker.effects import take_out
from shadowlane.schemas.answers import READERS, Answer
from shadowlane.schemas.config import Version
from shadowlane.schemas.events import Failure, MirroredRequest
from shadowlane.schemas.requests import APIS, translate


class BadAnswerError(ValueError):
    """A 200 that is not what the protocol says."""


def without_question(request: MirroredRequest) -> tuple[Failure, str] | None:
    """Why there is nothing to ask anyone; None where there is."""
    if request.without_content or request.body is None:
        return Failure.NO_CONTENT, f"mirrored without its content: {request.without_content or 'no body'}"
    if request.protocol in APIS and not isinstance(request.body, dict):
        return (
            Failure.UNSUPPORTED,
            f"the body of a request of {request.protocol} is a JSON object, and this is none",
        )
    return None


def ask(request: MirroredRequest, version: Version) -> tuple[Any, tuple[str, ...]]:
    """The JSON body that a version is sent, and the names of what of the request its API has no words for.

    It is the request's own, as the version's API has it, with the version's changes. Streaming is switched off:
    nobody reads along; and so is what the provider would do beside answering, unless the version's overrides ask for
    it. Of kind http it is the body as it is, but for these where it is a model's API.

    Raises:
        UntranslatableError: the request can't be asked in the version's API, and why.
    """
    left_out: tuple[str, ...] = ()
    body = request.body
    if version.protocol:
        body, left_out = translate(body, request.protocol, version.protocol)
    elif request.protocol not in APIS:
        return body, ()
    body = changed(body, version)
    left_out += take_out(body, version.protocol or request.protocol, version.overrides)
    body.pop("stream_options", None)
    body["stream"] = False
    return body, left_out


def changed(body: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """A copy of a model's request with the version's model and overrides; of kind http, as it is."""
    body = dict(body)
    if version.protocol:
        if version.model:
            body["model"] = version.model
        for key, value in version.overrides.items():
            if value is None:
                body.pop(key, None)
            else:
                body[key] = value
    return body


def read(protocol: str, payload: bytes) -> Answer:
    """The answer in the body of a successful response; ``failed`` where it tells an error all the same.

    Raises:
        BadAnswerError: no JSON, or no answer of the API where that is the protocol.
    """
    if (reader := READERS.get(protocol)) is not None:
        answer = reader.whole(payload)
        if answer.problem:
            raise BadAnswerError(answer.problem)
        return answer
    answer = Answer()
    if payload.strip():
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError as exc:
            raise BadAnswerError(f"the answer is no JSON: {exc}") from exc
        answer.output = payload.decode("utf-8").strip()
    return answer


def error_in(payload: bytes) -> Any:
    """The ``error`` of a failed response: an object, a text, or None."""
    try:
        raw = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return raw.get("error") if isinstance(raw, dict) else None


def error_text(error: Any, payload: bytes) -> str:
    """What a failed response says of itself, for people."""
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return error if isinstance(error, str) else payload[:4096].decode("utf-8", "replace")
