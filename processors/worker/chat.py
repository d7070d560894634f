"""What an arm is asked, and what its answer says. Pure: JSON in, JSON out, no HTTP."""

from collections.abc import Mapping
from typing import Any

import orjson

from shadowlane.processors.worker.effects import take_out
from shadowlane.schemas.answers import READERS, Answer
from shadowlane.schemas.config import Version
from shadowlane.schemas.events import Failure, MirroredRequest, Protocol
from shadowlane.schemas.requests import APIS, translate
from shadowlane.schemas.requests.prompt import prompted

CONVERSE = Protocol.BEDROCK_CONVERSE.value  # to look an Enum's member up takes longer than to compare


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
    """What a version is asked, as JSON, and the names of what of the request its API has no words for.

    It is the request's own, as the version's API has it, with the version's changes. Streaming is switched off:
    nobody reads along; and so is what the provider would do beside answering, unless the version's overrides ask for
    it. Where no API is named (kinds http and python) it is the request as it is, but for these where it is a model's.

    Raises:
        UntranslatableError: the request can't be asked in the version's API, and why.
    """
    left_out: tuple[str, ...] = ()
    body, own = request.body, version.protocol
    protocol = own or request.protocol
    if own:
        body, left_out = translate(body, request.protocol, own)
    elif request.protocol not in APIS:
        return body, ()
    body = changed(body, version)
    if version.prompt is not None:
        body = prompted(body, protocol, version.prompt)
    left_out += take_out(body, protocol, version.overrides)
    if protocol != CONVERSE:  # there, streaming has an address of its own
        body.pop("stream_options", None)
        body["stream"] = False
    return body, left_out


def changed(body: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """A copy of a model's request with the version's model and overrides; where it names no API, as it is."""
    body = dict(body)
    if version.protocol:
        if version.model and version.kind != "bedrock":  # which has it in the address
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
        return whole(reader.whole(payload))
    answer = Answer()
    if payload.strip():
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError as exc:
            raise BadAnswerError(f"the answer is no JSON: {exc}") from exc
        answer.output = payload.decode("utf-8").strip()
    return answer


def whole(answer: Answer) -> Answer:
    """
    Raises:
        BadAnswerError: it is none.
    """
    if answer.problem:
        raise BadAnswerError(answer.problem)
    return answer


def error_in(payload: bytes) -> Any:
    """The ``error`` of a failed response, or where its body has none the body, if that has a message: an object, a
    text, or None."""
    try:
        raw = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(raw, dict):
        return None
    return raw.get("error") or (raw if isinstance(raw.get("message"), str) else None)


def error_text(error: Any, payload: bytes) -> str:
    """What a failed response says of itself, for people."""
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return error if isinstance(error, str) else payload[:4096].decode("utf-8", "replace")
