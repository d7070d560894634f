"""A request and its served response as the two lines that travel: redacted, encoded, never too large. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum

from shadowlane.errors import CodecError
from shadowlane.producers.records import redact_records
from shadowlane.producers.redaction import Redactor
from shadowlane.producers.worker import RECORD_MAX_BYTES
from shadowlane.schemas.codec import encode
from shadowlane.schemas.events import Failure, MirroredRequest, Response

_ANSWER_KEPT = frozenset({"", Failure.ABANDONED, Failure.BAD_RESPONSE})


class Bare(StrEnum):
    """Why a request goes out without its content."""

    REDACTOR_FAILED = "redactor_failed"
    NOT_JSON = "not_json"
    RECORD_TOO_LARGE = "record_too_large"


@dataclass(frozen=True, slots=True)
class Ready:
    """``lines``: the mirrored request, and what was served. ``without_content``: why, or ""."""

    request_id: str
    key: str
    ts: int
    service: str
    route: str
    lines: tuple[bytes, bytes]
    without_content: str = ""


def ready(redactor: Redactor, request: MirroredRequest, response: Response) -> Ready:
    """What is too large for Kafka, has no JSON form, or can't be redacted goes out without its content.

    Raises:
        CodecError: even then it is too large.
    """
    try:
        redacted = redact_records(redactor, request, response)
    except CodecError:
        return _bare(_anonymous(request, response), Bare.REDACTOR_FAILED)
    try:
        lines = encode(redacted[0]), encode(redacted[1])
    except CodecError:
        return _bare(redacted, Bare.NOT_JSON)
    if max(map(len, lines)) > RECORD_MAX_BYTES:
        return _bare(redacted, Bare.RECORD_TOO_LARGE)
    return _told(redacted[0], lines, "")


def without_content(
    request: MirroredRequest, response: Response, reason: str
) -> tuple[MirroredRequest, Response]:
    """Both without what was asked and answered; an error that says more than that stays."""
    error = Failure.NO_CONTENT if response.error in _ANSWER_KEPT else response.error
    return (
        replace(request, body=None),
        replace(response, output="", tool_calls=None, error=error, error_message=reason),
    )


def _bare(both: tuple[MirroredRequest, Response], reason: str) -> Ready:
    request, response = without_content(*both, reason)
    lines = encode(request), encode(response)
    if max(map(len, lines)) > RECORD_MAX_BYTES:
        raise CodecError(
            f"it is over {RECORD_MAX_BYTES} bytes even without its content: shorten its attributes"
        )
    return _told(request, lines, reason)


def _anonymous(request: MirroredRequest, response: Response) -> tuple[MirroredRequest, Response]:
    """Without what only a redactor can make safe to send."""
    return (
        replace(request, route="(unredactable)", key="", attributes={}),
        replace(response, route="(unredactable)", key="", attributes={}),
    )


def _told(request: MirroredRequest, lines: tuple[bytes, bytes], reason: str) -> Ready:
    return Ready(request.request_id, request.key, request.ts, request.service, request.route, lines, reason)
