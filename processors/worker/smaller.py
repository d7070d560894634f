"""A response that is too large for Kafka, with less and less of it. Pure."""

import dataclasses

import orjson

from shadowlane.schemas.events import Failure, Response


def without_bulk(response: Response) -> Response | None:
    """The response without its copy of the request; then its answer; then its attributes. None at the end.

    How long the first two were is kept.
    """
    if response.request is not None:
        size = response.request_bytes or len(orjson.dumps(response.request))
        return dataclasses.replace(response, request=None, request_bytes=size)
    if response.output or response.tool_calls:
        return dataclasses.replace(
            response,
            output="",
            output_bytes=len(response.output.encode()),
            tool_calls=None,
            error=Failure.BAD_RESPONSE,
            error_message="the answer is larger than a message that Kafka takes (message.max.bytes)",
        )
    if response.attributes:  # the served response has them too
        return dataclasses.replace(response, attributes={})
    return None
