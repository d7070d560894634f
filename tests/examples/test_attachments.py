"""Each example of an attachment runs, and is mirrored. Those of LiteLLM and LangChain: tests/clients."""

import sys
from collections.abc import Iterator

import pytest

from tests.examples.running import run_example
from tests.producers.model_server import TEXT, Server, model_server
from tests.schemas.answers import samples

TICKET = {"text": "I want my money back"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with model_server() as running:
        yield running


@pytest.mark.parametrize(
    ("example", "route", "said"),
    [
        ("openai_client", "chat.completions", TEXT),
        ("anthropic_client", "messages", samples.TEXT),
        ("httpx_client", "greetings", TEXT),
    ],
)
def test_a_client(server: Server, example: str, route: str, said: str) -> None:
    printed, request, served = run_example(sys.executable, example, server.url)
    assert said in printed
    assert request["body"]["messages"] == [{"role": "user", "content": "Say hello."}]
    assert (request["route"], served["output"], served["error"]) == (route, said, "")


@pytest.mark.parametrize(
    ("example", "route"),
    [
        ("fastapi_service", "/tickets/{user}"),
        ("flask_service", "/tickets/<user>"),
        ("django_service", "/tickets/<user>"),
    ],
)
def test_a_web_service(example: str, route: str) -> None:
    printed, request, served = run_example(sys.executable, example)
    assert "refund" in printed
    assert (request["route"], request["body"]) == (route, TICKET)
    assert "refund" in served["output"]


def test_a_function() -> None:
    _, request, served = run_example(sys.executable, "observed")
    assert request["body"] == {"user": "user-7", "ticket": TICKET["text"]}
    assert (request["key"], served["output"]) == ("user-7", '{"label":"refund"}')
