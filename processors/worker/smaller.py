"""A response that is too large for Kafka, with less and less of it. Pure."""

import dataclasses

from shadowlane.schemas.events import Failure, Response


def without_bulk(response: Response) -> Response | None:
    """The response without its copy of the request; then its answer; then its attributes. None at the end."""
    if response.request is not None:
        return dataclasses.replace(response, request=None)
    if response.output or response.tool_calls:
        return dataclasses.replace(
            response,
            output="",
            tool_calls=None,
            error=Failure.BAD_RESPONSE,
            error_message="the answer is larger than a message that Kafka takes (message.max.bytes)",
        )
    if response.attributes:  # the served response has them too
        return dataclasses.replace(response, attributes={})
    return None
