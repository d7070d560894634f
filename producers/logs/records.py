"""A log's call as what the mirror would have sent of it. Pure."""

from dataclasses import asdict

from shadowlane.producers.ids import request_id_of
from shadowlane.producers.logs.reading import Call
from shadowlane.schemas.codec import TIME_END
from shadowlane.schemas.events import MirroredRequest, Response, Role


def records(
    call: Call, *, ts: int, service: str, route: str, repetition: int = 0
) -> tuple[MirroredRequest, Response]:
    """The request and the response, under an id that is the same each time: of the call's own name or its place, of
    its service and route, and of the repetition. ``service`` and ``route`` are of calls that name none."""
    entry = call.entry
    service, route = entry.service or service, entry.route or route
    told = b"\0".join((call.seed, service.encode(), route.encode(), b"%d" % repetition))
    request = MirroredRequest(
        request_id=request_id_of(ts, told),
        ts=ts,
        service=service,
        route=route,
        protocol=entry.protocol,
        key=entry.key,
        model=entry.model,
        body=entry.body,
        attributes=entry.attributes,
        traceparent=entry.traceparent,
    )
    response = Response(
        request_id=request.request_id,
        ts=ts,
        completed_at=min(ts + int(entry.reply.latency_ms), TIME_END - 1),
        service=service,
        route=route,
        role=Role.SERVED,
        attributes=entry.attributes,
        traceparent=entry.traceparent,
        key=entry.key,
        served_model=entry.reply.model,
        **{**asdict(entry.reply), "model": entry.model or entry.reply.model},
    )
    return request, response
