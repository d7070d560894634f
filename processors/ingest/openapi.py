"""The endpoint's OpenAPI 3.1 document, of the models that read what comes. docs/ingest.openapi.json is this."""

from typing import Any

from pydantic.json_schema import models_json_schema

from shadowlane import __version__
from shadowlane.processors.ingest.completion import ChatCompletion
from shadowlane.processors.ingest.exchanges import MOST, NDJSON, Exchange
from shadowlane.processors.ingest.gateway import ServedCall
from shadowlane.producers.recorded import Served

EXCHANGES = "/v1/exchanges"
MIRROR = "/mirror/{path:.*}"
SERVED = "/v1/served"
OPENAPI = "/openapi.json"
HEALTH = "/health"

_COUNT = {"type": "integer", "minimum": 0}
_RESULT = {
    "type": "object",
    "required": ["index", "request_id", "status"],
    "properties": {
        "index": {**_COUNT, "description": "which exchange of the body, from 0"},
        "request_id": {
            "type": "string",
            "description": 'yours, or the one that it was given; "" of what can\'t be read',
        },
        "status": {
            "enum": ["mirrored", "repeated", "sampled_out", "refused", "failed", "waiting", "joined"],
            "description": "mirrored: Kafka has it. repeated: it came before. refused: it is wrong, error says how. "
            "failed: Kafka does not have it, send it again. waiting, joined: of what a gateway copied",
        },
        "error": {"type": "string"},
        "without_content": {
            "type": "string",
            "description": "why it went out without what was asked and answered",
        },
    },
    "additionalProperties": False,
}
_TAKEN = {
    "type": "object",
    "required": ["taken", "refused", "failed", "results"],
    "properties": {
        "taken": _COUNT,
        "refused": _COUNT,
        "failed": _COUNT,
        "results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}},
    },
    "additionalProperties": False,
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
    "additionalProperties": False,
}
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}


def document() -> dict[str, Any]:
    """The document, as ``/openapi.json`` has it."""
    _, found = models_json_schema(
        [(model, "validation") for model in (Exchange, Served, ChatCompletion, ServedCall)],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "shadowlane ingest",
            "version": __version__,
            "description": "Takes requests and the answers that were served to them. docs/ingest.md says more.",
        },
        "security": [{"bearer": []}, {"key": []}],
        "paths": {
            EXCHANGES: {"post": _exchanges()},
            OPENAPI: {"get": _openapi()},
            HEALTH: {"get": _health()},
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "gateway": {"type": "apiKey", "in": "header", "name": "X-Shadowlane-Token"},
            },
            "schemas": {
                **found["$defs"],
                "Result": _RESULT,
                "Taken": _TAKEN,
                "Error": _ERROR,
            },
        },
    }


def _exchanges() -> dict[str, Any]:
    return {
        "operationId": "sendExchanges",
        "summary": "Requests with what was served to them",
        "requestBody": _body("Exchange"),
        "responses": _responses("Kafka has all of them"),
    }


def _served() -> dict[str, Any]:
    return {
        "operationId": "sendServed",
        "summary": "What was served to requests that a gateway copied",
        "requestBody": _body("ServedCall"),
        "responses": _responses("Each is joined to its request, or waits for it"),
    }


def _mirror() -> dict[str, Any]:
    name = {"type": "string", "pattern": "^[0-9A-Za-z_.-]{1,200}$"}
    status = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"enum": ["waiting", "joined", "repeated"]}},
    }
    responses = {code: answer for code, answer in _responses("").items() if code not in ("202", "207", "503")}
    return {
        "operationId": "copiedRequest",
        "summary": "A request as a gateway copies it; nobody waits for the answer",
        "security": [{"gateway": []}],
        "parameters": [
            {"name": "path", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}},
            {"name": "X-Request-Id", "in": "header", "required": True, "schema": name},
        ],
        "requestBody": {"required": True, "content": _content({})},
        "responses": {
            "202": {"description": "It is held", "content": _content(status)},
            "204": {"description": "No JSON: not for us"},
            **responses,
        },
    }


def _body(model: str) -> dict[str, Any]:
    several = {"type": "array", "items": _ref(model), "minItems": 1, "maxItems": MOST}
    lines = {"schema": {"type": "string", "description": "one a line"}}
    content = {"application/json": {"schema": {"anyOf": [_ref(model), several]}}, NDJSON[0]: lines}
    return {"required": True, "content": content}


def _responses(done: str) -> dict[str, Any]:
    return {
        "202": _answer(done, "Taken"),
        "207": _answer("Some are taken; of the others error says what is wrong", "Taken"),
        "400": {
            "description": "Nothing is taken",
            "content": _content({"anyOf": [_ref("Taken"), _ref("Error")]}),
        },
        "401": _answer("The token is missing or wrong", "Error"),
        "413": _answer("The body is too large", "Error"),
        "415": _answer("The content type or encoding is none of these", "Error"),
        "429": _answer("Too much waits for Kafka: send it again later", "Error", _RETRY_AFTER),
        "503": {
            "description": "Kafka does not have all of it: send it again; what it has counts once",
            "headers": _RETRY_AFTER,
            "content": _content({"anyOf": [_ref("Taken"), _ref("Error")]}),
        },
    }


def _openapi() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document",
        "security": [],
        "responses": {"200": {"description": "OpenAPI 3.1", "content": _content({"type": "object"})}},
    }


def _health() -> dict[str, Any]:
    up = {"type": "object", "required": ["up"], "properties": {"up": {"const": True}}}
    return {
        "operationId": "health",
        "summary": "Whether it answers",
        "security": [],
        "responses": {"200": {"description": "It does", "content": _content(up)}},
    }


def _answer(description: str, schema: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": _content(_ref(schema))}
    return answer | ({"headers": headers} if headers else {})


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
