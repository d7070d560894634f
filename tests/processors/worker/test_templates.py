"""Services with a form of their own: what they get, and what becomes of their answers."""

from typing import Any

import pydantic
import pytest

from shadowlane.schemas.config import Candidate
from tests.processors.worker.serving import asked, shadow

CHAT = {
    "model": "old",
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Where is it?"}],
    "max_tokens": 99,
    "stream": True,
}
FORM = {
    "path": "/v2/generate",
    "body": {
        "prompt": {"$text": "/messages/-1/content"},
        "system": {"$from": "/messages/0/content"},
        "options": {"limit": {"$from": "/max_tokens", "$default": 256}, "seed": {"$from": "/seed"}},
    },
    "answer": {
        "output": "/result/text",
        "tool_calls": {"at": "/result/calls", "name": "/fn", "arguments": "/args"},
        "finish_reason": "/result/why",
        "finish_reasons": {"eos": "stop"},
        "model": "/engine",
        "input_tokens": "/usage/in",
        "output_tokens": "/usage/out",
        "error": "/error",
    },
}
ANSWER = {
    "result": {"text": "Tomorrow.", "calls": [{"fn": "look", "args": {"id": 7}}], "why": "eos"},
    "engine": "e-7",
    "usage": {"in": 12, "out": 2},
    "error": None,
}


def test_a_service_gets_its_own_form_and_is_read_by_its_own() -> None:
    [response], [got] = shadow(
        [asked(CHAT)],
        lambda _: (200, ANSWER),
        kind="http",
        base_url="{url}/api/",
        http=FORM,
        headers={"X-A": "b"},
    )
    assert (got.method, got.path, got.headers["x-a"]) == ("POST", "/api/v2/generate", "b")
    assert got.body == {"prompt": "Where is it?", "system": "Be short.", "options": {"limit": 99}}
    assert response.request == got.body
    assert (response.error, response.output, response.finish_reason) == ("", "Tomorrow.", "stop")
    assert response.tool_calls == [{"name": "look", "arguments": '{"id":7}'}]
    assert (response.served_model, response.input_tokens, response.output_tokens) == ("e-7", 12, 2)


@pytest.mark.parametrize(
    ("status", "answer", "error", "said"),
    [
        (200, ANSWER | {"error": {"message": "no such tenant"}}, "http", "no such tenant"),
        (200, ANSWER | {"error": {"code": 7}}, "http", '{"code":7}'),
        (200, ANSWER | {"error": {"message": "slow", "type": "rate_limit_error"}}, "throttled", "slow"),
        (503, {"error": "down"}, "http", "down"),
        (429, {}, "throttled", "{}"),
        (200, {"result": {}}, "bad_response", "the answer has nothing at /result/text"),
        (
            200,
            {"result": {"text": "x", "calls": [{"args": {}}]}},
            "bad_response",
            "a tool call without a name",
        ),
        (200, b"<html>", "bad_response", "the answer is no JSON"),
    ],
)
def test_what_goes_wrong_is_said(status: int, answer: Any, error: str, said: str) -> None:
    [response], _ = shadow([asked(CHAT)], lambda _: (status, answer), kind="http", http=FORM)
    assert (response.error, response.error_message, response.output) == (error, said, "")


def test_requests_of_any_api_are_first_those_that_the_template_is_written_for() -> None:
    message = {"model": "old", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "top_k": 3}
    http = {"api": "openai", "body": {"q": {"$from": "/messages/-1/content"}, "m": {"$from": "/model"}}}
    answers = shadow(
        [
            asked(message, "anthropic.messages"),
            asked(message | {"model": "old", "mcp_servers": [1]}, "anthropic.messages"),
        ],
        lambda _: (200, {"a": 1}),
        kind="http",
        http=http,
        prompt={"append": "Be kind."},
        overrides={"seed": 1},
    )
    [response, refused], [got] = answers
    assert got.body == {"q": "Hi", "m": "new"}
    assert (response.output, response.left_out) == ('{"a":1}', ["top_k"])
    assert refused.error == "unsupported"
    assert "mcp_servers" in refused.error_message


def test_a_web_services_request_goes_into_an_address() -> None:
    http = {
        "method": "GET",
        "path": "/search",
        "query": {"q": {"$from": "/terms"}, "limit": 5, "page": {"$from": "/page"}},
        "answer": {"output": "/hits"},
    }
    [response], [got] = shadow(
        [asked({"terms": "a b&c"}, "json")], lambda _: (200, {"hits": [1, 2]}), kind="http", http=http
    )
    assert (got.method, got.path, got.raw) == ("GET", "/search?q=a+b%26c&limit=5", b"")
    assert (response.output, response.request) == ("[1,2]", {"q": "a b&c", "limit": "5"})


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ({"kind": "http", "http": {"body": {"a": {"$from": "messages"}}}}, "begins with a slash"),
        ({"kind": "http", "http": {"body": {"a": {"$form": "/a"}}}}, "a reference has $from or $text"),
        ({"kind": "http", "http": {"answer": {"output": "text"}}}, "begins with a slash"),
        ({"kind": "http", "http": {"method": "GET", "body": {}}}, "a GET has no 'body'"),
        ({"kind": "http", "http": {"method": "DELETE"}}, "'POST', 'PUT'"),
        ({"kind": "openai", "http": {}}, "'http' is for kind http, and this is of kind openai"),
        ({"kind": "http", "overrides": {"a": 1}}, "'overrides' needs to know the API of the request"),
        ({"kind": "http", "prompt": {"append": "a"}}, "'prompt' needs to know the API of the request"),
        ({"prompt": {}}, "a prompt has 'replace', 'prepend' or 'append'"),
        ({"prompt": {"replace": "a", "append": "b"}}, "'replace' is the whole prompt"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_loaded(version: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said.replace("$", r"\$")):
        Candidate(base_url="http://a/b", **version)
