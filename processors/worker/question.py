"""What becomes of a mirrored request before anyone is asked, and its response once someone was. Pure.

Hundreds of requests wait for their answers at once. What each keeps meanwhile is bytes and a response that lacks the
answer alone: all else is done, and let go of, before the call.
"""

import time
from dataclasses import dataclass
from typing import Any

import orjson
import yarl
from multidict import CIMultiDict

from shadowlane.processors.arms import STABLE, other, served_arm
from shadowlane.processors.worker import chat
from shadowlane.processors.worker.claim import contradiction, served_fingerprint
from shadowlane.processors.worker.effects import PRODUCTION_HOST, same_host, side_effect
from shadowlane.processors.worker.target import Plan, Target
from shadowlane.producers.ids import valid_request_id
from shadowlane.schemas.answers import Answer
from shadowlane.schemas.config.kinds import Http
from shadowlane.schemas.events import Failure, MirroredRequest, Protocol, Response, copied
from shadowlane.schemas.fingerprint import fingerprint, fingerprint_beside
from shadowlane.schemas.marks import REQUEST
from shadowlane.schemas.pointer import as_text, fill
from shadowlane.schemas.requests import UntranslatableError

MAX_MESSAGE = 500


@dataclass(slots=True)
class Attempt:
    """One call: an answer, or how it failed."""

    latency_ms: float = 0.0
    status: int = 0
    answer: Answer | None = None
    failure: Failure | None = None
    message: str = ""
    again: bool = False  # worth another attempt
    retry_after: float | None = None


@dataclass(slots=True)
class Question:
    """Who is asked what, and the response that an attempt completes."""

    target: Target
    protocol: str  # of the answer
    payload: bytes  # the body that is sent; empty where nobody is asked
    response: Response
    url: yarl.URL
    refused: Attempt | None = None  # why nobody is asked
    most_tokens: int | None = None  # of the answer, where the request sets a limit

    @classmethod
    def of(cls, request: MirroredRequest, plan: Plan) -> "Question":
        """For the arm that did not serve the request.

        Raises:
            TypeError: the body with the version's overrides can't be written as JSON.
        """
        served = plan.targets[served_arm(plan.rollout, request.arm, request.model)]
        return cls._for(request, plan, served, plan.targets[other(served.arm)])

    @classmethod
    def again(cls, request: MirroredRequest, plan: Plan, target: Target) -> "Question":
        """For the stable version, which served the request, once more: ``target`` is that of the plan's noise.

        Raises:
            TypeError: as :meth:`of`.
        """
        return cls._for(request, plan, plan.targets[STABLE], target)

    @classmethod
    def _for(cls, request: MirroredRequest, plan: Plan, served: Target, target: Target) -> "Question":
        response = copied(target.blank)
        response.request_id = request.request_id
        response.ts = request.ts
        response.epoch = plan.epoch
        response.service = request.service
        response.route = request.route
        if not (response.model or target.unable):
            response.model = request.model
        response.key = request.key
        response.stage = request.stage
        response.served_fingerprint = served_fingerprint(request)
        response.attributes = request.attributes
        response.traceparent = request.traceparent
        refused = _not_asked(request, plan, served, target)
        protocol = target.version.protocol or request.protocol
        body: Any = None
        left_out: tuple[str, ...] = ()
        if refused is None:
            try:
                body, left_out = chat.ask(request, target.version)
            except UntranslatableError as exc:
                refused = Failure.UNSUPPORTED, f"a request of {request.protocol} is none of {protocol}: {exc}"
        if refused is None and (why := side_effect(body, protocol, target.version.allow)):
            refused = Failure.SIDE_EFFECT, why
        if refused is not None:
            if request.without_content:  # hashed: to be compared with other requests, and never asked
                response.request, response.served_fingerprint = request.body, ""
                response.request_bytes = request.body_bytes
            attempt = Attempt(failure=refused[0], message=refused[1])
            return cls(target, protocol, b"", response, target.url, attempt)
        if protocol == chat.CONVERSE:  # which has the model in its address
            response.fingerprint = fingerprint({"model": response.model, **body}, protocol)
        elif protocol == request.protocol:
            response.fingerprint = fingerprint_beside(
                body, protocol, request.body, response.served_fingerprint, target.fingerprints
            )
        else:
            response.fingerprint = fingerprint(body, protocol)
        response.left_out = list(left_out)
        if (http := target.version.http) is not None:
            return _formed(target, http, body, protocol, response)
        payload = orjson.dumps(body)
        response.request = orjson.Fragment(payload)
        return cls(target, protocol, payload, response, target.url, most_tokens=_most_tokens(body))

    @property
    def headers(self) -> CIMultiDict[str]:
        """The target's, and the request's id, where that can stand in a header."""
        headers = self.target.headers.copy()
        if valid_request_id(self.response.request_id):
            headers[REQUEST] = self.response.request_id
        return headers

    def answered(self, attempt: Attempt, attempts: int) -> Response:
        """The response, complete: once, after the last of so many attempts."""
        response, answer = self.response, attempt.answer
        response.completed_at = int(time.time() * 1000)
        if answer is not None:
            response.output = answer.output
            response.tool_calls = answer.tool_calls or None
            response.served_model = answer.model
            response.finish_reason = answer.finish_reason
            response.input_tokens = answer.input_tokens
            response.output_tokens = answer.output_tokens
        if attempt.failure:
            response.error = attempt.failure.value
            response.error_message = _line(attempt.message, self.target.secrets)
        response.status = attempt.status
        response.latency_ms = attempt.latency_ms
        response.attempts = attempts
        return response


def _most_tokens(body: object) -> int | None:
    """Of all choices together, where the request limits them."""
    if not isinstance(body, dict):
        return None
    body = {**body, **inference} if isinstance(inference := body.get("inferenceConfig"), dict) else body
    for name in ("maxTokens", "max_completion_tokens", "max_tokens", "max_output_tokens"):
        limit = body.get(name)
        if isinstance(limit, int) and limit > 0:
            choices = body.get("n")
            return limit * choices if isinstance(choices, int) and choices > 1 else limit
    return None


def _formed(target: Target, http: Http, body: Any, protocol: str, response: Response) -> Question:
    """The question to a service with a form of its own."""
    query = {name: fill(template, body) for name, template in http.query.items()}
    query = {name: as_text(value) for name, value in query.items() if value is not None}
    url = target.url.update_query(query) if query else target.url
    if http.method == "GET":
        response.request = query
        return Question(target, Protocol.JSON, b"", response, url)
    most = _most_tokens(body)
    payload = orjson.dumps(body if http.body is None else fill(http.body, body))
    response.request = orjson.Fragment(payload)
    read_as = protocol if http.body is None else Protocol.JSON
    return Question(target, read_as, payload, response, url, most_tokens=most)


def _not_asked(
    request: MirroredRequest, plan: Plan, served: Target, target: Target
) -> tuple[Failure, str] | None:
    """Why there is no call; None where there is one."""
    if not plan.sampler.takes(request.key or request.request_id):
        return Failure.SAMPLED_OUT, f"not in the sample of rollout {plan.rollout.name}"
    refused = chat.without_question(request) or contradiction(request, served.arm, served.version)
    if refused is not None:
        return refused
    if target.unable:
        return Failure.UNSUPPORTED, target.unable
    if request.host and target.host and same_host(target.host, request.host):
        return (
            Failure.SIDE_EFFECT,
            f"{target.host} is where production asked: shadow a server of the candidate's own, or say allow: "
            f"[{PRODUCTION_HOST}]",
        )
    return None


def _line(message: str, secrets: tuple[str, ...]) -> str:
    """A message on one line, without the secrets, cut to a length."""
    for secret in secrets:
        message = message.replace(secret, "[secret]")
    return " ".join(message.split())[:MAX_MESSAGE]
