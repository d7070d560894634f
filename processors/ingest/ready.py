"""A request and its served response as the two lines that travel: redacted, encoded, never too large. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum

from shadowlane.errors import CodecError
from shadowlane.producers.outflow import Outflow, bare
from shadowlane.producers.worker import RECORD_MAX_BYTES
from shadowlane.schemas.codec import encode
from shadowlane.schemas.events import MirroredRequest, Response


class Bare(StrEnum):
    """Why a request goes out without its content, where no mode says so and no redactor failed."""

    NOT_JSON = "not_json"
    RECORD_TOO_LARGE = "record_too_large"


@dataclass(frozen=True, slots=True)
class Ready:
    """``lines``: the mirrored request, and what was served. ``without_content``: why, or "". ``own_route`` and
    ``own_key`` are as they came: for sampling, and never sent."""

    request_id: str
    own_route: str
    own_key: str
    ts: int
    service: str
    route: str
    lines: tuple[bytes, bytes]
    without_content: str = ""


def ready(outflow: Outflow, request: MirroredRequest, response: Response) -> Ready:
    """What is too large for Kafka, has no JSON form, or can't be redacted goes out without its content.

    Raises:
        CodecError: even then it is too large.
    """
    own = request.route, request.key
    request, response, why = outflow.let_out(request, response)
    try:
        lines = encode(request), encode(response)
    except CodecError:
        return _bare(own, request, response, Bare.NOT_JSON)
    if max(map(len, lines)) > RECORD_MAX_BYTES:
        return _bare(own, request, response, Bare.RECORD_TOO_LARGE)
    return _told(own, request, lines, why)


def without_content(
    request: MirroredRequest, response: Response, reason: str
) -> tuple[MirroredRequest, Response]:
    """Both without what was asked and answered; an error that says more than that stays."""
    response = replace(response)
    bare(response, reason)
    return replace(request, body=None, without_content=reason), response


def _bare(own: tuple[str, str], request: MirroredRequest, response: Response, reason: str) -> Ready:
    request, response = without_content(request, response, reason)
    lines = encode(request), encode(response)
    if max(map(len, lines)) > RECORD_MAX_BYTES:
        raise CodecError(
            f"it is over {RECORD_MAX_BYTES} bytes even without its content: shorten its attributes"
        )
    return _told(own, request, lines, reason)


def _told(own: tuple[str, str], request: MirroredRequest, lines: tuple[bytes, bytes], reason: str) -> Ready:
    return Ready(request.request_id, *own, request.ts, request.service, request.route, lines, reason)
